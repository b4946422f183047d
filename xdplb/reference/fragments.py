"""Fragments: only the first has ports, so that its choice is remembered for the others.

Those that come before it are dropped: to hold them back would need memory that anybody could fill, and what was lost is
sent again by those who care (RFC 8900 tells more).
"""

from __future__ import annotations

from .checks import check_ip
from .config import NO_BACKEND
from .flow_hash import hash_flow
from .journey import Choice, Journey, Placement
from .limits import SECOND, check_limits
from .packet import Packet
from .reasons import Reason, Stop
from .state import Fragment, FragmentKey
from .vips import has_vips

__all__ = ["choose_for_fragment", "remember"]

FRAGMENT_SECONDS = 30
"""How long the rest is waited for: as long as Linux reassembles (ipfrag_time)."""


def choose_for_fragment(journey: Journey, packet: Packet) -> Choice:
    """Return the backend that got the first fragment of this later one's packet.

    It counts for the VIP's limits, or one first fragment would let any number of others through.
    """
    if not has_vips(journey.config, packet.destination):
        raise Stop(Reason.PASS_FRAGMENT)
    check_ip(packet)
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
        check_limits(vip, journey.state, packet, journey.now, journey.changes)
    return Choice(found.backend, Placement.FRAGMENT)


def remember(journey: Journey, packet: Packet, backend_id: int, epoch: int = 0, vip_id: int = 0) -> None:
    """Note where a first fragment was sent; NO_BACKEND: it is the host's."""
    journey.changes.fragments[_key(packet)] = Fragment(backend_id, epoch, vip_id, journey.now)


def _key(packet: Packet) -> FragmentKey:
    return FragmentKey(packet.source, packet.destination, packet.fragment_id, packet.fragment_protocol)
