# SPDX-License-Identifier: Apache-2.0
"""`xdplb stats`: the counters, as totals or per second."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from xdplb.client import Answer

from .completion import vip_names
from .groups import Command
from .output import Column, number, print_json, table
from .params import Connection, duration, duration_text, output_option
from .progress import ticking
from .rates import rates
from .watching import watchable

__all__ = ["command"]

_COUNTERS = {
    "PACKETS": "packets",
    "BYTES": "bytes",
    "NEW FLOWS": "new_flows",
    "AT RISK": "at_risk",
    "RECORDS": "records",
    "REPLIES": "replies",
}
"""The counters of VIPs and backends, by the heading of their column."""

_Rows = dict[tuple[str, ...], list[float | None]]
"""Counters by what they count: a VIP and a backend (or `all`), or an action and a reason."""


@click.command(
    cls=Command,
    name="stats",
    short_help="Show the counters, as totals or per second.",
    epilog="""\b
Examples:
  xdplb stats
  xdplb stats --rate 1s
  xdplb stats 203.0.113.10:443/tcp -o json""",
)
@click.argument("vip", metavar="[VIP]", required=False, shell_complete=vip_names)
@click.option(
    "--rate", type=duration, metavar="TIME", help="Count for this long, such as 1s, and show rates per second."
)
@output_option
@watchable
@click.pass_obj
def command(connection: Connection, vip: str | None, rate: float | None, as_json: bool) -> None:
    """Show the counters of all VIPs, or of one VIP, since it was added.

    Bytes are those of the frames as they came in. AT RISK counts packets of open TCP connections that have no record
    although their slot moves or is pinned. RECORDS counts the flows that were recorded. REPLIES, which only backends by
    nat have, counts packets sent on to clients. An evicted flow record is one that the full flow table dropped, since
    the daemon started. An unwrapped packet came in a tunnel that ends here (--decap-at of up),
    and is counted again by what became of it.
    """
    if rate is not None and not rate:
        raise click.UsageError("--rate needs a time, such as 1s")
    client = connection.client()

    def read() -> Answer[Any]:
        return client.vip_stats(vip) if vip else client.stats()

    answer = read()
    if rate is not None:
        _show_rates(answer.json(), lambda: read().json(), rate, as_json=as_json)
    elif as_json:
        print_json(answer.body)
    else:
        _print(answer.json(), number)


def _show_rates(before: Any, read: Callable[[], Any], wait: float, *, as_json: bool) -> None:
    """Print the increase per second of each counter, over about `wait` seconds; as JSON in the shape of the answer."""
    began = time.monotonic()
    with ticking(f"counting for {duration_text(wait)}"):
        time.sleep(wait)
    now = read()
    seconds = time.monotonic() - began
    found = rates(before, now, seconds)
    if as_json:
        print_json({"seconds": round(seconds, 3), **found})
    else:
        _print(found, _tenths, "/S")


def _headings(body: dict[str, Any]) -> list[str]:
    """Return the headings to show: replies only where there are some, since most VIPs have none."""
    replies = any(vip["replies"] for vip in body.get("vips", [body]))
    return [heading for heading in _COUNTERS if heading != "REPLIES" or replies]


def _flows(body: dict[str, Any], headings: Sequence[str]) -> _Rows:
    fields = [_COUNTERS[heading] for heading in headings]
    return dict(row for vip in body.get("vips", [body]) for row in _of_vip(vip, fields))


def _of_vip(vip: dict[str, Any], fields: Sequence[str]) -> Iterator[tuple[tuple[str, ...], list[float | None]]]:
    yield (vip["vip"], "all"), [vip[field] for field in fields]
    for each in vip["backends"]:
        yield (vip["vip"], each["backend"]), [each.get(field) for field in fields]


def _reasons(body: dict[str, Any]) -> _Rows:
    actions = {
        "drop": body.get("drops", {}),
        "pass": body.get("passes", {}),
        "answer": body.get("answers", {}),
        "unwrap": {"packet": body.get("unwrapped", 0)},
        "evict": {"flow_record": body.get("flow_evictions", 0)},
    }
    return {(action, reason): [count] for action, counts in actions.items() for reason, count in sorted(counts.items())}


def _tenths(count: float | None) -> str:
    return "-" if count is None else f"{count:,.1f}".replace(",", " ")


def _print(body: Any, show: Callable[[Any], str], unit: str = "") -> None:
    headings = _headings(body)
    table(
        [Column("VIP"), Column("BACKEND"), *(Column(heading + unit, right=True) for heading in headings)],
        [(*key, *map(show, row)) for key, row in _flows(body, headings).items()],
    )
    if "vips" not in body:
        return
    click.echo()
    table(
        [Column("ACTION"), Column("REASON"), Column("COUNT" + unit, right=True)],
        [(*key, show(row[0])) for key, row in _reasons(body).items() if row[0]],
    )
