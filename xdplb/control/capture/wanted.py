# SPDX-License-Identifier: Apache-2.0
"""Which packets a capture takes: from the user's request to the filters of the program and the control plane."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from ipaddress import ip_network

from xdplb.control.answers.packet_words import check_client_family
from xdplb.control.edits.find import find_key
from xdplb.control.state.snapshot import Snapshot
from xdplb.dataplane.decisions import SNAP_BYTES, CapturedPacket, CaptureFilter
from xdplb.model.address import IPNetwork, parse_address, parse_network, parse_port
from xdplb.model.errors import InvalidError
from xdplb.model.printable import quoted
from xdplb.model.vip import VipKey

__all__ = ["MOST_SNAP_BYTES", "CaptureRequest", "Wanted", "wanted"]

MOST_SNAP_BYTES = 16384
"""More than any frame that XDP sees; the kernel hands out less than 64 KB at once."""

WITH_PORT = re.compile(r"(?:\[([^\[\]]+)\]|([^\[\]:/]+)):([^:/]*)")
HINT = "write it like 192.0.2.7, 192.0.2.0/24, 192.0.2.7:40000 or [2001:db8::9]:40000"


@dataclass(frozen=True, slots=True)
class CaptureRequest:
    """A requested capture: packets to a VIP (name or key), from a client (address, prefix, or address and port).

    It ends after so many packets or seconds; with None for both, when the client disconnects. One in `sample` packets
    is captured, at random, and `snap_bytes` of each frame.
    """

    vip: str | None = None
    client: str | None = None
    packets: int | None = None
    seconds: float | None = None
    sample: int = 1
    snap_bytes: int = SNAP_BYTES


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which packets: to this VIP, from these addresses, from this port; None for any.

    Without a VIP and a client: all packets except those passed to the host because no VIP matches.
    """

    vip: VipKey | None = None
    client: IPNetwork | None = None
    client_port: int | None = None

    def filter(self, sample: int, snap_bytes: int) -> CaptureFilter:
        """Return the filter of the program, which compares only addresses."""
        vip = None if self.vip is None else self.vip.network
        return CaptureFilter(source=self.client, destination=vip, one_in=sample, snap_bytes=snap_bytes)

    def takes(self, packet: CapturedPacket, vip_ids: AbstractSet[int]) -> bool:
        """Return whether to keep a packet that passed that filter; `vip_ids` are the ids that the VIP has had."""
        if self.client_port is not None and packet.source_port != self.client_port:
            return False
        if self.vip is not None:
            return self._is_of_vip(packet, self.vip, vip_ids)
        return self.client is not None or packet.decision.vip_id is not None or not _is_passed(packet)

    @staticmethod
    def _is_of_vip(packet: CapturedPacket, vip: VipKey, vip_ids: AbstractSet[int]) -> bool:
        found = packet.decision.vip_id
        if found is not None:
            return found in vip_ids
        # An echo request, an unknown fragment or a bad packet belongs to an address, not a VIP, and may have no port.
        return not _is_passed(packet) and (packet.destination_port == 0 or packet.destination_port in vip.ports)


def wanted(snapshot: Snapshot, request: CaptureRequest) -> Wanted:
    """Return which packets the request asks for; InvalidError or NotFoundError if it is wrong."""
    vip = None if request.vip is None else find_key(snapshot.desired, request.vip, "/query/vip")
    if request.client is None:
        return Wanted(vip)
    client, port = _client(request.client)
    if vip is not None:
        check_client_family(client.version, vip)
    _refuse_vip_as_client(snapshot, client, port)
    return Wanted(vip, client, port)


def _client(text: str) -> tuple[IPNetwork, int | None]:
    pointer = "/query/client"
    match = WITH_PORT.fullmatch(text)
    if match is not None:
        port = parse_port(match[3], pointer)
        if port == 0:
            raise InvalidError.field(pointer, "no client has port 0", hint="omit the port for all ports")
        return ip_network(parse_address(match[1] or match[2], pointer)), port
    try:
        return parse_network(text, pointer), None
    except InvalidError as error:
        if "%" in text or error.hint.startswith("the prefix is"):
            raise
        raise InvalidError.field(pointer, f"{quoted(text)} is not a client address", hint=HINT) from None


def _refuse_vip_as_client(snapshot: Snapshot, client: IPNetwork, port: int | None) -> None:
    """Raise InvalidError if the client is a VIP written without its protocol: no packet comes from it."""
    if client.num_addresses > 1:
        return
    for key in snapshot.vips:
        is_there = key.address.version == client.version and client.network_address in key.network
        if is_there and (port is None or port in key.ports):
            raise InvalidError.field(
                "/query/client",
                f"{client.network_address} is an address of VIP {key}, not of a client",
                hint=f"name the VIP: {key}",
            )


def _is_passed(packet: CapturedPacket) -> bool:
    reason = packet.decision.reason
    return reason is not None and reason.startswith("pass_")
