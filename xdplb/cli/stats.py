"""`xdplb stats`: the counters, as totals or per second."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import click

from .client import vip_path
from .output import Column, number, print_json, table
from .params import Connection, duration, output_option

__all__ = ["command"]

_HEADINGS = ("PACKETS", "BYTES", "NEW FLOWS", "AT RISK", "RECORDS")
_FIELDS = ("packets", "bytes", "new_flows", "at_risk", "records")

_Rows = dict[tuple[str, ...], list[int | None]]
"""Counters by what they count: a VIP and a backend (or `all`), or an action and a reason."""


@click.command(
    name="stats",
    short_help="Show the counters, as totals or per second.",
    epilog="""\b
Examples:
  xdplb stats
  xdplb stats --rate 1s
  xdplb stats 203.0.113.10:443/tcp -o json""",
)
@click.argument("vip", metavar="[VIP]", required=False)
@click.option(
    "--rate", type=duration, metavar="TIME", help="Count for this long, such as 1s, and show rates per second."
)
@output_option
@click.pass_obj
def command(connection: Connection, vip: str | None, rate: float | None, as_json: bool) -> None:
    """Show the counters of all VIPs, or of one VIP, since it was added.

    Bytes are those of the frames as they came in. AT RISK counts packets of open TCP connections that have no record
    although their slot moves or is pinned. RECORDS counts the flows that were recorded. An evicted flow record is one
    that the full flow table dropped, since the daemon started.
    """
    if rate is not None and (as_json or not rate):
        raise click.UsageError(
            "--rate needs a time, such as 1s, and cannot be printed as JSON: -o json prints the counters themselves"
        )
    client = connection.client()
    path = vip_path(vip, "stats") if vip else "/v1/stats"
    answer = client.get(path)
    if as_json:
        print_json(answer.body)
        return
    body, unit = answer.json(), ""
    flows, reasons = _flows(body), _reasons(body)
    show: Callable[[Any], str] = number
    if rate is not None:
        began = time.monotonic()
        time.sleep(rate)
        body, unit = client.get(path).json(), "/S"
        seconds = time.monotonic() - began
        flows, reasons = _since(flows, _flows(body)), _since(reasons, _reasons(body))
        show = _per_second(seconds)
    _print(flows, reasons if not vip else None, show, unit)


def _flows(body: dict[str, Any]) -> _Rows:
    return dict(row for vip in body.get("vips", [body]) for row in _of_vip(vip))


def _of_vip(vip: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], list[int | None]]]:
    yield (vip["vip"], "all"), [vip[field] for field in _FIELDS]
    for each in vip["backends"]:
        yield (vip["vip"], each["backend"]), [each.get(field) for field in _FIELDS]


def _reasons(body: dict[str, Any]) -> _Rows:
    actions = {
        "drop": body.get("drops", {}),
        "pass": body.get("passes", {}),
        "answer": body.get("answers", {}),
        "evict": {"flow_record": body.get("flow_evictions", 0)},
    }
    return {(action, reason): [count] for action, counts in actions.items() for reason, count in sorted(counts.items())}


def _since(before: _Rows, now: _Rows) -> _Rows:
    """Return the increase of each counter. One that fell was reset (its VIP was added again) and counts from 0."""
    return {
        key: [_more(*pair) for pair in zip(before.get(key, [0] * len(row)), row, strict=True)]
        for key, row in now.items()
    }


def _more(before: int | None, now: int | None) -> int | None:
    if before is None or now is None:
        return None
    return now - before if now >= before else now


def _per_second(seconds: float) -> Callable[[Any], str]:
    def show(count: int | None) -> str:
        return "-" if count is None else f"{count / seconds:,.1f}".replace(",", " ")

    return show


def _print(flows: _Rows, reasons: _Rows | None, show: Callable[[Any], str], unit: str) -> None:
    table(
        [Column("VIP"), Column("BACKEND"), *(Column(heading + unit, right=True) for heading in _HEADINGS)],
        [(*key, *map(show, row)) for key, row in flows.items()],
    )
    if reasons is None:
        return
    click.echo()
    table(
        [Column("ACTION"), Column("REASON"), Column("COUNT" + unit, right=True)],
        [(*key, show(row[0])) for key, row in reasons.items() if row[0]],
    )
