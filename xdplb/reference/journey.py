# SPDX-License-Identifier: Apache-2.0
"""One packet on its way: what it sees of the data plane, what was decided so far, and its effects."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from xdplb.dataplane.plane import VipEntry

from .config import Config
from .flow_state import Effects, Flow, FlowState, FlowTable, Found
from .reasons import Reason
from .slot import Slot

__all__ = ["Choice", "Journey", "Placement"]


class Placement(StrEnum):
    """What the backend was chosen by."""

    NOBODY = "nobody"  # none was chosen, or the slot has no owner
    OWNER = "owner"  # the slot's owner
    PREVIOUS = "previous"  # its previous owner: an old connection of a moving slot
    RECORD = "record"  # the flow's record
    SCHEDULER = "scheduler"  # a rotation, or the backends' load
    QUIC = "quic"  # the connection ID
    FRAGMENT = "fragment"  # the first fragment went there
    REPLY = "reply"  # of this backend, to a client: NAT
    SECOND = "second choice"  # another one than the backend that comes first


@dataclass(frozen=True, slots=True)
class Choice:
    """The backend chosen, 0 for none, and what follows once the packet is sent.

    `found` is the flow's record, `has_record` whether it is valid; `replaced` is a valid one that a new flow replaces.
    `record_in` is where a record is written if the flow has none yet, None if none is written. `at_risk`: an old
    connection that nothing could place. `waited`: a SYN that stays with its record's backend, and is sent again since
    nobody has answered the one before. `refused_for`: why the packet is not sent to that backend, though it is usable.
    `news` is what other balancers are told of the connection, FLOW_* and SHARED_*, 0 for nothing.
    """

    backend_id: int
    placement: Placement
    found: Found | None = None
    has_record: bool = False
    replaced: Flow | None = None
    record_in: FlowTable | None = None
    is_new_flow: bool = False
    at_risk: bool = False
    waited: bool = False
    refused_for: Reason | None = None
    news: int = 0


@dataclass(slots=True)
class Journey:
    """A packet's view of the data plane at `now` (ns) on one CPU, the NIC it came in by, and what was decided so far.

    `precise` is the same time as the fine clock has it, which only handshakes are measured with.
    `headroom` is how many bytes may be added in front of the frame. `vip` is None for a non-first fragment, which goes
    where the first one went; its `vip_id` is that of the first one. `frame` is what it is by now: taken out of
    its tunnel, if it came in one that ends here.
    """

    config: Config
    state: FlowState
    ifindex: int
    now: int
    cpu: int
    headroom: int
    precise: int
    frame: bytes = b""
    effects: Effects = field(default_factory=Effects)
    vip: VipEntry | None = None
    vip_id: int | None = None
    hash: int | None = None
    slot_number: int | None = None
    slot: Slot | None = None
    choice: Choice | None = None
