"""`xdplb backend-host`: prepare the host of a backend for a VIP."""

from __future__ import annotations

import click

from .groups import Group

__all__ = ["command"]


@click.group(cls=Group, name="backend-host", short_help="On a backend: prepare it for a VIP.")
def command() -> None:
    """Prepare this host as a backend of a VIP: addresses, ARP, rp_filter, tunnel."""
