"""Records of flows: when one is looked up, when it counts, how a packet changes it. docs/connections.md says why."""

from __future__ import annotations

from dataclasses import replace

from xdplb.dataplane.plane import VipEntry

from .config import Slot, SlotState
from .journey import Choice, Journey
from .limits import SECOND
from .packet import TCP, UDP, Packet, TcpFlag
from .state import Flow, FlowKey, FlowTable, Found, State

__all__ = ["begins_anew", "counts", "find", "has_ended", "is_looked_up", "record", "use"]

ESTABLISHED, FIN, RST = 0x01, 0x02, 0x04  # FLOW_* of the layout
TOUCH_AFTER = SECOND
"""`last_seen` is kept no more precisely than this, so that a record is not written for each packet."""


def is_looked_up(vip: VipEntry, slot: Slot, packet: Packet) -> bool:
    """Whether a record may say more than the slot.

    UDP has nothing that tells a new flow from an old one, so that it moves with its slot where not all is recorded.
    """
    return vip.track_always or (slot.state is not SlotState.STEADY and packet.protocol == TCP)


def find(state: State, key: FlowKey) -> Found | None:
    """Return the record of a flow; it is on probation only where it is not among the open ones."""
    flow = state.flows.get(key)
    if flow is not None:
        return Found(flow, FlowTable.OPEN)
    flow = state.probation.get(key)
    return None if flow is None else Found(flow, FlowTable.PROBATION)


def counts(journey: Journey, found: Found) -> bool:
    """Whether the backend of this record still is the one it was made for, and may be sent to."""
    return journey.config.is_current(found.flow.backend, found.flow.epoch)


def has_ended(flow: Flow) -> bool:
    """Whether the client has said that it ends."""
    return bool(flow.flags & (FIN | RST))


def begins_anew(flow: Flow, packet: Packet, idle_seconds: int, now: int) -> bool:
    """Whether the packet is the first of another flow than the one recorded, on the same addresses and ports."""
    was_silent = now > flow.last_seen + idle_seconds * SECOND
    if packet.protocol == UDP:
        return was_silent
    return packet.is_syn and (was_silent or has_ended(flow))


def use(journey: Journey, found: Found, packet: Packet, vip: VipEntry) -> None:
    """Note in the record that places a packet what the packet adds to it. A flow that ends is a load no more.

    A packet that follows up on a SYN ends the record's probation. A SYN does not, being a first packet itself,
    nor does a RST, which may be all that a host has to say whose address a flood has borrowed.
    """
    flow = found.flow
    used = replace(flow, flags=flow.flags | _flags_of(packet))
    if has_ended(used) and not has_ended(flow):
        _remove_load(journey, vip, flow.backend)
    if found.table is FlowTable.PROBATION and not packet.is_syn and not packet.tcp_flags & TcpFlag.RST:
        journey.changes.probation[packet.flow] = None
        _add_open(journey, packet.flow, replace(used, last_seen=journey.now))
        return
    if journey.now >= flow.last_seen + TOUCH_AFTER:
        used = replace(used, last_seen=journey.now)
    if used != flow:
        _table(journey, found.table)[packet.flow] = used


def record(journey: Journey, packet: Packet, vip: VipEntry, choice: Choice) -> None:
    """Write the record of a flow that was sent on, if one is to be made, over the one found, if any."""
    if choice.record_in is None:
        return
    epoch = journey.config.backends[choice.backend_id].epoch
    made = Flow(choice.backend_id, epoch, _flags_of(packet), vip.id, journey.now)
    if choice.replaced is not None and not has_ended(choice.replaced):
        _remove_load(journey, vip, choice.replaced.backend)
    if not has_ended(made):
        _add_load(journey, vip, made.backend)
    if choice.found is not None and choice.found.table is FlowTable.OPEN:
        journey.changes.flows[packet.flow] = made
    elif choice.record_in is FlowTable.PROBATION:
        journey.changes.probation[packet.flow] = made
    else:
        if choice.found is not None:
            journey.changes.probation[packet.flow] = None
        _add_open(journey, packet.flow, made)


def _table(journey: Journey, table: FlowTable) -> dict[FlowKey, Flow | None]:
    return journey.changes.flows if table is FlowTable.OPEN else journey.changes.probation


def _add_open(journey: Journey, key: FlowKey, flow: Flow) -> None:
    """Add a record to the open ones, of which each added is counted: what is there no more was deleted or evicted."""
    journey.changes.flows[key] = flow
    journey.changes.counts["vip", flow.vip, "records"] += 1


def _flags_of(packet: Packet) -> int:
    flags = 0 if packet.is_syn else ESTABLISHED
    flags |= FIN if packet.tcp_flags & TcpFlag.FIN else 0
    return flags | (RST if packet.tcp_flags & TcpFlag.RST else 0)


def _add_load(journey: Journey, vip: VipEntry, backend_id: int) -> None:
    if _keeps_loads(vip):
        journey.changes.loads[backend_id] = _load(journey, backend_id) + 1


def _remove_load(journey: Journey, vip: VipEntry, backend_id: int) -> None:
    """Count a flow less, never below 0: the control plane, which corrects the count, may have been faster."""
    if _keeps_loads(vip):
        journey.changes.loads[backend_id] = max(0, _load(journey, backend_id) - 1)


def _load(journey: Journey, backend_id: int) -> int:
    loads = journey.changes.loads
    return loads[backend_id] if backend_id in loads else journey.state.loads.get(backend_id, 0)


def _keeps_loads(vip: VipEntry) -> bool:
    return vip.scheduler.is_by_load
