# SPDX-License-Identifier: Apache-2.0
"""Records of flows: when one is looked up, when it is valid, how a packet changes it. docs/slots.md says why."""

from __future__ import annotations

from dataclasses import replace

from xdplb.dataplane.plane import VipEntry

from .backend_load import add_load, remove_load
from .flow_state import Flow, FlowKey, FlowState, FlowTable, Found
from .journey import Choice, Journey, Placement
from .limits import SECOND
from .packet import TCP, UDP, Packet, TcpFlag
from .slot import Slot, SlotState

__all__ = [
    "TOUCH_AFTER",
    "find",
    "flags_of",
    "has_answered",
    "has_ended",
    "is_looked_up",
    "is_new_flow",
    "is_second_choice",
    "is_sign_of_life",
    "is_valid",
    "use",
    "write_record",
]

ESTABLISHED, FIN, RST, SECOND_CHOICE, FROM_PEER = 0x01, 0x02, 0x04, 0x08, 0x10  # FLOW_* of the layout
OPENED = 0x20  # SHARED_OPENED
TOUCH_AFTER = SECOND
"""`last_seen` is updated no more often than this, so that not every packet writes to the record."""

SYN_AGAIN = 64 * SECOND
"""The longest time from a first SYN to the last that is sent again: 63 s with Linux's tcp_syn_retries of 6."""


def is_looked_up(vip: VipEntry, slot: Slot, packet: Packet) -> bool:
    """Whether a record may decide instead of the slot.

    UDP has no SYN that tells a new flow from an old one: its flows move with the slot, unless the VIP records all
    flows. A VIP with second choices notes every SYN, to know it when it is sent again.
    """
    is_noted = vip.second_choice and packet.is_syn
    return vip.track_always or (packet.protocol == TCP and (slot.state is not SlotState.STEADY or is_noted))


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


def has_answered(flow: Flow) -> bool:
    """Whether the client has sent more than SYNs: somebody has answered it."""
    return bool(flow.flags & ESTABLISHED)


def is_second_choice(flow: Flow) -> bool:
    """Whether the flow went to another backend than the one that came first."""
    return bool(flow.flags & SECOND_CHOICE)


def is_new_flow(journey: Journey, flow: Flow, packet: Packet, vip: VipEntry) -> bool:
    """Whether the packet begins another flow with the addresses and ports of the one recorded.

    A first SYN may be a stray, and the backend knows best how to answer it. After a second one in a row the client is
    waiting for a connection, and a backend that takes no new ones will not give it one.
    """
    was_silent = journey.now > flow.last_seen + vip.idle_seconds * SECOND
    if packet.protocol == UDP:
        return was_silent
    in_vain = not has_answered(flow) and not journey.config.backends[flow.backend].takes_new
    # Where every SYN is noted, most are followed by packets that look no record up: the note stays as it was made.
    is_old_note = vip.second_choice and not has_answered(flow) and journey.now > flow.last_seen + SYN_AGAIN
    return packet.is_syn and (was_silent or has_ended(flow) or in_vain or is_old_note)


def use(journey: Journey, found: Found, packet: Packet, vip: VipEntry) -> int:
    """Update the record that a packet was placed by. A flow that ends no longer counts for its backend's load.

    Return what other balancers do not know yet of the connection, FLOW_* and SHARED_* of the layout, 0 for nothing.

    The first packet after the SYN ends the record's probation. A repeated SYN does not, nor does a RST: it may be the
    reply of a host whose address a SYN flood has forged.

    Only what an open connection sends keeps its record fresh: not a SYN, which speaks for another connection, not a
    RST, and not a FIN that is sent again because nobody answers.
    """
    flow = found.flow
    used = replace(flow, flags=flow.flags & ~(ESTABLISHED | FROM_PEER) | flags_of(packet))
    if has_ended(used) and not has_ended(flow):
        remove_load(journey, vip, flow.backend)
    if found.table is FlowTable.PROBATION and not packet.is_syn and not packet.tcp_flags & TcpFlag.RST:
        journey.effects.probation[packet.flow] = None
        _add_open(journey, packet.flow, replace(used, last_seen=journey.now))
        return used.flags | OPENED
    if is_sign_of_life(flow, packet) and journey.now >= flow.last_seen + TOUCH_AFTER:
        used = replace(used, last_seen=journey.now)
    if used != flow:
        _table(journey, found.table)[packet.flow] = used
    return _news(flow, used, packet) if found.table is FlowTable.OPEN else 0


def _news(flow: Flow, used: Flow, packet: Packet) -> int:
    """Return what a packet shows that no packet since the SYN has: that it was answered, or has ended.

    A RST after a SYN may be somebody else's.
    """
    if has_answered(used) and not has_answered(flow):
        return 0 if packet.tcp_flags & TcpFlag.RST else used.flags | OPENED
    return used.flags if used.flags & ~flow.flags & (FIN | RST) else 0


def write_record(journey: Journey, packet: Packet, vip: VipEntry, choice: Choice) -> None:
    """Write the flow's record, if the choice says so, in place of the one found, if any."""
    if choice.record_in is None:
        return
    epoch = journey.config.backends[choice.backend_id].epoch
    is_second = choice.placement is Placement.SECOND
    flags = flags_of(packet) | (SECOND_CHOICE if is_second else 0)
    made = Flow(choice.backend_id, epoch, flags, vip.id, journey.now)
    if is_second:
        journey.effects.strays[vip.id] = journey.now
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


def is_sign_of_life(flow: Flow, packet: Packet) -> bool:
    """Whether the packet shows that the flow lives."""
    is_fin_again = bool(packet.tcp_flags & TcpFlag.FIN and flow.flags & FIN)
    return not (packet.is_syn or packet.tcp_flags & TcpFlag.RST or is_fin_again)


def flags_of(packet: Packet) -> int:
    """Return the flags that a packet adds to its record, FLOW_* of the layout."""
    flags = 0 if packet.is_syn else ESTABLISHED
    flags |= FIN if packet.tcp_flags & TcpFlag.FIN else 0
    return flags | (RST if packet.tcp_flags & TcpFlag.RST else 0)
