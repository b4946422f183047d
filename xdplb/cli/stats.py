"""`xdplb stats`: what was counted."""

from __future__ import annotations

from typing import Any

import click

from .client import vip_path
from .output import Column, number, print_json, table
from .params import Connection, output_option

__all__ = ["command"]

_COLUMNS = [
    Column("VIP"),
    Column("BACKEND"),
    Column("PACKETS", right=True),
    Column("BYTES", right=True),
    Column("NEW FLOWS", right=True),
    Column("AT RISK", right=True),
]
_REASONS = [Column("ACTION"), Column("REASON"), Column("PACKETS", right=True)]


@click.command(
    name="stats",
    short_help="Show what was counted.",
    epilog="""\b
Examples:
  xdplb stats
  xdplb stats 203.0.113.10:443/tcp -o json""",
)
@click.argument("vip", metavar="[VIP]", required=False)
@output_option
@click.pass_obj
def command(connection: Connection, vip: str | None, as_json: bool) -> None:
    """Show the counters of all VIPs, or of one, since each was added.

    Bytes are of frames as they came in. AT RISK are packets that no record could place.
    """
    answer = connection.client().get(vip_path(vip, "stats") if vip else "/v1/stats")
    if as_json:
        print_json(answer.body)
        return
    body = answer.json()
    vips = [body] if vip else body["vips"]
    table(_COLUMNS, [row for each in vips for row in _rows(each)])
    if not vip:
        click.echo()
        table(_REASONS, _reasons("drop", body["drops"]) + _reasons("pass", body["passes"]))


def _rows(vip: dict[str, Any]) -> list[tuple[object, ...]]:
    counted = [
        (vip["vip"], each["backend"], number(each["packets"]), number(each["bytes"]), number(each["new_flows"]), "")
        for each in vip["backends"]
    ]
    total = (number(vip["packets"]), number(vip["bytes"]), number(vip["new_flows"]), number(vip["at_risk"]))
    return [(vip["vip"], "all", *total), *counted]


def _reasons(action: str, counters: dict[str, int]) -> list[tuple[object, ...]]:
    return [(action, reason, number(count)) for reason, count in sorted(counters.items()) if count]
