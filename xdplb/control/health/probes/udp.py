# SPDX-License-Identifier: Apache-2.0
"""The talk of udp checks: a datagram is sent, and an answer is expected or only no ICMP error."""

from __future__ import annotations

from xdplb.control.health.probes.result import Finding, quoted
from xdplb.control.health.probes.text import bytes_of
from xdplb.model.health import HealthCheck

__all__ = ["Udp"]


class Udp:
    """A talk that passes when a datagram has the expected bytes; if none are expected, with any, or in silence.

    Silence is a pass as in keepalived's UDP_CHECK: many protocols do not answer what they do not understand.
    """

    __slots__ = ("_expected", "_other", "opening")

    at_once = None
    leaves_to_peer = False
    is_complete = True

    def __init__(self, check: HealthCheck) -> None:
        self.opening = bytes_of(check.send)
        self._expected = None if check.expect is None else bytes_of(check.expect)
        self._other = ""

    @property
    def asks(self) -> str:
        """What is sent, for people."""
        return quoted(self.opening)

    def take(self, data: bytes) -> Finding | None:
        """Look for the expected bytes in a datagram. Another one may still follow, as a late answer comes first."""
        if self._expected is None or self._expected in data:
            return Finding(passed=True, reason=f"answered {quoted(data)}")
        self._other = quoted(data)
        return None

    def ended(self) -> Finding:
        """Return that only other datagrams came."""
        return Finding(passed=False, reason=f"answered {self._other}, expected {quoted(self._expected or b'')}")

    def silent(self, seconds: float) -> Finding:
        """Return what it means that no such datagram came."""
        if self._expected is None:
            return Finding(passed=True, reason=f"no ICMP error in {seconds:g} s")
        return self.ended() if self._other else Finding(passed=False, reason=f"no answer in {seconds:g} s")
