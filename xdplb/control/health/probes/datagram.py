# SPDX-License-Identifier: Apache-2.0
"""A probe in datagrams: over a connected socket, so that the kernel tells of ICMP errors."""

from __future__ import annotations

import errno
import select
import socket
from dataclasses import replace

from xdplb.control.health.local_end import asked_from
from xdplb.control.health.probes.aim import Aim
from xdplb.control.health.probes.probe import BROKEN, Keeper, SocketProbe
from xdplb.control.health.probes.result import Finding, OnResult, ProbeResult
from xdplb.control.health.probes.talk import Talk
from xdplb.control.plan.sources import Source

__all__ = ["DatagramProbe"]

_REFUSED = ("connection refused", "an ICMP error says that nothing listens on its port")
_LARGEST_BYTES = 65536
_MOST_DATAGRAMS = 1000
"""How many datagrams are read that are not the answer: a raw socket sees the answers to all pings of a backend."""


class DatagramProbe(SocketProbe):
    """One datagram to a backend, and those that answer it."""

    __slots__ = ("_heard", "_left", "_talk")

    def __init__(self, aim: Aim, keeper: Keeper, on_result: OnResult, talk: Talk) -> None:
        super().__init__(aim, keeper, on_result)
        self._talk = talk
        self._heard = False
        self._left = _MOST_DATAGRAMS

    def begin(self, source: Source) -> ProbeResult | None:
        """Begin, and send the datagram."""
        if (result := super().begin(source)) is not None:
            return result
        try:
            self._socket.send(self._talk.opening)
        except OSError as error:
            result = self._result_of(error.errno or 0)
            self.cut()
            return result
        if self.aim.steps is not None:
            to = f"to {self.aim.host}" + (f" port {self.aim.port}" if self.aim.port else "")
            self._step("sent", f"{self._talk.asks}, {len(self._talk.opening)} bytes {to}{asked_from(self._sock)}")
        return None

    def news(self, events: int) -> None:
        """Read an answer, or the ICMP error that came in its place."""
        if self._sock is None:
            return
        if events & BROKEN and (code := self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
            self._failed(code)
        elif events & select.EPOLLIN:
            self._read()

    def _new_socket(self, family: int) -> socket.socket:
        return socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    @property
    def _is_connected(self) -> bool:
        return self._heard

    def _result_of(self, code: int) -> ProbeResult:
        result = super()._result_of(code)
        if code == errno.ECONNREFUSED:
            return replace(result, reason=result.reason.replace(*_REFUSED))
        return result

    def _silent(self, seconds: float) -> Finding:
        return self._talk.silent(seconds)

    def _read(self) -> None:
        try:
            data = self._socket.recv(_LARGEST_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._failed(error.errno or 0)
            return
        self._heard = True
        if self.aim.steps is not None and self.aim.steps.done[-1].name == "sent":
            self._step("first byte", f"a datagram of {len(data)} bytes")
        finding = self._talk.take(data)
        if finding is not None:
            self._judged(finding)
            return
        self._left -= 1
        if self._left:
            self._keeper.again(self, select.EPOLLIN)
        else:
            self._found(self._talk.ended())

    def _judged(self, finding: Finding) -> None:
        self._found(finding)
