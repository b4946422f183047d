# SPDX-License-Identifier: Apache-2.0
"""What does the frame say? The Ethernet header and its tags, then the IP header. Nothing is looked up."""

from __future__ import annotations

from xdplb.dataplane.features import Feature, Features
from xdplb.model.next_hop import MAX_TAGS

from .packet import Packet
from .parse_ipv4 import parse_ipv4
from .parse_ipv6 import parse_ipv6
from .reasons import Reason, Stop

__all__ = ["IPV4", "IPV6", "MAC_GROUP", "link_header", "parse_frame"]

MACS = 12
MAC_GROUP = 0x01  # in the first byte of a MAC: broadcast or multicast (IEEE 802, 8.2)
IPV4, IPV6 = b"\x08\x00", b"\x86\xdd"
TAG_TYPES = {b"\x81\x00", b"\x88\xa8"}  # IEEE 802.1Q: customer tag, service tag
TAG = 4


def parse_frame(frame: bytes, features: Features) -> Packet:
    """Return the packet in a frame; raise Stop if it is passed unparsed, BadPacket if its lengths are wrong."""
    link = link_header(frame, features)
    ethertype, rest = link[-2:], frame[len(link) :]
    if ethertype not in ({IPV4, IPV6} if Feature.IPV6 in features else {IPV4}):
        raise Stop(Reason.PASS_NOT_IP)
    if link[0] & MAC_GROUP:
        raise Stop(Reason.PASS_NOT_UNICAST)
    return parse_ipv4(frame, link, rest) if ethertype == IPV4 else parse_ipv6(frame, link, rest)


def link_header(frame: bytes, features: Features) -> bytes:
    """Return the Ethernet header with its tags, up to two (IEEE 802.1ad); the type is its last two bytes."""
    end = MACS + 2
    tags = 0
    while Feature.VLAN in features and tags < MAX_TAGS and frame[end - 2 : end] in TAG_TYPES:
        end += TAG
        tags += 1
    if len(frame) < end:
        raise Stop(Reason.PASS_NOT_IP)
    return frame[:end]
