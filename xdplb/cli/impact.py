# SPDX-License-Identifier: Apache-2.0
"""What a change does to traffic, as tables."""

from __future__ import annotations

import click

from xdplb.client.bodies import AtRiskOut, FlowsOut, ImpactOut, RiskOut, SlotsChangedOut

from .output import Column, line, number, print_fields, table

__all__ = ["impact_fields", "print_impact"]

_MOST_ROWS = 20
"""Of each table: who wants all takes -o json."""

_KNOWN_BY = {
    "plan": "nothing in the change can break one",
    "records": "by their flow records",
    "counters": "by the packets seen within the idle timeout",
    "nothing": "the maps cannot be read now",
}

_Rows = list[tuple[object, ...]]


def print_impact(impact: ImpactOut) -> None:
    """Print the `impact` of an answer of the API; nothing if the change does nothing to traffic."""
    if not _does_something(impact):
        return
    click.echo()
    print_fields(impact_fields(impact))
    _print(
        [
            Column("AT RISK OF"),
            Column("CAUSE"),
            Column("EXPECTED", right=True),
            Column("AT MOST", right=True),
            Column("BACKENDS", text=16),
        ],
        [
            (risk["vip"], risk["cause"], _number(risk["expected"]), _number(risk["at_most"]), _backends(risk))
            for risk in impact["connections_at_risk"]["causes"]
        ],
    )
    _print(
        [Column("LOSES ALL TRAFFIC OF"), Column("BACKEND"), Column("RECORDED FLOWS", right=True)],
        [(each["vip"], each["backend"], number(each["flows"])) for each in impact["lose_all_traffic"]],
    )
    _print(
        [Column("SLOTS OF"), Column("FROM"), Column("TO"), Column("SLOTS", right=True)],
        [
            (change["vip"], move["from"], move["to"], number(move["slots"]))
            for change in impact["tables"]
            for move in change["moves"]
        ],
    )


def impact_fields(impact: ImpactOut) -> list[tuple[str, str]]:
    """Return what the change does in all, as names and words."""
    return [
        ("connections at risk", _at_risk(impact["connections_at_risk"])),
        ("slots", _slots(impact["slots"])),
        ("recorded flows", _flows(impact["flows"])),
        ("program", _program(impact["features"])),
    ]


def _does_something(impact: ImpactOut) -> bool:
    risk = impact["connections_at_risk"]
    return bool(impact["tables"] or impact["lose_all_traffic"] or impact["features"] or risk["known_by"] != "plan")


def _at_risk(risk: AtRiskOut) -> str:
    known_by = _KNOWN_BY.get(risk["known_by"], risk["known_by"])
    expected, at_most = risk["expected"], risk["at_most"]
    if at_most is None or expected is None:
        return f"not known: {known_by}"
    if at_most == 0 and risk["known_by"] == "counters":
        return "0 (there was no packet within the idle timeout)"
    if expected == at_most:
        return f"{number(at_most)} ({known_by})"
    return f"about {number(expected)}, at most {number(at_most)} ({known_by})"


def _slots(slots: SlotsChangedOut) -> str:
    parts = []
    if slots["moved"]:
        kept = number(slots["kept"])
        parts.append(f"{number(slots['moved'])} change owners; open connections stay where they are in {kept} of them")
    if slots["assigned"]:
        parts.append(f"{number(slots['assigned'])} get their first owner")
    if slots.get("owed"):
        parts.append(f"{number(slots['owed'])} go to backends that ramp up, step by step")
    return "; ".join(parts) or "none changes owners"


def _flows(flows: FlowsOut) -> str:
    if flows["lost"] is None or flows["kept"] is None:
        return "not counted in the last minute"
    return f"{number(flows['lost'])} lose their backend, {number(flows['kept'])} keep it while slots move"


def _program(features: list[str]) -> str:
    if not features:
        return "stays as it is"
    return f"is recompiled with {', '.join(features)}, which takes seconds; traffic is not interrupted"


def _backends(risk: RiskOut) -> str:
    shown = risk["backends"][:3]
    more = risk["backends_in_all"] - len(shown)
    return " ".join(shown) + (f" and {more} more" if more else "") or "all"


def _number(value: int | None) -> str:
    return "not known" if value is None else number(value)


def _print(columns: list[Column], rows: _Rows) -> None:
    if not rows:
        return
    click.echo()
    table(columns, rows[:_MOST_ROWS])
    if len(rows) > _MOST_ROWS:
        line(f"and {len(rows) - _MOST_ROWS} more; -o json lists them")
