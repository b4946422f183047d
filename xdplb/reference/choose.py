# SPDX-License-Identifier: Apache-2.0
"""Which backend gets it? Its slot's owner, unless something else comes first: docs/slots.md has the cases."""

from __future__ import annotations

from dataclasses import replace

from xdplb.dataplane.plane import BackendEntry, VipEntry

from .flow import find, is_looked_up, is_new_flow, is_valid, use
from .flow_state import FlowTable, Found
from .journey import Choice, Journey, Placement
from .packet import UDP, Packet, TcpFlag
from .quic import backend_of_connection_id
from .reasons import Reason, Stop
from .schedule import schedule
from .second_choice import find_stray, has_waited, touch_strays, with_second_choice
from .share import news_of
from .slot import NO_BACKEND, Slot, SlotState, slot_number

__all__ = ["choose_for_error", "choose_for_request", "settle"]


def choose_for_request(journey: Journey, packet: Packet, vip: VipEntry, hashed: int) -> Choice:
    """Return the backend for a packet of a client, and update the flow's record if that decides."""
    named = backend_of_connection_id(journey.config, vip, packet)
    if named is not None:
        return Choice(named, Placement.QUIC)
    slot = _look_at_slot(journey, vip, hashed)
    if not is_looked_up(vip, slot, packet):
        stray = find_stray(journey, packet, vip)
        if stray is None:
            return Choice(*_owner_of(slot), is_new_flow=packet.is_syn)
        touch_strays(journey, packet, vip, stray)
        news = use(journey, stray, packet, vip)
        return Choice(stray.flow.backend, Placement.RECORD, stray, has_record=True, news=news)
    choice = with_second_choice(journey, packet, vip, hashed, _choose_by_record(journey, packet, vip, hashed, slot))
    return replace(choice, news=news_of(choice, packet, vip, slot))


def _choose_by_record(journey: Journey, packet: Packet, vip: VipEntry, hashed: int, slot: Slot) -> Choice:
    """Return the backend for a packet whose record is looked up."""
    found = find(journey.state, packet.flow)
    if found is None or not is_valid(journey, found):
        return _choose_unrecorded(journey, packet, vip, hashed, slot=slot, found=found)
    if is_new_flow(journey, found.flow, packet, vip):
        backend_id, placement = _choose_for_new_flow(journey, vip, slot, hashed)
        return Choice(
            backend_id,
            placement,
            found,
            has_record=True,
            replaced=found.flow,
            record_in=_table_for(packet),
            is_new_flow=True,
        )
    news = use(journey, found, packet, vip)
    return Choice(
        found.flow.backend,
        Placement.RECORD,
        found,
        has_record=True,
        is_new_flow=packet.is_syn,
        waited=has_waited(journey, found.flow),
        news=news,
    )


def choose_for_error(journey: Journey, packet: Packet, vip: VipEntry, hashed: int) -> Choice:
    """Return the backend of the flow that an ICMP error is about. Nothing is recorded for it."""
    slot = _look_at_slot(journey, vip, hashed)
    if is_looked_up(vip, slot, packet):
        found = find(journey.state, packet.flow)
        if found is not None and is_valid(journey, found):
            return Choice(found.flow.backend, Placement.RECORD, found, has_record=True)
    elif (stray := find_stray(journey, packet, vip)) is not None:
        return Choice(stray.flow.backend, Placement.RECORD, stray, has_record=True)
    if vip.scheduler.is_per_connection:
        raise Stop(Reason.PASS_NOT_TCP_UDP)
    if _belongs_to_previous(journey, packet, slot):
        return Choice(slot.previous, Placement.PREVIOUS)
    return Choice(*_owner_of(slot))


def settle(journey: Journey, choice: Choice) -> BackendEntry:
    """Return the backend chosen; raise Stop if there is none, or it may not be sent to."""
    if choice.refused_for is not None:
        raise Stop(choice.refused_for)
    if choice.backend_id == NO_BACKEND:
        raise Stop(Reason.DROP_NO_BACKEND)
    if choice.backend_id > journey.config.max_backends:
        raise Stop(Reason.DROP_INTERNAL)
    if not journey.config.is_usable(choice.backend_id):
        raise Stop(Reason.DROP_BACKEND_DOWN)
    return journey.config.backends[choice.backend_id]


def _look_at_slot(journey: Journey, vip: VipEntry, hashed: int) -> Slot:
    number = slot_number(hashed)
    slot = journey.config.slot(vip.id, number)
    journey.slot_number, journey.slot = number, slot
    return slot


def _choose_unrecorded(
    journey: Journey, packet: Packet, vip: VipEntry, hashed: int, *, slot: Slot, found: Found | None
) -> Choice:
    """Return the backend for a packet whose flow has no valid record.

    An old TCP connection in a moving slot belongs to the previous owner. If the slot does not tell, or the connection
    should have been recorded from its first packet, it is at risk: it may reach the wrong backend.
    """
    if _belongs_to_previous(journey, packet, slot) and not vip.scheduler.is_per_connection:
        backend_id, placement, is_placed = slot.previous, Placement.PREVIOUS, True
    else:
        backend_id, placement = _choose_for_new_flow(journey, vip, slot, hashed)
        is_placed = not packet.is_old_tcp
    # An invalid record becomes valid again when its backend is back, but this is another flow: it is overwritten.
    is_in_the_way = found is not None and not packet.is_old_tcp
    is_noted = vip.second_choice and packet.is_syn
    is_recorded = vip.track_always or is_noted or is_in_the_way or (slot.state is SlotState.MOVING and is_placed)
    # A RST ends its connection: a record would only wait for nothing.
    record_in = _table_for(packet) if is_recorded and not packet.tcp_flags & TcpFlag.RST else None
    return Choice(
        backend_id,
        placement,
        found,
        record_in=record_in,
        is_new_flow=packet.is_syn or (record_in is not None and packet.protocol == UDP),
        at_risk=packet.is_old_tcp and (vip.track_always or not is_placed),
    )


def _table_for(packet: Packet) -> FlowTable:
    """Return where the record goes that a packet makes: a SYN may be all that is ever sent of a connection."""
    return FlowTable.PROBATION if packet.is_syn else FlowTable.OPEN


def _choose_for_new_flow(journey: Journey, vip: VipEntry, slot: Slot, hashed: int) -> tuple[int, Placement]:
    if not vip.scheduler.is_per_connection:
        return _owner_of(slot)
    return schedule(journey, vip, hashed), Placement.SCHEDULER


def _owner_of(slot: Slot) -> tuple[int, Placement]:
    return slot.owner, Placement.NOBODY if slot.owner == NO_BACKEND else Placement.OWNER


def _belongs_to_previous(journey: Journey, packet: Packet, slot: Slot) -> bool:
    """Whether the connection was open before its slot began to move, and so belongs to the previous owner."""
    return packet.is_old_tcp and slot.state is SlotState.MOVING and journey.config.is_usable(slot.previous)
