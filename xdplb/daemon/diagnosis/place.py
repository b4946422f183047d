# SPDX-License-Identifier: Apache-2.0
"""Where the daemon runs: the doctor examines that place, and not what has the same name where the doctor runs."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from xdplb.control.clock import boot_id
from xdplb.model.errors import PlatformError

__all__ = ["Place"]

_CLONE_NEWNET = 0x40000000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a daemon says that it runs: its process, its network namespace (an inode), and its folders."""

    pid: int
    boot_id: str
    network_namespace: int
    pin_dir: Path
    state_dir: Path

    @classmethod
    def of(cls, dataplane: Mapping[str, Any]) -> Self | None:
        """Return the place in the API's answer about the data plane, None if it does not say."""
        said = dataplane.get("daemon")
        if said is None:
            return None
        return cls(
            said["pid"], said["boot_id"], said["network_namespace"], Path(said["pin_dir"]), Path(said["state_dir"])
        )

    @property
    def is_this_host(self) -> bool:
        """Whether the daemon runs on the host that this process runs on."""
        return self.boot_id == boot_id()

    def enter(self) -> Path:
        """Enter the daemon's network namespace, for the rest of this thread; return its pin dir as seen from here.

        Raises PlatformError if that is not permitted, or if the process cannot be found.
        """
        process = Path("/proc") / str(self.pid)
        try:
            if Path("/proc/thread-self/ns/net").stat().st_ino != self.network_namespace:
                if (process / "ns/net").stat().st_ino != self.network_namespace:
                    raise ProcessLookupError
                _enter(process / "ns/net")
            if (process / "ns/mnt").stat().st_ino != Path("/proc/self/ns/mnt").stat().st_ino:
                return process / "root" / self.pin_dir.relative_to("/")
        except PermissionError:
            raise PlatformError(
                f"the daemon (pid {self.pid}) runs in another namespace, which only root may enter",
                hint="run it with sudo",
            ) from None
        except OSError:
            raise PlatformError(
                f"the daemon (pid {self.pid}) runs where this command cannot see it, such as in a container",
                hint="run xdplb doctor there",
            ) from None
        return self.pin_dir


def _enter(namespace: Path) -> None:
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(descriptor, _CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(descriptor)
