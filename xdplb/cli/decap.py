"""`xdplb decap`: unwrap IPIP on a backend whose kernel has no tunnel module."""

from __future__ import annotations

from pathlib import Path

import click

from .groups import Group
from .output import note
from .params import pin_dir_option
from .privileges import require_privileges

__all__ = ["command"]


@click.group(cls=Group, name="decap", short_help="On a backend: unwrap IPIP without a kernel module.")
def command() -> None:
    """Unwrap IPIP on a backend, in XDP, where its kernel has no ipip module."""


@command.command(epilog="\b\nExamples:\n  sudo xdplb decap up eth0")
@click.argument("interface", metavar="IFACE")
@pin_dir_option
def up(interface: str, pin_dir: Path) -> None:
    """Attach the decapsulating program to a NIC; it stays until `decap down`."""
    require_privileges("attaching to a NIC")
    from xdplb.dataplane.loader import decap_up

    decap_up(interface, pin_dir)
    note(f"IPIP is unwrapped on {interface}; `xdplb decap down {interface}` ends that")


@command.command(epilog="\b\nExamples:\n  sudo xdplb decap down eth0")
@click.argument("interface", metavar="IFACE")
@pin_dir_option
def down(interface: str, pin_dir: Path) -> None:
    """Detach the decapsulating program from a NIC."""
    require_privileges("detaching from a NIC")
    from xdplb.dataplane.loader import decap_down

    removed = decap_down(interface, pin_dir)
    note(f"IPIP is no longer unwrapped on {interface}" if removed else f"IPIP is not unwrapped on {interface} already")
