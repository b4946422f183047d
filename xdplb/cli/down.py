"""`xdplb down`: take everything off that `up` put there."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

import click

from xdplb.model.errors import ConflictError, XdplbError

from .changes import tell_dry_run
from .failures import TimedOutError
from .holder import Holder, find_holder, remove_stale
from .output import note, print_json
from .params import dry_run_option, local_output_option, pin_dir_option
from .privileges import require_privileges

__all__ = ["command"]

_STOP_SECONDS = 30


@click.command(
    name="down",
    short_help="Detach from NICs and leave nothing behind.",
    epilog="""\b
Examples:
  sudo xdplb down eth0
  sudo xdplb down --all
  sudo xdplb down --all --pin-dir /sys/fs/bpf/xdplb-2 --dry-run""",
)
@click.argument("interfaces", metavar="IFACE...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All NICs of this pin dir.")
@pin_dir_option
@dry_run_option
@local_output_option
def command(interfaces: tuple[str, ...], everything: bool, pin_dir: Path, dry_run: bool, as_json: bool) -> None:
    """Detach xdplb from NICs; after the last one, program, maps and pins are gone.

    It works whether the daemon runs or not: one that runs on these NICs is stopped first, and one that serves others
    besides is left alone (exit 4). The VIPs stay in the state dir, so that `xdplb up` has them again.
    """
    if bool(interfaces) == everything:
        raise click.UsageError("name the NICs to detach from, such as eth0, or give --all")
    require_privileges("detaching from a NIC")
    holder = _holder_of(pin_dir, interfaces)
    from xdplb.dataplane import bpffs

    bpffs.require(pin_dir)
    if dry_run:
        _foretell(pin_dir, interfaces, holder, as_json)
        return
    if holder is not None:
        _stop(holder)
    from xdplb.dataplane.loader import unload

    removed = unload(pin_dir, list(interfaces) or None)
    remove_stale()
    _tell(removed, holder, as_json)


def _holder_of(pin_dir: Path, interfaces: tuple[str, ...]) -> Holder | None:
    """Return the daemon that has to stop for this, None where none runs or it serves none of these NICs.

    Raises ConflictError where it serves some of them and others too: those are not to lose their daemon.
    """
    holder = find_holder(pin_dir)
    if holder is None or not interfaces:
        return holder
    others = [name for name in holder.interfaces if name not in interfaces]
    if len(others) == len(holder.interfaces):
        return None
    if others:
        raise ConflictError(
            f"a daemon (pid {holder.pid}) serves {', '.join(others)} too",
            hint="name all its NICs or give --all; or stop it, then take down the one, then start it on the others",
        )
    return holder


def _stop(holder: Holder) -> None:
    """End the daemon as SIGTERM does and wait until it has ended."""
    note(f"stopping the daemon (pid {holder.pid})")
    try:
        process = os.pidfd_open(holder.pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(process, signal.SIGTERM)
        if not select.select([process], [], [], _STOP_SECONDS)[0]:
            raise TimedOutError(
                f"the daemon (pid {holder.pid}) has not stopped within {_STOP_SECONDS} s; nothing was detached",
                hint=f"look at its log; kill -9 {holder.pid} ends it, then run this again",
            )
    except ProcessLookupError:
        return
    except PermissionError:
        raise XdplbError(f"you may not stop the daemon (pid {holder.pid})", hint="run it with sudo") from None
    finally:
        os.close(process)


def _foretell(pin_dir: Path, interfaces: tuple[str, ...], holder: Holder | None, as_json: bool) -> None:
    """Say what would be stopped and removed."""
    from xdplb.dataplane.links import pinned_links

    attached = [link.nic for link in pinned_links(pin_dir)]
    chosen = [name for name in attached if not interfaces or name in interfaces]
    sentences = [f"the daemon (pid {holder.pid}) is stopped"] if holder else []
    sentences += [f"xdplb is detached from {name}" for name in chosen]
    if pin_dir.is_dir() and chosen == attached:
        sentences.append(f"program, maps and pins in {pin_dir} are removed")
    tell_dry_run(sentences, as_json=as_json)


def _tell(removed: list[str], holder: Holder | None, as_json: bool) -> None:
    if as_json:
        print_json({"removed": removed, "stopped_pid": holder.pid if holder else None})
        return
    for what in removed:
        note(f"removed: {what}")
    if not removed:
        note("nothing to remove: xdplb is not attached there")
