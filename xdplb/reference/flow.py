"""Records of flows: when one is looked up, when it is valid, how a packet changes it. docs/connections.md says why."""

from __future__ import annotations

from dataclasses import replace

from xdplb.dataplane.plane import VipEntry

from .backend_load import add_load, remove_load
from .flow_state import Flow, FlowKey, FlowState, FlowTable, Found
from .journey import Choice, Journey
from .limits import SECOND
from .packet import TCP, UDP, Packet, TcpFlag
from .slot import Slot, SlotState

__all__ = ["find", "has_ended", "is_looked_up", "is_new_flow", "is_valid", "use", "write_record"]

ESTABLISHED, FIN, RST = 0x01, 0x02, 0x04  # FLOW_* of the layout
TOUCH_AFTER = SECOND
"""`last_seen` is updated no more often than this, so that not every packet writes to the record."""


def is_looked_up(vip: VipEntry, slot: Slot, packet: Packet) -> bool:
    """Whether a record may decide instead of the slot.

    UDP has no SYN that tells a new flow from an old one: its flows move with the slot, unless the VIP records all
    flows.
    """
    return vip.track_always or (slot.state is not SlotState.STEADY and packet.protocol == TCP)


def find(state: FlowState, key: FlowKey) -> Found | None:
    """Return the record of a flow, which is either among the open ones or on probation."""
    flow = state.flows.get(key)
    if flow is not None:
        return Found(flow, FlowTable.OPEN)
    flow = state.probation.get(key)
    return None if flow is None else Found(flow, FlowTable.PROBATION)


def is_valid(journey: Journey, found: Found) -> bool:
    """Whether the record's backend is still the one that it was made for, and may be sent to."""
    return journey.config.is_current(found.flow.backend, found.flow.epoch)


def has_ended(flow: Flow) -> bool:
    """Whether the client has sent a FIN or RST."""
    return bool(flow.flags & (FIN | RST))


def is_new_flow(journey: Journey, flow: Flow, packet: Packet, vip: VipEntry) -> bool:
    """Whether the packet begins another flow with the addresses and ports of the one recorded.

    A first SYN may be a stray, and the backend knows best how to answer it. After a second one in a row the client is
    waiting for a connection, and a backend that takes no new ones will not give it one.
    """
    was_silent = journey.now > flow.last_seen + vip.idle_seconds * SECOND
    if packet.protocol == UDP:
        return was_silent
    in_vain = not flow.flags & ESTABLISHED and not journey.config.backends[flow.backend].takes_new
    return packet.is_syn and (was_silent or has_ended(flow) or in_vain)


def use(journey: Journey, found: Found, packet: Packet, vip: VipEntry) -> None:
    """Update the record that a packet was placed by. A flow that ends no longer counts for its backend's load.

    The first packet after the SYN ends the record's probation. A repeated SYN does not, nor does a RST: it may be the
    reply of a host whose address a SYN flood has forged.

    Only what an open connection sends keeps its record fresh: not a SYN, which speaks for another connection, not a
    RST, and not a FIN that is sent again because nobody answers.
    """
    flow = found.flow
    used = replace(flow, flags=flow.flags & ~ESTABLISHED | _flags_of(packet))
    if has_ended(used) and not has_ended(flow):
        remove_load(journey, vip, flow.backend)
    if found.table is FlowTable.PROBATION and not packet.is_syn and not packet.tcp_flags & TcpFlag.RST:
        journey.effects.probation[packet.flow] = None
        _add_open(journey, packet.flow, replace(used, last_seen=journey.now))
        return
    if _is_sign_of_life(flow, packet) and journey.now >= flow.last_seen + TOUCH_AFTER:
        used = replace(used, last_seen=journey.now)
    if used != flow:
        _table(journey, found.table)[packet.flow] = used


def write_record(journey: Journey, packet: Packet, vip: VipEntry, choice: Choice) -> None:
    """Write the flow's record, if the choice says so, in place of the one found, if any."""
    if choice.record_in is None:
        return
    epoch = journey.config.backends[choice.backend_id].epoch
    made = Flow(choice.backend_id, epoch, _flags_of(packet), vip.id, journey.now)
    if choice.replaced is not None and not has_ended(choice.replaced):
        remove_load(journey, vip, choice.replaced.backend)
    if not has_ended(made):
        add_load(journey, vip, made.backend)
    if choice.found is not None and choice.found.table is FlowTable.OPEN:
        journey.effects.flows[packet.flow] = made
    elif choice.record_in is FlowTable.PROBATION:
        journey.effects.probation[packet.flow] = made
    else:
        if choice.found is not None:
            journey.effects.probation[packet.flow] = None
        _add_open(journey, packet.flow, made)


def _table(journey: Journey, table: FlowTable) -> dict[FlowKey, Flow | None]:
    return journey.effects.flows if table is FlowTable.OPEN else journey.effects.probation


def _add_open(journey: Journey, key: FlowKey, flow: Flow) -> None:
    """Add a record to the open ones, and count it: records that are gone were then deleted or evicted."""
    journey.effects.flows[key] = flow
    journey.effects.counts["vip", flow.vip, "records"] += 1


def _is_sign_of_life(flow: Flow, packet: Packet) -> bool:
    is_fin_again = bool(packet.tcp_flags & TcpFlag.FIN and flow.flags & FIN)
    return not (packet.is_syn or packet.tcp_flags & TcpFlag.RST or is_fin_again)


def _flags_of(packet: Packet) -> int:
    flags = 0 if packet.is_syn else ESTABLISHED
    flags |= FIN if packet.tcp_flags & TcpFlag.FIN else 0
    return flags | (RST if packet.tcp_flags & TcpFlag.RST else 0)
