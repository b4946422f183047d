"""One packet on its way: what it sees of the data plane, what was decided for it, and what it changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from xdplb.dataplane.plane import VipEntry

from .config import Config, Slot
from .state import Changes, Flow, State

__all__ = ["Choice", "Journey", "Placement"]


class Placement(StrEnum):
    """What named the backend."""

    OWNER = "owner"  # the slot's owner
    PREVIOUS = "previous"  # its previous owner: an old connection of a moving slot
    RECORD = "record"  # the flow's record
    SCHEDULER = "scheduler"  # a rotation, or the backends' load
    QUIC = "quic"  # the connection ID
    FRAGMENT = "fragment"  # the first fragment went there


@dataclass(frozen=True, slots=True)
class Choice:
    """The backend chosen, 0 for nobody, and what follows once the packet is sent on.

    `found` is the flow's record, also one that did not count. `makes_record`: one is written. `at_risk`: an old
    connection that nothing could place.
    """

    backend_id: int
    placement: Placement
    found: Flow | None = None
    makes_record: bool = False
    is_new_flow: bool = False
    at_risk: bool = False


@dataclass(slots=True)
class Journey:
    """A packet's view of the data plane at `now` (ns) on one CPU, the NIC it came by, and what is known of it so far.

    `headroom` is how many bytes a header may add in front of the frame.
    """

    config: Config
    state: State
    ifindex: int
    now: int
    cpu: int
    headroom: int
    changes: Changes = field(default_factory=Changes)
    vip: VipEntry | None = None
    hash: int | None = None
    slot_number: int | None = None
    slot: Slot | None = None
    choice: Choice | None = None
