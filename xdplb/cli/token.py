# SPDX-License-Identifier: Apache-2.0
"""`xdplb token`: what those who come by TCP show to be let in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xdplb.model.errors import XdplbError

from .changes import Change, changing
from .completion import token_names
from .groups import Group
from .output import Column, coloured, minute, moment, note, print_json, table
from .params import Connection, output_option, positive_duration
from .watching import watchable

if TYPE_CHECKING:
    from xdplb.client.bodies import Role, TokenIn

__all__ = ["command"]

_NEVER = "never"
_PRIVATE = 0o600
_COLUMNS = [
    Column("NAME"),
    Column("ROLE"),
    Column("STATE", style=coloured),
    Column("EXPIRES (UTC)"),
    Column("LAST USED (UTC)"),
    Column("ADDED (UTC)", wide=True),
]


@click.group(cls=Group, name="token", short_help="Tokens: who may do what over TCP.")
def command() -> None:
    """Add, remove and list tokens. Over TCP, a token says who somebody is and what he may do."""


def _expiry(context: click.Context, parameter: click.Parameter, text: str) -> float | None:
    """Return the seconds until a token expires, None if it never does."""
    return None if text == _NEVER else positive_duration(context, parameter, text)


@command.command(
    epilog="""\b
Examples:
  xdplb token add ci --role operate
  xdplb token add prometheus --role read --expires never --write /etc/prometheus/xdplb.token
  xdplb token add anna --role admin --expires 8h"""
)
@click.argument("name", metavar="NAME")
@click.option(
    "--role", type=click.Choice(["read", "operate", "admin"]), required=True, help="What whoever has the token may do."
)
@click.option(
    "--expires",
    metavar="TIME|never",
    default="90d",
    show_default=True,
    callback=_expiry,
    help="After how long it is of no use any more.",
)
@click.option(
    "--write",
    "-w",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path, readable=False),
    help="Write it to this new file, which only you may read, and not to stdout.",
)
@changing()
def add(change: Change, /, *, name: str, role: Role, expires: float | None, file: Path | None) -> None:
    """Add a token, and print it. It is shown only now: the daemon does not keep it, but what it can be checked by."""
    descriptor = _new_file(file) if file is not None and not change.dry_run else None
    try:
        asked: TokenIn = {"name": name, "role": role, "expires_in_seconds": expires}
        answer = change.made(change.client.tokens.add(asked, **change.how))
    except BaseException:
        if descriptor is not None and file is not None:
            os.close(descriptor)
            file.unlink()
        raise
    if change.dry_run:
        change.tell(answer, "")
        return
    added = answer.json()
    if descriptor is not None:
        _write(descriptor, added["token"], name)
        if change.as_json:
            print_json({field: value for field, value in added.items() if field != "token"})
    elif change.as_json:
        print_json(answer.body)
    else:
        click.echo(added["token"])
    until = "and never expires" if added["expires"] is None else f"until {moment(added['expires'])}"
    where = "" if file is None else f"; it is in {file}"
    note(f"token {name} added: {role}, {until}{where}")


def _new_file(path: Path) -> int:
    """Return a descriptor of a new file for this user only, made before there is a token that could be lost."""
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _PRIVATE)
    except FileExistsError:
        raise XdplbError(f"{path} is there already, and is not overwritten", hint="remove it first") from None
    except OSError as error:
        raise XdplbError(f"cannot write to {path}: {error.strerror}", hint="give another --write FILE") from None


def _write(descriptor: int, secret: str, name: str) -> None:
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{secret}\n")
    except OSError as error:
        raise XdplbError(
            f"the token {name} was added, but cannot be written: {error.strerror}",
            hint=f"remove it (xdplb token rm {name}), and try again with another --write FILE",
        ) from None


@command.command(short_help="Remove a token.", epilog="\b\nExamples:\n  xdplb token rm ci")
@click.argument("name", metavar="NAME", shell_complete=token_names)
@changing()
def rm(change: Change, /, *, name: str) -> None:
    """Remove a token. It is of no use from now on; what is being answered to it, such as a capture, is cut off."""
    change.remove(lambda: change.client.tokens.remove(name, **change.how), f"token {name}")


@command.command(
    short_help="List the tokens, and when they were used.",
    epilog="\b\nExamples:\n  xdplb token ls\n  xdplb token ls -o json",
)
@output_option
@watchable
@click.pass_obj
def ls(connection: Connection, as_json: bool) -> None:
    """List the tokens: what they are for, until when, and when they were used last. The tokens are not kept."""
    answer = connection.client().tokens.list()
    if as_json:
        print_json(answer.body)
        return
    table(
        _COLUMNS,
        [
            (
                token["name"],
                token["role"],
                "expired" if token["expired"] else "ok",
                minute(token["expires"]) or _NEVER,
                minute(token["last_used"]) or _NEVER,
                minute(token["created"]),
            )
            for token in answer.json()["tokens"]
        ],
    )
