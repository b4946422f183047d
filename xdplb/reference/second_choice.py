# SPDX-License-Identifier: Apache-2.0
"""Does a new TCP connection go to another backend than the one that comes first? docs/passive.md says when.

It does if that one is suspect and has not answered the connection's SYN, cannot be sent to, or gets as many new
connections as it may. Such a connection is recorded as one of a second choice, which counts in steady slots too.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import takewhile

from xdplb.balance.hashing import TABLE_SIZE
from xdplb.dataplane.plane import VipEntry

from .flow import TOUCH_AFTER, find, has_answered, is_second_choice, is_sign_of_life, is_valid
from .flow_state import Flow, FlowTable, Found
from .journey import Choice, Journey, Placement
from .limits import SECOND, charge, cost_of
from .packet import TCP, Packet
from .reasons import Reason
from .slot import NO_BACKEND

__all__ = ["find_stray", "has_waited", "touch_strays", "with_second_choice"]

AFTER = SECOND * 8 // 10
"""A SYN that comes again after this long was not answered: the first timeout is 1 s (RFC 6298, 2.1)."""

TRIES = 64
"""How many slots are looked at, one after the other."""


def has_waited(journey: Journey, flow: Flow) -> bool:
    """Whether a SYN that stays with this record's backend is sent again since nobody has answered the one before."""
    return not has_answered(flow) and journey.now >= flow.last_seen + AFTER


def with_second_choice(journey: Journey, packet: Packet, vip: VipEntry, hashed: int, choice: Choice) -> Choice:
    """Return the choice for a packet, with another backend if that is what to do.

    A SYN that stays with its record's backend goes elsewhere only if it has waited and that backend is suspect. A new
    connection is charged to the backend that gets it.
    """
    first = choice.backend_id
    if not (vip.second_choice and packet.is_syn) or not _is_known(journey, first):
        return choice
    stays = choice.placement is Placement.RECORD
    if stays and not (choice.waited and first in journey.config.suspects):
        return choice
    is_failover = stays or not journey.config.is_usable(first)
    if not is_failover and _has_room(journey, first):
        _charge(journey, first)
        return choice
    other = _other(journey, vip, hashed, first)
    if other is None:
        return choice if is_failover else replace(choice, refused_for=Reason.DROP_BACKEND_RATE)
    _charge(journey, other)
    _count(journey, first, "failovers" if is_failover else "over")
    replaced = choice.found.flow if stays and choice.found is not None else choice.replaced
    return replace(
        choice,
        backend_id=other,
        placement=Placement.SECOND,
        replaced=replaced,
        record_in=FlowTable.PROBATION,
        is_new_flow=True,
    )


def find_stray(journey: Journey, packet: Packet, vip: VipEntry) -> Found | None:
    """Return the record of a connection that is with a second choice, for a packet of a steady slot that is no SYN.

    Records are looked up only while a connection of the VIP that is not with its slot's owner can be open.
    """
    last = journey.state.strays.get(vip.id, 0)
    if not (vip.second_choice and packet.protocol == TCP and last):
        return None
    if journey.now > last + vip.idle_seconds * SECOND + TOUCH_AFTER:
        return None
    found = find(journey.state, packet.flow)
    return found if found is not None and is_second_choice(found.flow) and is_valid(journey, found) else None


def touch_strays(journey: Journey, packet: Packet, vip: VipEntry, found: Found) -> None:
    """Note that a connection that is not with its slot's owner lives."""
    if is_sign_of_life(found.flow, packet) and journey.now >= journey.state.strays[vip.id] + TOUCH_AFTER:
        journey.effects.strays[vip.id] = journey.now


def _other(journey: Journey, vip: VipEntry, hashed: int, first: int) -> int | None:
    """Return the owner of the first of some slots that can take the connection, None if none of them can."""
    config = journey.config
    start = (hashed & 0xFFFFFFFF) * (TABLE_SIZE - TRIES) >> 32
    if vip.id not in config.tables:
        return None
    slots = (config.slot(vip.id, start + step).owner for step in range(TRIES))
    owners = takewhile(lambda owner: _is_known(journey, owner), slots)
    return next((owner for owner in owners if owner != first and _can_take(journey, owner)), None)


def _can_take(journey: Journey, backend_id: int) -> bool:
    config = journey.config
    if backend_id == NO_BACKEND or not config.is_usable(backend_id) or backend_id in config.suspects:
        return False
    return config.backends[backend_id].takes_new and _has_room(journey, backend_id)


def _has_room(journey: Journey, backend_id: int) -> bool:
    return _charged(journey, backend_id) is not None


def _charge(journey: Journey, backend_id: int) -> None:
    charged = _charged(journey, backend_id)
    if charged:
        journey.effects.backend_buckets[backend_id] = charged


def _charged(journey: Journey, backend_id: int) -> int | None:
    """Return the backend's bucket with one new connection more, 0 if it has no limit, None if it has no room."""
    rate = journey.config.backends[backend_id].max_new_flows
    if not rate:
        return 0
    return charge(journey.state.backend_buckets.get(backend_id, 0), cost_of(rate), journey.now)


def _count(journey: Journey, backend_id: int, name: str) -> None:
    journey.effects.counts["second", backend_id, name] += 1


def _is_known(journey: Journey, backend_id: int) -> bool:
    """Whether there is room for a backend with this id: always, in a table that the control plane wrote."""
    return backend_id <= journey.config.max_backends
