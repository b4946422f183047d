"""One packet on its way: what it sees of the data plane, what was decided for it, and what it changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from xdplb.dataplane.plane import VipEntry

from .config import Config, Slot
from .state import Changes, Flow, FlowTable, Found, State

__all__ = ["Choice", "Journey", "Placement"]


class Placement(StrEnum):
    """What named the backend."""

    NOBODY = "nobody"  # nothing did, or the slot has no owner
    OWNER = "owner"  # the slot's owner
    PREVIOUS = "previous"  # its previous owner: an old connection of a moving slot
    RECORD = "record"  # the flow's record
    SCHEDULER = "scheduler"  # a rotation, or the backends' load
    QUIC = "quic"  # the connection ID
    FRAGMENT = "fragment"  # the first fragment went there


@dataclass(frozen=True, slots=True)
class Choice:
    """The backend chosen, 0 for nobody, and what follows once the packet is sent on.

    `found` is the flow's record, `has_record` whether it counts; `replaced` is the same where it does and gives way to
    a new flow. `record_in` is where a new record is written if there was none, None where none is written. `at_risk`:
    an old connection that nothing could place.
    """

    backend_id: int
    placement: Placement
    found: Found | None = None
    has_record: bool = False
    replaced: Flow | None = None
    record_in: FlowTable | None = None
    is_new_flow: bool = False
    at_risk: bool = False


@dataclass(slots=True)
class Journey:
    """A packet's view of the data plane at `now` (ns) on one CPU, the NIC it came by, and what is known of it so far.

    `headroom` is how many bytes a header may add in front of the frame. `vip` is None for a later fragment, which goes
    where the first one went; `vip_id` is then that one's.
    """

    config: Config
    state: State
    ifindex: int
    now: int
    cpu: int
    headroom: int
    changes: Changes = field(default_factory=Changes)
    vip: VipEntry | None = None
    vip_id: int | None = None
    hash: int | None = None
    slot_number: int | None = None
    slot: Slot | None = None
    choice: Choice | None = None
