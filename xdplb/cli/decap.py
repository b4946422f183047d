# SPDX-License-Identifier: Apache-2.0
"""`xdplb decap`: unwrap IPIP and GUE on a backend whose kernel has no tunnel modules."""

from __future__ import annotations

from pathlib import Path

import click

from xdplb.model.address import IPAddress, parse_address

from .changes import tell_dry_run
from .groups import Group
from .output import note, print_json
from .params import dry_run_option, local_output_option, mode_option, pin_dir_option
from .progress import ticking

__all__ = ["command"]


def _address(text: str) -> IPAddress:
    return parse_address(text)


@click.group(cls=Group, name="decap", short_help="On a backend: unwrap IPIP and GUE without a kernel module.")
def command() -> None:
    """Unwrap IPIP and GUE, over IPv4 and IPv6, in XDP: for a backend whose kernel has no tunnel modules."""


@command.command(
    short_help="Unwrap IPIP and GUE on a NIC.",
    epilog="""\b
Examples:
  sudo xdplb decap up eth0
  sudo xdplb decap up eth0 --address 10.0.0.11 --address 2001:db8::11""",
)
@click.argument("interface", metavar="IFACE")
@click.option(
    "--address",
    "addresses",
    type=_address,
    metavar="ADDRESS",
    multiple=True,
    help="Unwrap only packets sent to this address; may be repeated. Default: any address of this host's NICs.",
)
@mode_option
@pin_dir_option
@dry_run_option
@local_output_option
def up(
    *, interface: str, addresses: tuple[IPAddress, ...], mode: str, pin_dir: Path, dry_run: bool, as_json: bool
) -> None:
    """Attach the decapsulation program to a NIC. It stays until `decap down`."""
    from xdplb.daemon import decap

    if dry_run:
        tell_dry_run(decap.preview_start(interface, pin_dir), as_json=as_json)
        return
    with ticking("compiling the program"):
        started = decap.start(interface, pin_dir, addresses=addresses, mode=mode)
    if as_json:
        print_json({"interface": interface, "mode": started.mode, "note": started.note})
        return
    already = " already" if started.already else ""
    note(f"IPIP and GUE are unwrapped on {interface} ({started.mode} mode){already}")
    if started.note:
        note(f"note: skb mode is several times slower: {started.note}")


@command.command(
    short_help="Stop unwrapping on a NIC.",
    epilog="\b\nExamples:\n  sudo xdplb decap down eth0\n  sudo xdplb decap down --all",
)
@click.argument("interface", metavar="IFACE", required=False)
@click.option("--all", "everything", is_flag=True, help="All NICs of this pin dir.")
@pin_dir_option
@dry_run_option
@local_output_option
def down(*, interface: str | None, everything: bool, pin_dir: Path, dry_run: bool, as_json: bool) -> None:
    """Detach the decapsulation program from a NIC. With the last NIC, its pins are removed too."""
    if (interface is not None) == everything:
        raise click.UsageError("name the NIC to detach from, such as eth0, or give --all")
    from xdplb.daemon import decap

    if dry_run:
        tell_dry_run(decap.preview_stop(interface, pin_dir), as_json=as_json)
        return
    removed = decap.stop(interface, pin_dir)
    if as_json:
        print_json({"removed": removed})
        return
    for what in removed:
        note(f"removed: {what}")
    if not removed:
        note(f"nothing to remove: IPIP and GUE are not unwrapped on {interface or 'any NIC'}")
