# SPDX-License-Identifier: Apache-2.0
"""What a shell offers at Tab beside commands and options: names that the daemon knows. It is silent if it knows none.

A shell asks by click's variable _XDPLB_COMPLETE. Nothing is ever printed but what may be typed there: a daemon that
does not answer within a second, or does not let the user in, has no names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, replace
from typing import TYPE_CHECKING, TypeVar

import click

from xdplb.client import Client
from xdplb.model.errors import XdplbError

from .params import Connection
from .vip_table import vip_text

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = [
    "backend_names",
    "check_names",
    "node_names",
    "place_names",
    "prepare_bash",
    "token_names",
    "vip_argument",
    "vip_names",
]

_LONGEST_WAIT_SECONDS = 1.0
_Command = TypeVar("_Command", bound=Callable[..., object])
_Offer = tuple[str, str | None]
_Names = Callable[[click.Context, click.Parameter, str], "list[CompletionItem[str]]"]

# In the place of click's, for which a VIP's key is three words: bash breaks words at colons too, unless quoted.
# So what is typed is taken as one line, and of each completion bash gets what comes after the last colon in the word.
_BASH = """\
%(complete_func)s() {
    local line=${COMP_LINE:0:COMP_POINT} type value
    local word=${line##*[[:space:]]}
    local had=
    [[ $COMP_WORDBREAKS == *:* && $word == *:* && $word != [\\'\\"]* ]] && had=${word%%"${word##*:}"}
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("${value#"$had"}") ;;
        esac
    done < <(COMP_WORDS=$line %(complete_var)s=bash_complete "$1")
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""


def prepare_bash() -> None:
    """Have click use a script for bash that takes words with colons."""
    from click.shell_completion import BashComplete, add_completion_class, split_arg_string

    class Bash(BashComplete):
        source_template = _BASH

        def get_completion_args(self) -> tuple[list[str], str]:
            import os

            line = os.environ["COMP_WORDS"]
            words = split_arg_string(line)[1:]
            return (words, "") if not words or line[-1].isspace() else (words[:-1], words[-1])

    add_completion_class(Bash)


def _names(of: Callable[[Client, click.Context], Iterable[_Offer]]) -> _Names:
    """Return the completion of a parameter: the names that `of` finds, each with what is said beside it."""

    def complete(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        from click.shell_completion import CompletionItem

        try:
            with _connection(context).silent_client() as client:
                found = dict(of(client, context))
        except (XdplbError, OSError):
            return []
        return [CompletionItem(name, help=said) for name, said in found.items() if name.startswith(incomplete)]

    return complete


def _connection(context: click.Context) -> Connection:
    """Return which daemon the global options before the command name."""
    given = context.find_root().params
    known = {field.name: given[field.name] for field in fields(Connection) if given.get(field.name) is not None}
    return replace(Connection(**known), request_timeout=_LONGEST_WAIT_SECONDS)


def _vips(client: Client, _context: click.Context) -> Iterator[_Offer]:
    for vip in client.vips.list().json()["vips"]:
        key, name = vip_text(vip), vip["name"]
        if name is not None:
            yield name, key
        yield key, name


def _backends(client: Client, context: click.Context) -> Iterator[_Offer]:
    return _backends_of(client, context.params["vip"])


def _backends_of(client: Client, vip: str) -> Iterator[_Offer]:
    for backend in client.backends.list(vip).json()["backends"]:
        yield backend["address"], backend["status"]["health"]


def _places(client: Client, context: click.Context) -> Iterator[_Offer]:
    """Yield what may come next of `[VIP] ADDRESS`, of which --all-vips leaves the first out."""
    given: tuple[str, ...] = context.params.get("places") or ()
    if context.params.get("all_vips"):
        if not given:
            yield from ((each["address"], None) for each in client.backends.all().json()["backends"])
    elif not given:
        yield from _vips(client, context)
    elif len(given) == 1:
        yield from _backends_of(client, given[0])


def _checks(client: Client, context: click.Context) -> Iterator[_Offer]:
    for check in client.checks.of(context.params["vip"]).json()["checks"]:
        yield check["label"], None


def _nodes(client: Client, _context: click.Context) -> Iterator[_Offer]:
    for node in client.nodes.list().json()["nodes"]:
        yield node["name"], node["state"]


def _tokens(client: Client, _context: click.Context) -> Iterator[_Offer]:
    for token in client.tokens.list().json()["tokens"]:
        yield token["name"], token["role"]


def vip_argument(command: _Command) -> _Command:
    """Add the argument VIP: one that there is."""
    return click.argument("vip", metavar="VIP", shell_complete=vip_names)(command)


vip_names = _names(_vips)
"""VIPs, by name and by key."""
backend_names = _names(_backends)
"""The backends of the VIP that is the argument before."""
place_names = _names(_places)
"""VIPs, and then the backends of the one that is given; with --all-vips, all backends."""
check_names = _names(_checks)
"""The checks of the VIP that is the argument before."""
node_names = _names(_nodes)
token_names = _names(_tokens)
