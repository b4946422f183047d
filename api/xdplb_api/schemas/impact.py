# SPDX-License-Identifier: Apache-2.0
"""What a change does to traffic, as data: in the answer to a dry run, in that of a change if asked for, in events."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from xdplb.control.plan.impact import Impact
from xdplb.control.plan.impact_data import impact_data

from .base import ForwardWord, ResponseBody

__all__ = ["ImpactOut"]

KnownByWord = Literal["plan", "records", "counters", "nothing"]
UseWord = Literal["serving", "keeping", "out"]
CauseWord = Literal[
    "cut_off", "taken", "hash", "scheduler", "udp", "quic", "access", "limits", "forward", "idle_timeout", "flow_table"
]
MOVES = "at most 64, those of most slots first"
ROWS = "at most 200"


class SlotsChangedOut(ResponseBody):
    """How many slots of all tables change."""

    moved: int = Field(description="Slots that get another owner.")
    kept: int = Field(description="Those of them in which open connections stay with their backends.")
    assigned: int = Field(description="Slots of VIPs that had no backend before.")
    owed: int = Field(description="Slots that go to backends that ramp up, in later steps (slow start).")
    tables: int = Field(description="How many VIPs get another table.")


class SlotMoveOut(ResponseBody):
    """Slots that move from one backend to another; null: nobody."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, serialize_by_alias=True)

    source: str | None = Field(alias="from", description="Who had them.", examples=["10.0.0.11"])
    target: str | None = Field(alias="to", description="Who gets them.", examples=["10.0.0.12"])
    slots: int = Field(description="How many.")


class SlotStatesOut(ResponseBody):
    """The slots of a table by state."""

    steady: int = Field(description="Those whose owner gets every packet.")
    moving: int = Field(description="Those whose open connections stay with the previous owner.")
    pinned: int = Field(description="Those in which records decide.")


class TableChangeOut(ResponseBody):
    """The change of a VIP's table."""

    vip: str = Field(description="The VIP.", examples=["203.0.113.10:443/tcp"])
    slots: int = Field(description="How many slots it has.")
    is_first: bool = Field(description="It had no backend before.")
    moved: int = Field(description="Slots that get another owner.")
    kept: int = Field(description="Those of them in which open connections stay with their backends.")
    owed: int = Field(description="Slots that go to backends that ramp up, in later steps (slow start).")
    moves: list[SlotMoveOut] = Field(description=f"From whom to whom, {MOVES}.")
    moves_in_all: int = Field(description="How many there are.")
    after: SlotStatesOut = Field(description="All slots of the table once the change is made.")


class FlowsOut(ResponseBody):
    """Recorded flows; null without a scan of the flow table in the last minute."""

    lost: int | None = Field(description="Those whose backend loses all its traffic.")
    kept: int | None = Field(description="Those of VIPs with slots that move; their records keep them where they are.")


class NumberAtRisk(ResponseBody):
    """How many open connections may break."""

    expected: int | None = Field(description="About how many; null if that is not known.")
    at_most: int | None = Field(description="No more than this; 0 is a promise, null means that it is not known.")
    known_by: KnownByWord = Field(
        description="Where the numbers are from: `plan` (nothing in the change can break one), `records` (each has a"
        " flow record), `counters` (packets within the idle timeout, and connections opened), `nothing`."
    )


class RiskOut(NumberAtRisk):
    """The open connections of a VIP that may break for one cause."""

    cause: CauseWord = Field(description="Why.")
    vip: str = Field(description="The VIP that they are with.")
    backends: list[str] = Field(description="The backends that they are with, at most 64.")
    backends_in_all: int = Field(description="How many there are.")
    detail: str = Field(description="The same as a sentence.")


class AtRiskOut(NumberAtRisk):
    """How many open connections may break, and why."""

    causes: list[RiskOut] = Field(description=f"By VIP and cause, {ROWS}; empty if none can break.")


class CutOffOut(ResponseBody):
    """A backend that gets no packets of a VIP any more."""

    vip: str = Field(description="The VIP.")
    backend: str = Field(description="The backend.")
    flows: int | None = Field(description="Its recorded flows; null without a scan in the last minute.")
    served: bool = Field(description="Whether it took new connections until then.")


class BackendUseOut(ResponseBody):
    """What a backend is used for after the change."""

    vip: str = Field(description="The VIP.")
    backend: str = Field(description="The backend.")
    forward: ForwardWord = Field(description="How packets reach it.")
    before: UseWord | None = Field(description="What it was used for; null if it is new.")
    after: UseWord = Field(description="`serving`: new and open connections; `keeping`: open ones; `out`: nothing.")
    reason: str = Field(description="Why it does not serve, or what is wrong with it; empty if all is well.")


class ImpactOut(ResponseBody):
    """What a change does to traffic."""

    slots: SlotsChangedOut = Field(description="Slots of all tables.")
    tables: list[TableChangeOut] = Field(description=f"The tables that change, {ROWS}.")
    flows: FlowsOut = Field(description="Recorded flows that are touched.")
    connections_at_risk: AtRiskOut = Field(description="Open connections that may break.")
    lose_all_traffic: list[CutOffOut] = Field(description=f"The backends that lose all their traffic, {ROWS}.")
    backends: list[BackendUseOut] = Field(description=f"The backends whose use or settings change, {ROWS}.")
    features: list[str] = Field(description="What the program is recompiled with, without interrupting traffic.")

    @classmethod
    def of(cls, impact: Impact) -> ImpactOut:
        """Return the body for an impact."""
        return cls.model_validate(impact_data(impact))
