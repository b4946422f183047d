# SPDX-License-Identifier: Apache-2.0
"""icmp checks: a ping. Over a ping socket where the host allows them, else over a raw one.

A ping socket gives each probe its own answers. A raw one sees every ICMP message from the backend, and picks its own by
the id. It needs CAP_NET_RAW, which the daemon keeps.
"""

from __future__ import annotations

import os
import random
import socket
import struct
from dataclasses import replace

from xdplb.control.health.probes.aim import Aim
from xdplb.control.health.probes.datagram import DatagramProbe
from xdplb.control.health.probes.probe import Keeper
from xdplb.control.health.probes.result import Finding, OnResult

__all__ = ["Ping", "PingProbe", "checksum"]

_ECHO = {socket.AF_INET: (8, 0), socket.AF_INET6: (128, 129)}
"""The types of a request and of its answer: RFC 792 and RFC 4443."""
_HEAD = struct.Struct("!BBHHH")
_TOKEN_BYTES = 16
_ICMP_FILTER = 1  # linux/icmp.h, of SOL_RAW
_ICMPV6_FILTER = 1  # linux/icmpv6.h, of IPPROTO_ICMPV6
_SOL_RAW = 255


class Ping:
    """The talk of one ping. Its answer has the token that was sent, which nobody else knows."""

    __slots__ = ("_answer", "_family", "_token", "opening")

    at_once = None
    leaves_to_peer = False
    is_complete = True
    asks = "a ping"

    def __init__(self, family: int) -> None:
        self._family = family
        self._token = os.urandom(_TOKEN_BYTES)
        kind, self._answer = _ECHO[socket.AddressFamily(family)]
        number = random.getrandbits(16)
        head = _HEAD.pack(kind, 0, 0, number, 1)
        if family == socket.AF_INET:  # the kernel adds that of ICMPv6, and both to a ping socket's
            head = _HEAD.pack(kind, 0, checksum(head + self._token), number, 1)
        self.opening = head + self._token

    def take(self, data: bytes) -> Finding | None:
        """Look for the answer."""
        if data and self._family == socket.AF_INET and data[0] >> 4 == 4:  # a raw socket gives the IP header too
            data = data[(data[0] & 0xF) * 4 :]
        if len(data) >= _HEAD.size and data[0] == self._answer and data[_HEAD.size :] == self._token:
            return Finding(passed=True, reason="answers pings")
        return None

    def ended(self) -> Finding:
        """Return that only other messages came."""
        return Finding(passed=False, reason="it sends ICMP messages, but answers no ping")

    def silent(self, seconds: float) -> Finding:
        """Return that no answer came."""
        return Finding(passed=False, reason=f"no answer to a ping in {seconds:g} s")


class PingProbe(DatagramProbe):
    """One ping."""

    __slots__ = ()

    def __init__(self, aim: Aim, keeper: Keeper, on_result: OnResult) -> None:
        aim = replace(aim, port=0)
        super().__init__(aim, keeper, on_result, Ping(socket.AF_INET6 if ":" in aim.host else socket.AF_INET))

    def _new_socket(self, family: int) -> socket.socket:
        protocol = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
        try:
            return socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, protocol)
        except PermissionError:  # net.ipv4.ping_group_range does not have our group
            raw = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
        try:
            self._let_in_answers_only(raw, family)
        except OSError:
            raw.close()
            raise
        return raw

    @staticmethod
    def _let_in_answers_only(raw: socket.socket, family: int) -> None:
        answer = _ECHO[socket.AddressFamily(family)][1]
        if family == socket.AF_INET:
            raw.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", 0xFFFFFFFF & ~(1 << answer)))
            return
        words = [0xFFFFFFFF] * 8
        words[answer >> 5] &= ~(1 << (answer & 31))
        raw.setsockopt(socket.IPPROTO_ICMPV6, _ICMPV6_FILTER, struct.pack("=8I", *words))


def checksum(data: bytes) -> int:
    """Return the checksum of the Internet (RFC 1071) over an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF
