# SPDX-License-Identifier: Apache-2.0
"""`xdplb down`: detach from NICs and remove everything that `up` left."""

from __future__ import annotations

from pathlib import Path

import click

from .changes import tell_dry_run, warn
from .output import note, print_json
from .params import dry_run_option, local_output_option, pin_dir_option
from .progress import ticking

__all__ = ["command"]


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
    """Detach xdplb from NICs. With the last NIC, the program, maps and pins are removed.

    A daemon that runs on these NICs is stopped first. If it also serves other NICs, nothing is done (exit 4). The VIPs
    stay in the state dir, so that the next `xdplb up` has them again.
    """
    if bool(interfaces) == everything:
        raise click.UsageError("name the NICs to detach from, such as eth0, or give --all")
    from xdplb.daemon.detach import detach, preview_detach

    if dry_run:
        preview = preview_detach(pin_dir, interfaces)
        tell_dry_run(preview.changes, warnings=preview.warnings, as_json=as_json)
        return
    with ticking("stopping the daemon and detaching"):
        done = detach(pin_dir, interfaces, note)
    warn(done.warnings)
    if as_json:
        print_json({"removed": done.removed, "stopped_pid": done.stopped_pid, "warnings": list(done.warnings)})
        return
    for what in done.removed:
        note(f"removed: {what}")
    if not done.removed:
        note("nothing to remove: xdplb is not attached there")
