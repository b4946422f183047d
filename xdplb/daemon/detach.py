"""Take everything off the host that `xdplb up` put there, and stop the daemon first if it serves these NICs."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from xdplb.dataplane import bpffs
from xdplb.dataplane.links import pinned_links
from xdplb.dataplane.loader import unload
from xdplb.model.errors import ConflictError, XdplbError

from .holder import Detaching, Holder, detaching_from, find_holder, remove_stale
from .privileges import require_privileges

__all__ = ["Detached", "StillRunningError", "detach", "preview_detach"]

_STOP_SECONDS = 30


class StillRunningError(XdplbError):
    """The daemon was told to stop and did not end in time."""

    code = "timed-out"
    exit_code: ClassVar[int] = 5


@dataclass(frozen=True, slots=True)
class Detached:
    """What was removed, a phrase each, and the pid of the daemon that was stopped for it, None if none ran."""

    removed: Sequence[str]
    stopped_pid: int | None


def detach(pin_dir: Path, interfaces: Sequence[str], tell: Callable[[str], None]) -> Detached:
    """Detach from these NICs, or from all of the pin dir if none is named. `tell` gets a message before a long wait.

    Raises ConflictError if the daemon also serves other NICs, StillRunningError if it does not stop, and PlatformError
    if privileges or a bpffs are missing.
    """
    holder = _holder_to_stop(pin_dir, interfaces)
    bpffs.require(pin_dir)
    if holder is not None:
        tell(f"stopping the daemon (pid {holder.pid})")
        with detaching_from(pin_dir, Detaching(holder.pid, tuple(interfaces))):
            _stop(holder)
    removed = unload(pin_dir, list(interfaces) or None)
    remove_stale()
    return Detached(removed, holder.pid if holder else None)


def preview_detach(pin_dir: Path, interfaces: Sequence[str]) -> list[str]:
    """Return what `detach` would do, a sentence each. Raises what it would refuse."""
    holder = _holder_to_stop(pin_dir, interfaces)
    bpffs.require(pin_dir)
    attached = [link.nic for link in pinned_links(pin_dir)]
    chosen = [name for name in attached if not interfaces or name in interfaces]
    sentences = [f"the daemon (pid {holder.pid}) is stopped"] if holder else []
    sentences += [f"xdplb is detached from {name}" for name in chosen]
    if pin_dir.is_dir() and chosen == attached:
        sentences.append(f"program, maps and pins in {pin_dir} are removed")
    return sentences


def _holder_to_stop(pin_dir: Path, interfaces: Sequence[str]) -> Holder | None:
    """Return the daemon that must stop first, None if none runs or it serves none of these NICs.

    Raises ConflictError if it serves some of them and others too: those must not lose their daemon.
    """
    require_privileges("detaching from a NIC")
    holder = find_holder(pin_dir)
    if holder is None or not interfaces:
        return holder
    others = [name for name in holder.interfaces if name not in interfaces]
    if len(others) == len(holder.interfaces):
        return None
    if others:
        raise ConflictError(
            f"a daemon (pid {holder.pid}) also serves {', '.join(others)}",
            hint="name all its NICs or give --all; or stop the daemon, detach this NIC, and start it on the others",
        )
    return holder


def _stop(holder: Holder) -> None:
    """Send SIGTERM to the daemon and wait until it has ended."""
    try:
        process = os.pidfd_open(holder.pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(process, signal.SIGTERM)
        if not select.select([process], [], [], _STOP_SECONDS)[0]:
            raise StillRunningError(
                f"the daemon (pid {holder.pid}) did not stop within {_STOP_SECONDS} s; nothing was detached",
                hint=f"look at its log; if it hangs, kill -9 {holder.pid} and run this command again",
            )
    except ProcessLookupError:
        return
    except PermissionError:
        raise XdplbError(f"you may not stop the daemon (pid {holder.pid})", hint="run it with sudo") from None
    finally:
        os.close(process)
