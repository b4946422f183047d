"""What is answered about a packet, as plain values."""

from __future__ import annotations

from dataclasses import dataclass

from xdplb.control.explain.question import Question
from xdplb.model.address import IPAddress
from xdplb.model.vip import Forward

__all__ = ["Difference", "ExplainView", "NextHopView", "OuterView", "RecordView", "SentView", "SlotView"]


@dataclass(frozen=True, slots=True)
class SlotView:
    """The slot that the flow's hash names: whose it is, and whose it was where it is moving."""

    number: int
    state: str
    owner: IPAddress | None
    previous: IPAddress | None


@dataclass(frozen=True, slots=True)
class RecordView:
    """The flow's record, and whether it counts: its backend is still there and may be sent to.

    `backend` is None where that is gone. `flags` are `established`, `fin` and `rst`.
    """

    backend: IPAddress | None
    counts: bool
    age_seconds: float
    flags: tuple[str, ...]
    probation: bool


@dataclass(frozen=True, slots=True)
class OuterView:
    """The outer header; ports are None but for GUE."""

    source: IPAddress
    destination: IPAddress
    source_port: int | None
    destination_port: int | None


@dataclass(frozen=True, slots=True)
class NextHopView:
    """Where the frame is sent. `tags` are the VLANs' ids, the outer one first; `gateway` None: the backend itself."""

    mac: str
    interface: str
    gateway: IPAddress | None
    mtu: int
    tags: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SentView:
    """How a packet leaves; `outer` is None for dr."""

    forward: Forward
    outer: OuterView | None
    next_hop: NextHopView


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the reference model and the program do not agree: about what, and what each says."""

    what: str
    model: str
    program: str


@dataclass(frozen=True, slots=True)
class ExplainView:
    """What would become of a packet that comes in by `interface`, and why, a sentence for each step.

    `action` is `send`, `pass`, `drop` or `answer`, `reason` as in the counters, None for what is sent. `chosen_by` is
    what named the backend. `agree` is None where the program was not asked, or not to any use; `note` says why then.
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
