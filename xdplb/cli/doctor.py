# SPDX-License-Identifier: Apache-2.0
"""`xdplb doctor`: what is missing on this host, and how to fix it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from xdplb.client import Client, DaemonDownError, NotFoundError

from .output import coloured, line, paragraph, print_json
from .params import Connection, local_output_option, pin_dir_option
from .progress import erase_progress, ticking
from .vip_table import vip_text

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
@click.pass_context
def command(context: click.Context, interface: str | None, pin_dir: Path, as_json: bool) -> int:
    """Check what xdplb needs of this host and of a NIC. Exit 1 if something is missing.

    It asks the daemon, if one runs, for its NICs and folders, and looks at them where the daemon runs, also in another
    network namespace. With IFACE it checks that NIC instead. It changes nothing.
    """
    from xdplb.daemon.diagnosis import diagnose

    connection: Connection = context.obj
    client, named = connection.client(), _is_named(context.find_root())
    pins = pin_dir if _is_given(context, "pin_dir") else None
    healthy = True
    findings = []
    with ticking("checking this host"):
        for finding in diagnose(interface, pins, lambda: _ask(client, named=named)):
            healthy &= finding.level != "fail"
            if as_json:
                findings.append(asdict(finding))
            else:
                erase_progress()
                _print(finding)
    if as_json:
        print_json({"ok": healthy, "findings": findings})
    return 0 if healthy else _UNHEALTHY


def _is_given(context: click.Context, option: str) -> bool:
    """Return whether the user set an option, on the command line or in the environment."""
    return context.get_parameter_source(option) in {ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT}


def _is_named(root: click.Context) -> bool:
    """Return whether the user said which daemon is meant, so that one must be there."""
    return _is_given(root, "socket_path") or _is_given(root, "url")


def _ask(client: Client, *, named: bool) -> Running | None:
    """Return what the daemon says of itself and its backends, None if none runs where none was `named`."""
    from xdplb.daemon.diagnosis import Place, Running

    try:
        status = client.status().json()
    except DaemonDownError:
        if named:
            raise
        return None
    backends: dict[str, list[Any]] = {vip_text(vip): [] for vip in status["vips"]}
    for backend in client.backends.all().json()["backends"]:
        backends.setdefault(backend["vip"], []).append(backend)
    return Running(status, backends, Place.of(client.dataplane().json()), _nodes(client), client.stats().json())


def _nodes(client: Client) -> list[Any]:
    """Return the nodes that the daemon knows; none if it is an older one, which knows no nodes."""
    try:
        return list(client.nodes.list().json()["nodes"])
    except NotFoundError:
        return []


def _print(finding: Finding) -> None:
    """Print a finding, and below it how to fix it: whole, since it may be a command to copy."""
    mark = coloured(finding.level.value) + " " * (6 - len(finding.level.value))
    paragraph(f"{finding.check}: {finding.detail}", before=mark, indent=6)
    if finding.fix:
        line(f"      fix: {finding.fix}")
