# SPDX-License-Identifier: Apache-2.0
"""Fragments: only the first has ports. Where it was sent is remembered, and the others follow it.

Non-first fragments that arrive before the first are dropped: to hold them back would take memory that anybody could
fill (RFC 8900 says more).
"""

from __future__ import annotations

from xdplb.model.vip import HashKind

from .flow_hash import hash_flow
from .flow_state import Fragment, FragmentKey
from .journey import Choice, Journey, Placement
from .limits import SECOND, check_limits
from .packet import TCP, Packet
from .reasons import Reason, Stop
from .slot import NO_BACKEND

__all__ = ["choose_for_fragment", "key_of", "remember"]

FRAGMENT_SECONDS = 30
"""How long the record of a first fragment is valid: as long as Linux keeps fragments (ipfrag_time)."""

INSIDE_TCP = 8
"""The one offset, in bytes, at which a fragment begins inside a TCP header and reaches its flags."""


def choose_for_fragment(journey: Journey, packet: Packet) -> Choice:
    """Return the backend that the packet's first fragment was sent to.

    The VIP's limits hold for fragments too, or one first fragment would let any number of others through. They are
    checked here, because only the first fragment's record tells which VIP it is.
    """
    found = journey.state.fragments.get(key_of(packet))
    if found is None or journey.now > found.last_seen + FRAGMENT_SECONDS * SECOND:
        raise Stop(Reason.DROP_FRAGMENT)
    _check_overlap(packet, found)
    if found.backend == NO_BACKEND:
        raise Stop(Reason.PASS_FRAGMENT)
    if not journey.config.is_current(found.backend, found.epoch):
        raise Stop(Reason.DROP_FRAGMENT)
    journey.vip_id = found.vip
    journey.hash = hash_flow(packet, HashKind.FIVE_TUPLE)
    vip = journey.config.vips.get(found.vip)
    if vip is not None:
        check_limits(journey, packet, vip)
    return Choice(found.backend, Placement.FRAGMENT)


def remember(journey: Journey, packet: Packet, backend_id: int, epoch: int = 0, vip_id: int = 0) -> None:
    """Remember where a first fragment was sent; NO_BACKEND: it was passed to the host."""
    journey.effects.fragments[key_of(packet)] = Fragment(backend_id, epoch, vip_id, journey.now, packet.protocol)


def key_of(packet: Packet) -> FragmentKey:
    """Return what the packet's other fragments have in common with this one."""
    protocol = packet.protocol if packet.version == 4 else 0
    return FragmentKey(packet.source, packet.destination, packet.fragment_id, protocol)


def _check_overlap(packet: Packet, first: Fragment) -> None:
    """Stop what would write other flags into a TCP header that has been looked at.

    RFC 1858, section 3.2.2: "IF FO=1 and PROTOCOL=TCP then DROP PACKET"; RFC 3128 says why that is enough where, as
    here, first fragments are only sent on with a whole TCP header.
    """
    if first.protocol == TCP and packet.fragment_offset == INSIDE_TCP:
        raise Stop(Reason.DROP_TCP_FRAGMENT)
