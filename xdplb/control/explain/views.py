# SPDX-License-Identifier: Apache-2.0
"""The answer about a packet, as plain values."""

from __future__ import annotations

from dataclasses import dataclass

from xdplb.control.explain.question import Question
from xdplb.model.address import IPAddress
from xdplb.model.vip import Forward

__all__ = ["Difference", "ExplainView", "NextHopView", "OuterView", "RecordView", "SentView", "SlotView"]


@dataclass(frozen=True, slots=True)
class SlotView:
    """The slot that the flow's hash selects: its owner, and its previous owner while it is moving."""

    number: int
    state: str
    owner: IPAddress | None
    previous: IPAddress | None


@dataclass(frozen=True, slots=True)
class RecordView:
    """The flow's record. It counts if its backend still exists and is usable.

    `backend` is None if the backend is gone. `flags` are `established`, `fin` and `rst`.
    """

    backend: IPAddress | None
    counts: bool
    age_seconds: float
    flags: tuple[str, ...]
    probation: bool


@dataclass(frozen=True, slots=True)
class OuterView:
    """The outer header; ports are None except for GUE."""

    source: IPAddress
    destination: IPAddress
    source_port: int | None
    destination_port: int | None


@dataclass(frozen=True, slots=True)
class NextHopView:
    """Where the frame is sent. `tags` are VLAN ids, outermost first; `gateway` is None if the backend is on-link."""

    mac: str
    interface: str
    gateway: IPAddress | None
    mtu: int
    tags: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SentView:
    """How a packet is sent; `outer` is None for dr and nat."""

    forward: Forward
    outer: OuterView | None
    next_hop: NextHopView


@dataclass(frozen=True, slots=True)
class Difference:
    """A field in which the reference model and the program differ, with both values."""

    what: str
    model: str
    program: str


@dataclass(frozen=True, slots=True)
class ExplainView:
    """What would happen to a packet that comes in by `interface`, and why: a sentence for each step.

    `action` is `send`, `pass`, `drop` or `answer`; `reason` is named as in the counters, None for a packet that is
    sent. `chosen_by` says what selected the backend. `agree` is None if the program was not asked or its answer could
    not be compared; `note` then says why.
    """

    question: Question
    interface: str
    if_down: IPAddress | None
    vip: str | None
    action: str
    reason: str | None
    slot: SlotView | None
    record: RecordView | None
    backend: IPAddress | None
    chosen_by: str
    sent: SentView | None
    why: tuple[str, ...]
    agree: bool | None
    differences: tuple[Difference, ...]
    note: str
