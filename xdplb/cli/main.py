# SPDX-License-Identifier: Apache-2.0
"""`xdplb`: the entry point, the global options, and how an error is printed and becomes an exit code."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

import xdplb
from xdplb.client import DEFAULT_SOCKET
from xdplb.model.errors import PROBLEM_TYPE, FieldProblem, XdplbError
from xdplb.model.printable import json_printable

from .groups import Group
from .layout import Output, chosen_output
from .output import hint_of, note
from .params import Connection, positive_duration
from .progress import erase_progress

__all__ = ["LazyGroup", "cli", "main", "run"]

_COMMANDS = {
    "up": "up",
    "down": "down",
    "status": "status",
    "doctor": "doctor",
    "vip": "vip",
    "backend": "backend",
    "health": "health",
    "config": "config",
    "stats": "stats",
    "explain": "explain",
    "capture": "capture",
    "backup": "backup",
    "token": "token",
    "events": "events",
    "dashboard": "dashboard",
    "top": "top",
    "node": "node",
    "dns": "dns",
    "decap": "decap",
    "backend-host": "backend_host",
    "version": "version",
}
_INTERRUPTED = 130


class LazyGroup(Group):
    """The commands. A module is imported when its command is named, so that a command loads only what it needs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the commands in the order of the help."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return the command of that name, None if there is none."""
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"xdplb.cli.{_COMMANDS[cmd_name]}")
        command: click.Command = module.command
        return command


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="""\b
Examples:
  sudo xdplb up eth0
  xdplb vip add 203.0.113.10:443/tcp --forward dr
  xdplb backend add 203.0.113.10:443/tcp 10.0.0.11 --weight 2
  xdplb backend drain 203.0.113.10:443/tcp 10.0.0.11 --wait --timeout 10m

\b
Exit codes: 0 ok, 1 failed, 2 usage, 3 the daemon is not running,
4 conflict or precondition, 5 timed out.""",
)
@click.option(
    "--socket",
    "socket_path",
    metavar="PATH",
    default=DEFAULT_SOCKET,
    show_default=True,
    envvar="XDPLB_SOCKET",
    help="The daemon's Unix socket.",
)
@click.option("--url", metavar="URL", envvar="XDPLB_URL", help="The daemon's URL, if it listens on TCP.")
@click.option("--token-file", metavar="FILE", envvar="XDPLB_TOKEN_FILE", help="A file that contains the token for it.")
@click.option(
    "--tls-ca", metavar="FILE", envvar="XDPLB_TLS_CA", help="Who may have signed its certificate (PEM).  [this host's]"
)
@click.option("--tls-cert", metavar="FILE", envvar="XDPLB_TLS_CERT", help="A client certificate for it (PEM).")
@click.option("--tls-key", metavar="FILE", envvar="XDPLB_TLS_KEY", help="The key of --tls-cert, if in another file.")
@click.option(
    "--request-timeout",
    metavar="TIME",
    envvar="XDPLB_REQUEST_TIMEOUT",
    callback=positive_duration,
    help="How long to wait for an answer of the daemon.  [10s; more while it is seen to work]",
)
@click.version_option(xdplb.__version__, message="xdplb %(version)s", help="Show the version of this command and exit.")
@click.pass_context
def cli(ctx: click.Context, /, **given: Any) -> None:
    """Balance TCP and UDP over backends in XDP."""
    ctx.obj = Connection(**given)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; errors are printed to stderr, none is raised."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if "_XDPLB_COMPLETE" in os.environ:
        from .completion import prepare_bash

        prepare_bash()
    chosen_output.set(Output.TABLE)
    try:  # not standalone: click then raises errors, and returns what the command returns
        result = cli.main(args=given, prog_name="xdplb", standalone_mode=False)
    except XdplbError as error:
        if chosen_output.get() is Output.JSON:
            _complain_as_json(error.code, error.detail, error.hint, error.exit_code, error.problems)
        else:
            _complain(error.detail, hint_of(error))
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "", err=True)
        return error.exit_code
    except click.ClickException as error:
        # click lists the choices of an option that is missing one a line.
        detail, hint = re.sub(r"\s*\n\s*", " ", error.format_message()), _usage_hint(error)
        if _asks_for_json(given):
            _complain_as_json("usage", detail, hint, error.exit_code)
        else:
            _complain(detail, hint)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except BrokenPipeError:
        return _close_stdout()
    return result if isinstance(result, int) else 0


def _complain(message: str, hint: str) -> None:
    note(f"xdplb: error: {message}")
    if hint:
        note(f"hint: {hint}")


def _complain_as_json(code: str, detail: str, hint: str, exit_code: int, problems: Sequence[FieldProblem] = ()) -> None:
    """Print an error in a line of JSON, as a problem of the API, for a program that has asked for JSON."""
    told = {"type": f"{PROBLEM_TYPE}{code}", "detail": detail, "hint": hint, "exit_code": exit_code}
    wrong = [{"pointer": problem.pointer, "detail": problem.detail} for problem in problems]
    erase_progress()
    click.echo(json_printable(json.dumps(told | {"errors": wrong})), err=True)


def _asks_for_json(given: Sequence[str]) -> bool:
    """Return whether a command line has -o json, also one that is wrong and was not understood."""
    pairs = zip(given, [*given[1:], ""], strict=True)
    return any(
        (word in ("-o", "--output") and following == "json") or word in ("-ojson", "--output=json")
        for word, following in pairs
    )


def _usage_hint(error: click.ClickException) -> str:
    hint = getattr(error, "hint", "")
    context = getattr(error, "ctx", None)
    if hint or context is None:
        return str(hint)
    return f"see {context.command_path} --help"


def _close_stdout() -> int:
    """End quietly if the reader of our output has ended (`xdplb vip ls | head`)."""
    import os

    # Otherwise the interpreter flushes stdout at exit, into the closed pipe, and prints that error.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
