"""Fragments: only the first has ports. Where it was sent is remembered, and the others follow it.

Non-first fragments that arrive before the first are dropped: to hold them back would take memory that anybody could
fill (RFC 8900 says more).
"""

from __future__ import annotations

from .flow_hash import hash_flow
from .flow_state import Fragment, FragmentKey
from .journey import Choice, Journey, Placement
from .limits import SECOND, check_limits
from .packet import Packet
from .reasons import Reason, Stop
from .slot import NO_BACKEND

__all__ = ["choose_for_fragment", "remember"]

FRAGMENT_SECONDS = 30
"""How long the record of a first fragment is valid: as long as Linux keeps fragments (ipfrag_time)."""


def choose_for_fragment(journey: Journey, packet: Packet) -> Choice:
    """Return the backend that the packet's first fragment was sent to.

    The VIP's limits hold for fragments too, or one first fragment would let any number of others through. They are
    checked here, because only the first fragment's record tells which VIP it is.
    """
    found = journey.state.fragments.get(_key(packet))
    if found is None or journey.now > found.last_seen + FRAGMENT_SECONDS * SECOND:
        raise Stop(Reason.DROP_FRAGMENT)
    if found.backend == NO_BACKEND:
        raise Stop(Reason.PASS_FRAGMENT)
    if not journey.config.is_current(found.backend, found.epoch):
        raise Stop(Reason.DROP_FRAGMENT)
    journey.vip_id = found.vip
    journey.hash = hash_flow(packet, by_source=False)
    vip = journey.config.vips.get(found.vip)
    if vip is not None:
        check_limits(journey, packet, vip)
    return Choice(found.backend, Placement.FRAGMENT)


def remember(journey: Journey, packet: Packet, backend_id: int, epoch: int = 0, vip_id: int = 0) -> None:
    """Remember where a first fragment was sent; NO_BACKEND: it was passed to the host."""
    journey.effects.fragments[_key(packet)] = Fragment(backend_id, epoch, vip_id, journey.now)


def _key(packet: Packet) -> FragmentKey:
    return FragmentKey(packet.source, packet.destination, packet.fragment_id, packet.fragment_protocol)
