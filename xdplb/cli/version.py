"""`xdplb version`: the versions of this command and of the daemon."""

from __future__ import annotations

import click

import xdplb
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
    """Show the versions of this command and of the daemon, if one answers."""
    daemon, silent = None, ""
    try:
        daemon = connection.client().version().json()["version"]
    except DaemonDownError:
        silent = "does not answer"
    except XdplbError as error:
        silent = error.detail
    if as_json:
        print_json({"version": xdplb.__version__, "daemon": daemon})
    else:
        print_fields([("xdplb", xdplb.__version__), ("daemon", daemon or silent)])
