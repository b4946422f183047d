"""`xdplb doctor`: what is missing on this host, and how to fix it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .output import colour_wanted, print_json, state
from .params import Connection, local_output_option, pin_dir_option

if TYPE_CHECKING:
    from .diagnosis.finding import Finding

__all__ = ["command"]

_UNHEALTHY = 1


@click.command(
    name="doctor",
    short_help="Say what is missing on this host, and how to fix it.",
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
    """Look at what xdplb needs of this host and, if named, of a NIC; exit 1 when something is missing.

    Without IFACE it looks at the NICs the daemon is on. It changes nothing.
    """
    healthy = True
    findings = []
    for finding in _examine(connection, interface, pin_dir):
        healthy &= finding.level != "fail"
        if as_json:
            findings.append(asdict(finding))
        else:
            _print(finding)
    if as_json:
        print_json({"ok": healthy, "findings": findings})
    return 0 if healthy else _UNHEALTHY


def _examine(connection: Connection, interface: str | None, pin_dir: Path) -> Iterator[Finding]:
    from .diagnosis.host import examine_host
    from .diagnosis.nic import examine_nic
    from .diagnosis.running import attached_interfaces, examine_daemon

    client = connection.client()
    yield from examine_host(pin_dir)
    for name in [interface] if interface else attached_interfaces(client):
        yield from examine_nic(name, pin_dir)
    yield from examine_daemon(client)


def _print(finding: Finding) -> None:
    """Print a line, and below it what to do."""
    mark = state(finding.level.value) + " " * (5 - len(finding.level.value))
    click.echo(f"{mark} {finding.check}: {finding.detail}", color=colour_wanted())
    if finding.fix:
        click.echo(f"      fix: {finding.fix}")
