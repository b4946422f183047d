# SPDX-License-Identifier: Apache-2.0
"""`xdplb events`: what has happened, and what happens."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from xdplb.client.bodies import EventOut, EventsOut
from xdplb.client.events import EventLog, Which
from xdplb.model.printable import json_printable

from .completion import vip_names
from .layout import room
from .output import Column, coloured, line, moment, note, paragraph, print_json, table
from .params import Connection, Whole, output_option

__all__ = ["command"]

_LEVELS = ["critical", "error", "warning", "notice", "info", "debug"]
_COLUMNS = [Column("TIME"), Column("LEVEL", style=coloured), Column("KIND"), Column("WHAT", text=40)]
_A_PAGE = 1000
_USUALLY = 50
_BEFORE = 10


@click.command(
    name="events",
    short_help="What has happened, and what happens.",
    epilog="""\b
Examples:
  xdplb events --since 1h --level warning
  xdplb events --since 03:10 --until 03:15
  xdplb events --vip web --kind health --kind change -n 20
  xdplb events --actor uid=1000 --since 2026-11-27 -o json
  xdplb events --follow""",
)
@click.option("--since", metavar="TIME", help="Since then: 1h (an hour ago), 03:12, 2026-11-28, 2026-11-28T03:12:00Z.")
@click.option("--until", metavar="TIME", help="Until then.")
@click.option(
    "--vip", metavar="VIP", shell_complete=vip_names, help="Only about this VIP; by its key also if it is gone."
)
@click.option("--backend", metavar="ADDRESS", help="Only about the backend with this address.")
@click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Only of this kind. May be given several times.")
@click.option("--level", type=click.Choice(_LEVELS), help="Only this serious or more so.")
@click.option("--actor", metavar="WHO", help="Only what this one did: uid=0, pid=4711, a token's name, file, daemon.")
@click.option(
    "-n",
    "number",
    type=Whole(1, 1_000_000),
    metavar="N",
    help=f"Only the last N.  [all since --since, else {_USUALLY}; with --follow 10]",
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens, until Ctrl-C. JSON has an event a line.")
@output_option
@click.pass_obj
def command(
    connection: Connection,
    *,
    since: str | None,
    until: str | None,
    vip: str | None,
    backend: str | None,
    kinds: tuple[str, ...],
    level: Any,
    actor: str | None,
    number: int | None,
    follow: bool,
    as_json: bool,
) -> None:
    """Show what has happened: changes and who made them, health, drains, drift, starts and stops.

    The oldest come first. docs/events.md has all kinds, with their fields.
    """
    if follow and until is not None:
        raise click.UsageError("--follow has no end: leave --until out")
    which = Which(vip=vip, backend=backend, kinds=list(kinds), level=level, actor=actor, since=since)
    log = connection.client().events
    if not follow:
        _print(_found(log, which, until, number), as_json=as_json)
        return
    after = None
    if since is None or number is not None:
        body = _found(log, which, None, number or _BEFORE)
        after = body["latest"]
        which["since"] = None
        for event in body["events"]:
            _print_one(event, as_json=as_json)
    for event in log.follow(after=after, on_note=note, **which):
        _print_one(event, as_json=as_json)


def _found(log: EventLog, which: Which, until: str | None, number: int | None) -> EventsOut:
    """Return the last events, `number` of them, or by default all since then if a moment is given."""
    events: list[EventOut] = []
    wanted = number or (_USUALLY if which.get("since") is None else None)
    body = log.page(until=until, newest_first=True, limit=min(wanted or _A_PAGE, _A_PAGE), **which).json()
    latest = body["latest"]
    while True:
        events += body["events"]
        if body["next"] is None or (wanted is not None and len(events) >= wanted):
            break
        left = _A_PAGE if wanted is None else min(_A_PAGE, wanted - len(events))
        body = log.page(until=until, cursor=body["next"], newest_first=True, limit=left, **which).json()
    return {"events": events[::-1], "next": None, "latest": latest, "missed": False}


def _print(body: EventsOut, *, as_json: bool) -> None:
    if as_json:
        print_json(body)
    else:
        table(_COLUMNS, [_row(event) for event in body["events"]])


def _print_one(event: EventOut, *, as_json: bool) -> None:
    """Print an event at once; the columns have fixed widths, since nobody knows what comes.

    On a terminal what has happened is below the rest, if it does not fit. Elsewhere an event is a line.
    """
    if as_json:
        click.echo(json_printable(json.dumps(event)))
        return
    at, level, kind, what = _row(event)
    beside, width = f"{at}  {level:<8}  {kind:<20}", room()
    if width is None or not sys.stdout.isatty() or len(beside) + 2 + len(what) <= width:
        line(beside, "  ", what)
        return
    line(beside)
    paragraph(what, before="    ", indent=4)


def _row(event: EventOut) -> tuple[str, str, str, str]:
    kind, what = event["kind"], event["message"]
    return moment(event["time"]) or "", event["level"], kind, what.removeprefix(f"{kind}: ")
