# SPDX-License-Identifier: Apache-2.0
"""`xdplb vip access`: which sources a VIP accepts packets from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from xdplb.client import Answer
from xdplb.config.given_file import STDIN, read_file, read_stdin
from xdplb.config.prefix_file import listed_prefixes
from xdplb.model.errors import InvalidError

from .changes import Change, changing
from .completion import vip_argument
from .groups import Group
from .output import Column, coloured, print_json, table
from .params import Connection, output_option
from .watching import watchable

__all__ = ["access"]

_FILE_HINT = "give a text file with one prefix per line"
_Command = TypeVar("_Command", bound=Callable[..., object])


class _Prefix(NamedTuple):
    """A prefix as it was given, with its line and file if it is from a file."""

    text: str
    line: int = 0
    file: Path | None = None


@click.group(cls=Group, name="access", short_help="Which sources a VIP accepts packets from.")
def access() -> None:
    """Allow and deny sources. The longest prefix that matches a source decides; of equal ones, deny.

    A source that no prefix matches is denied if the list allows any, else it is allowed. Denied packets are dropped and
    counted.
    """


@access.command(
    epilog="\b\nExamples:\n  xdplb vip access show 203.0.113.10:443/tcp\n  xdplb vip access show web -o json"
)
@vip_argument
@output_option
@watchable
@click.pass_obj
def show(connection: Connection, vip: str, as_json: bool) -> None:
    """Show the access list of a VIP."""
    answer = connection.client().access.get(vip)
    if as_json:
        print_json(answer.body)
        return
    body = answer.json()
    table(
        [Column("ACTION", style=coloured), Column("PREFIX")],
        [(action, prefix) for action in ("allow", "deny") for prefix in body[action]],
    )


def _file_option(name: str, what: str) -> Callable[[_Command], _Command]:
    return click.option(
        f"--{name}-file",
        type=click.Path(path_type=Path, readable=False, allow_dash=True),
        metavar="FILE",
        help=f"A file of prefixes to {what}, one per line; # starts a comment, - is stdin.",
    )


@access.command(
    name="set",
    epilog="""\b
Examples:
  xdplb vip access set web --deny 192.0.2.0/24 --deny 198.51.100.7
  xdplb vip access set web --deny-file blocked.txt
  xdplb vip access set 203.0.113.10:22/tcp --allow 198.51.100.0/24""",
)
@vip_argument
@click.option(
    "--allow",
    multiple=True,
    metavar="PREFIX",
    help="Accept packets from this prefix, and from no others; may be repeated.",
)
@click.option("--deny", multiple=True, metavar="PREFIX", help="Drop packets from this prefix; may be repeated.")
@_file_option("allow", "allow")
@_file_option("deny", "deny")
@changing(conditional=True)
def set_(change: Change, /, *, vip: str, **given: Any) -> None:
    """Set the access list of a VIP. It replaces the whole list."""
    prefixes = {action: list(_prefixes(given[action], given[f"{action}_file"])) for action in ("allow", "deny")}
    if not any(prefixes.values()):
        raise click.UsageError("no prefix is given; to remove the list, use xdplb vip access clear")
    allow, deny = ([prefix.text for prefix in prefixes[action]] for action in ("allow", "deny"))
    try:
        _update(change, vip, lambda: change.client.access.put(vip, {"allow": allow, "deny": deny}, **change.how), "set")
    except InvalidError as error:
        raise _with_place(error, prefixes) from None


@access.command(short_help="Remove the access list.", epilog="\b\nExamples:\n  xdplb vip access clear web")
@vip_argument
@changing(conditional=True)
def clear(change: Change, /, *, vip: str) -> None:
    """Remove the access list of a VIP: it accepts packets from any source."""
    _update(change, vip, lambda: change.client.access.delete(vip, **change.how), "cleared")


def _update(change: Change, vip: str, ask: Callable[[], Answer[Any]], done: str) -> None:
    change.update(ask, f"access list of {vip}", of=lambda: change.client.vips.get(vip), done=(done, "is unchanged"))


def _prefixes(given: tuple[str, ...], file: Path | None) -> Iterator[_Prefix]:
    """Yield the prefixes given and those in the file, as they are written; the daemon validates them."""
    for text in given:
        yield _Prefix(text)
    for listed in listed_prefixes(_text(file)) if file is not None else ():
        yield _Prefix(listed.text, listed.spot.line, file)


def _with_place(error: InvalidError, prefixes: Mapping[str, Sequence[_Prefix]]) -> InvalidError:
    """Return the error with the file and line of the prefix that the daemon refused, if it is from a file."""
    for problem in error.problems:
        _, action, place = [*problem.pointer.split("/"), "", ""][:3]
        found = prefixes[action][int(place)] if action in prefixes and place.isdecimal() else _Prefix("")
        if found.file is not None:
            return InvalidError(f"{found.file}:{found.line}: {error.detail}", hint=error.hint)
    return error


def _text(file: Path) -> str:
    try:
        content = read_stdin(_FILE_HINT) if str(file) == STDIN else read_file(file, _FILE_HINT)
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidError(f"{file} cannot be read: it is not text", hint=_FILE_HINT) from None
