"""`xdplb doctor`: what is missing on this host, and how to fix it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .client import Client, vip_path
from .failures import DaemonDownError
from .output import colour_wanted, coloured, print_json
from .params import Connection, local_output_option, pin_dir_option
from .vip import vip_text

if TYPE_CHECKING:
    from xdplb.daemon.diagnosis import Finding, Running

__all__ = ["command"]

_UNHEALTHY = 1


@click.command(
    name="doctor",
    short_help="Check this host and say how to fix what is missing.",
    epilog="""\b
Examples:
  sudo xdplb doctor
  sudo xdplb doctor eth0
  sudo xdplb doctor eth0 -o json""",
)
@click.argument("interface", metavar="[IFACE]", required=False)
@pin_dir_option
@local_output_option
@click.pass_obj
def command(connection: Connection, interface: str | None, pin_dir: Path, as_json: bool) -> int:
    """Check what xdplb needs of this host and of a NIC. Exit 1 if something is missing.

    Without IFACE it checks the NICs that the daemon is attached to. It changes nothing.
    """
    from xdplb.daemon.diagnosis import diagnose

    client = connection.client()
    healthy = True
    findings = []
    for finding in diagnose(interface, pin_dir, lambda: _ask(client)):
        healthy &= finding.level != "fail"
        if as_json:
            findings.append(asdict(finding))
        else:
            _print(finding)
    if as_json:
        print_json({"ok": healthy, "findings": findings})
    return 0 if healthy else _UNHEALTHY


def _ask(client: Client) -> Running | None:
    """Return what the daemon says of itself and its backends, None if none runs."""
    from xdplb.daemon.diagnosis import Running

    try:
        status = client.get("/v1/status").json()
    except DaemonDownError:
        return None
    keys = [vip_text(vip) for vip in status["vips"]]
    return Running(status, {key: client.get(vip_path(key, "backends")).json()["backends"] for key in keys})


def _print(finding: Finding) -> None:
    """Print a finding, and below it how to fix it."""
    mark = coloured(finding.level.value) + " " * (5 - len(finding.level.value))
    click.echo(f"{mark} {finding.check}: {finding.detail}", color=colour_wanted())
    if finding.fix:
        click.echo(f"      fix: {finding.fix}")
