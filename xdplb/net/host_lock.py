# SPDX-License-Identifier: Apache-2.0
"""One `backend-host` command at a time may change this host: at boot, a unit for each VIP starts one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from xdplb.model.errors import PlatformError
from xdplb.private_files import FOLDER_MODE, make_folder, open_private, require_trusted

__all__ = ["host_lock"]

PATIENCE_SECONDS = 120.0
"""The one before may have to compile the decapsulation program, which takes tens of seconds on a slow host."""

POLL_SECONDS = 0.02


@contextlib.contextmanager
def host_lock(state_dir: Path) -> Iterator[None]:
    """Keep other processes with this state dir from changing the host. The kernel releases it if this one is killed.

    Without it, what two of them note in their logs, and what they see of the host before they change it, would mix.
    Raises PlatformError if another has it for longer than PATIENCE_SECONDS.
    """
    path = state_dir / "backend-host.lock"
    require_trusted(state_dir, str(path))
    make_folder(state_dir, FOLDER_MODE)
    descriptor = open_private(path, os.O_RDWR | os.O_CREAT)
    try:
        _wait(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def _wait(descriptor: int, path: Path) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise PlatformError(
                    f"another xdplb backend-host has had {path} for {PATIENCE_SECONDS:.0f} s",
                    hint=f"see what it waits for, and end it: fuser -v {path}",
                ) from None
            time.sleep(POLL_SECONDS)
        else:
            return
