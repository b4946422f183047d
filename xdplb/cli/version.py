# SPDX-License-Identifier: Apache-2.0
"""`xdplb version`: the versions of this command and of the daemon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from xdplb.client import DaemonDownError
from xdplb.model.errors import XdplbError

from .output import print_fields, print_json
from .params import Connection, local_output_option

__all__ = ["command"]


@click.command(
    name="version",
    short_help="Show the versions of this command and of the daemon.",
    epilog="\b\nExamples:\n  xdplb version\n  xdplb version -o json",
)
@local_output_option
@click.pass_obj
def command(connection: Connection, as_json: bool) -> None:
    """Show the versions of this command and of the daemon, if one answers, with the commits they were built from.

    The map layout is eight hex digits for the layouts of all BPF maps: a daemon with the same one takes the maps of
    another as they are; with a new one it carries them over (see `upgrades` in the documentation).
    """
    from xdplb.daemon.build import own_build

    own, daemon, silent = own_build(), None, ""
    try:
        daemon = connection.client().version().json()
    except DaemonDownError:
        silent = "does not answer"
    except XdplbError as error:
        silent = error.detail
    if as_json:
        print_json({**own, "daemon": daemon})
    else:
        print_fields([("xdplb", _told(own)), ("daemon", silent if daemon is None else _told(daemon))])


def _told(build: Mapping[str, Any]) -> str:
    commit = build.get("commit")
    parts = [build["version"], f"commit {commit[:12]}" if commit else "", f"map layout {build.get('map_layout', '?')}"]
    return ", ".join(part for part in parts if part)
