"""Fragments: only the first has ports, so that its choice is remembered for the others.

Those that come before it are dropped: to hold them back would need memory that anybody could fill, and what was lost is
sent again by those who care (RFC 8900 tells more).
"""

from __future__ import annotations

from xdplb.dataplane.plane import BackendEntry

from .checks import check_ip
from .flow_hash import hash_flow
from .journey import Choice, Journey, Placement
from .limits import SECOND
from .packet import Packet
from .reasons import Reason, Stop
from .state import Fragment, FragmentKey
from .vips import has_vips

__all__ = ["choose_for_fragment", "remember"]

FRAGMENT_SECONDS = 30
"""How long the rest is waited for: as long as Linux reassembles (ipfrag_time)."""


def choose_for_fragment(journey: Journey, packet: Packet) -> Choice:
    """Return the backend that got the first fragment of this later one's packet."""
    if not has_vips(journey.config, packet.destination):
        raise Stop(Reason.PASS_FRAGMENT)
    check_ip(packet)
    found = journey.state.fragments.get(_key(packet))
    if found is None or journey.now > found.last_seen + FRAGMENT_SECONDS * SECOND:
        raise Stop(Reason.DROP_FRAGMENT)
    if not journey.config.is_current(found.backend, found.epoch):
        raise Stop(Reason.DROP_FRAGMENT)
    journey.vip_id = found.vip
    journey.hash = hash_flow(packet, by_source=False)
    return Choice(found.backend, Placement.FRAGMENT)


def remember(journey: Journey, packet: Packet, vip_id: int, backend: BackendEntry) -> None:
    """Note where a first fragment was sent."""
    journey.changes.fragments[_key(packet)] = Fragment(backend.id, backend.epoch, vip_id, journey.now)


def _key(packet: Packet) -> FragmentKey:
    return FragmentKey(packet.source, packet.destination, packet.fragment_id, packet.fragment_protocol)
