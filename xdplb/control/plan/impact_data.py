# SPDX-License-Identifier: Apache-2.0
"""The impact of a change as JSON: the same in an answer of the API, in an event, and in what the CLI prints."""

from __future__ import annotations

from xdplb.balance.hashing import TABLE_SIZE
from xdplb.control.plan.impact import AtRisk, BackendUse, CutOff, Impact, Risk, SlotMove, TableChange
from xdplb.control.plan.sentences import risk_sentence

__all__ = ["MOST_MOVES", "MOST_ROWS", "impact_data"]

MOST_ROWS = 200
"""How many tables, backends and risks an answer lists; a count says how many there are."""
MOST_MOVES = 64
"""How many moves of a table, and backends of a risk, are listed; of moves, those of most slots first."""


def impact_data(impact: Impact, *, rows: int = MOST_ROWS, moves: int = MOST_MOVES) -> dict[str, object]:
    """Return an impact as a JSON object, with so many rows at most. Warnings and sentences are not in it."""
    return {
        "slots": {
            "moved": sum(table.moved for table in impact.tables if not table.is_first),
            "kept": sum(table.kept for table in impact.tables),
            "assigned": sum(table.moved for table in impact.tables if table.is_first),
            "owed": sum(table.owed for table in impact.tables),
            "tables": len(impact.tables),
        },
        "tables": [_table(table, moves) for table in impact.tables[:rows]],
        "flows": {"lost": impact.flows, "kept": impact.kept},
        "connections_at_risk": {
            **_at_risk(impact.at_risk),
            "causes": [_risk(risk, moves) for risk in impact.risks[:rows]],
        },
        "lose_all_traffic": [_cut_off(each) for each in impact.cut_off[:rows]],
        "backends": [_use(use) for use in impact.uses[:rows]],
        "features": sorted(feature.value for feature in impact.features),
    }


def _table(table: TableChange, most: int) -> dict[str, object]:
    moves = sorted(table.moves, key=lambda move: -move.slots)
    return {
        "vip": str(table.vip),
        "slots": TABLE_SIZE,
        "is_first": table.is_first,
        "moved": table.moved,
        "kept": table.kept,
        "owed": table.owed,
        "moves": [_move(move) for move in moves[:most]],
        "moves_in_all": len(moves),
        "after": {"steady": table.after.steady, "moving": table.after.moving, "pinned": table.after.pinned},
    }


def _move(move: SlotMove) -> dict[str, object]:
    return {
        "from": None if move.source is None else str(move.source),
        "to": None if move.target is None else str(move.target),
        "slots": move.slots,
    }


def _at_risk(number: AtRisk) -> dict[str, object]:
    return {"expected": number.expected, "at_most": number.at_most, "known_by": number.known_by.value}


def _risk(risk: Risk, most: int) -> dict[str, object]:
    return {
        "cause": risk.cause.value,
        "vip": str(risk.vip),
        "backends": [str(backend) for backend in risk.backends[:most]],
        "backends_in_all": len(risk.backends),
        **_at_risk(risk.connections),
        "detail": risk_sentence(risk),
    }


def _cut_off(each: CutOff) -> dict[str, object]:
    return {"vip": str(each.vip), "backend": str(each.backend), "flows": each.flows, "served": each.served}


def _use(use: BackendUse) -> dict[str, object]:
    return {
        "vip": str(use.vip),
        "backend": str(use.backend),
        "forward": use.forward.value,
        "before": None if use.before is None else use.before.value,
        "after": use.after.value,
        "reason": use.reason,
    }
