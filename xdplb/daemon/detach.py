# SPDX-License-Identifier: Apache-2.0
"""Take everything off the host that `xdplb up` put there, and stop the daemon first if it serves these NICs."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from xdplb.dataplane import bpffs
from xdplb.dataplane.bcc_plane import BccPlane
from xdplb.dataplane.links import pinned_links
from xdplb.dataplane.loader import unload
from xdplb.dataplane.pinned_maps import Maps
from xdplb.model.errors import ConflictError, XdplbError

from .announced import foresee_withdrawal, withdraw
from .holder import Detaching, Holder, detaching_from, find_holder, remove_stale
from .privileges import require_privileges

__all__ = ["Detached", "Preview", "StillRunningError", "detach", "preview_detach"]

_STOP_SECONDS = 30
_MOVE_SECONDS = 1.0
"""BIRD and FRR take 0.15 s until a router has heard of it, keepalived's other balancer 0.1 to 0.4 s."""


class StillRunningError(XdplbError):
    """The daemon was told to stop and did not end in time."""

    code = "timed-out"
    exit_code: ClassVar[int] = 5


@dataclass(frozen=True, slots=True)
class Detached:
    """What was removed, a phrase each, and the pid of the daemon that was stopped for it, None if none ran.

    `warnings` are what this does to traffic, a sentence each.
    """

    removed: Sequence[str]
    stopped_pid: int | None
    warnings: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Preview:
    """What `detach` would do, a sentence each, and its warnings."""

    changes: Sequence[str]
    warnings: Sequence[str]


def detach(pin_dir: Path, interfaces: Sequence[str], tell: Callable[[str], None]) -> Detached:
    """Detach from these NICs, or from all of the pin dir if none is named. `tell` gets a message before a long wait.

    Raises ConflictError if the daemon also serves other NICs, StillRunningError if it does not stop, and PlatformError
    if privileges or a bpffs are missing.
    """
    holder = _holder_to_stop(pin_dir, interfaces)
    bpffs.require(pin_dir)
    warnings = _warnings(pin_dir, interfaces)
    if holder is not None:
        tell(f"stopping the daemon (pid {holder.pid})")
        with detaching_from(pin_dir, Detaching(holder.pid, tuple(interfaces))):
            _stop(holder)
    withdrawn = withdraw(pin_dir, detaches=True) if _are_all(pin_dir, interfaces) else []
    if withdrawn:
        # Until routers and keepalived have acted on it, packets for VIPs come here. Without the program, the host would
        # answer them itself: with a reset, where it has the VIP's address.
        time.sleep(_MOVE_SECONDS)
    removed = unload(pin_dir, list(interfaces) or None)
    remove_stale()
    return Detached([*withdrawn, *removed], holder.pid if holder else None, warnings)


def preview_detach(pin_dir: Path, interfaces: Sequence[str]) -> Preview:
    """Return what `detach` would do. Raises what it would refuse."""
    holder = _holder_to_stop(pin_dir, interfaces)
    bpffs.require(pin_dir)
    attached = [link.nic for link in pinned_links(pin_dir)]
    chosen = [name for name in attached if not interfaces or name in interfaces]
    sentences = [f"the daemon (pid {holder.pid}) is stopped"] if holder else []
    sentences += [f"xdplb is detached from {name}" for name in chosen]
    if _are_all(pin_dir, interfaces):
        sentences += foresee_withdrawal(pin_dir)
    if pin_dir.is_dir() and chosen == attached:
        sentences.append(f"program, maps and pins in {pin_dir} are removed")
    return Preview(sentences, _warnings(pin_dir, interfaces))


def _are_all(pin_dir: Path, interfaces: Sequence[str]) -> bool:
    """Return whether no NIC is left that balances once these are detached; none named: all are."""
    return all(not interfaces or link.nic in interfaces for link in pinned_links(pin_dir))


def _warnings(pin_dir: Path, interfaces: Sequence[str]) -> list[str]:
    """Return a warning if these NICs balance VIPs that have backends: their packets then go to the host's own stack."""
    if not any(not interfaces or link.nic in interfaces for link in pinned_links(pin_dir)):
        return []
    try:
        plane = BccPlane(Maps.adopt(pin_dir))
        served = {entry.vip_id for entry in plane.read_backends().values() if entry.usable}
        keys = [str(vip.key) for vip_id, vip in plane.read_vips().items() if vip_id in served]
    except (XdplbError, OSError, ValueError, KeyError):
        return []  # maps of another version, or half removed ones: they must be removable all the same
    if not keys:
        return []
    what = f"VIP {keys[0]} is" if len(keys) == 1 else f"{len(keys)} VIPs, such as {keys[0]}, are"
    where = ", ".join(interfaces) or "any NIC"
    return [f"{what} no longer balanced on {where}: packets go to the host's own stack, and open connections break"]


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
        process = holder.process.open()
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
