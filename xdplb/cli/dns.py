# SPDX-License-Identifier: Apache-2.0
"""`xdplb dns`: the names of VIPs in DNS, and what a balancer that is gone has left there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .changes import Change, changing
from .completion import node_names
from .groups import Group
from .output import Column, coloured, moment, note, print_json, table
from .params import Connection, output_option
from .watching import watchable

if TYPE_CHECKING:
    from xdplb.client.bodies import DnsAddressOut, DnsNameOut

__all__ = ["command"]

_COLUMNS = [
    Column("NAME"),
    Column("ADDRESS"),
    Column("IN DNS", style=coloured),
    Column("BY"),
    Column("HERE"),
    Column("SINCE", wide=True),
    Column("REASON", text=20),
]


@click.group(cls=Group, name="dns", short_help="The names of VIPs in DNS.")
def command() -> None:
    """Show the names of VIPs, and take out what a balancer that is gone has left there."""


@command.command(
    short_help="List the names of VIPs and their addresses.",
    epilog="\b\nExamples:\n  xdplb dns ls\n  xdplb dns ls -o json",
)
@output_option
@watchable
@click.pass_obj
def ls(connection: Connection, as_json: bool) -> None:
    """List the names of VIPs and their addresses, as they were read last.

    BY are the nodes that have put an address there, HERE is how this node sees it.
    """
    answer = connection.client().dns.list()
    if as_json:
        print_json(answer.body)
        return
    table(_COLUMNS, [_row(name, address) for name in answer.json()["names"] for address in name["addresses"]])


def _row(name: DnsNameOut, address: DnsAddressOut) -> tuple[object, ...]:
    status = address["status"]
    by = ", ".join(address["nodes"]) or ("somebody else" if address["present"] else "-")
    here = ("-", "-", "") if status is None else (status["standing"] or "?", moment(status["since"]), status["reason"])
    return name["name"], address["address"], "yes" if address["present"] else "no", by, *here


@command.command(
    short_help="Take out what a balancer that is gone has left there.",
    epilog="\b\nExamples:\n  xdplb dns forget lb3 --dry-run\n  xdplb dns forget lb3",
)
@click.argument("node", metavar="NODE", shell_complete=node_names)
@changing()
def forget(change: Change, /, node: str) -> None:
    """Take out of DNS what a balancer that is gone for good has put there, at all names of this one's VIPs.

    Its addresses go if no other balancer serves them, but not the last one of a name. If it comes back, it puts them
    there again.
    """
    answer = change.client.dns.forget(node, **change.how)
    if change.as_json:
        print_json(answer.body)
        return
    released = answer.json()["released"]
    would = "would be" if change.dry_run else "is"
    for each in released:
        went = "taken out" if each["removed"] else "left, since other balancers serve it"
        note(f"{each['address']} of {each['name']} {would} {went}")
    if not released:
        note(f"nothing of {node} to take out: the last address of a name stays")
