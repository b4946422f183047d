# SPDX-License-Identifier: Apache-2.0
"""The talk of tcp and tls checks: something may be sent, and something may be expected in the answer."""

from __future__ import annotations

from functools import lru_cache

from xdplb.control.health.probes.result import Finding, quoted
from xdplb.model.health import HealthCheck

__all__ = ["Text", "bytes_of"]

_MOST_BYTES = 65536
"""How much of an answer is looked through."""

_CONNECTED = Finding(passed=True, reason="connected")
_SECURED = Finding(passed=True, reason="the TLS handshake is done")


@lru_cache(maxsize=4096)
def bytes_of(text: str | None) -> bytes:
    """Return the bytes that a check sends or expects."""
    return (text or "").encode("latin-1")


class Text:
    """A talk that passes once the expected bytes have come; if none are expected, when it is connected.

    What is to be sent without an answer that is expected is sent, and whether it arrives is not seen.
    """

    __slots__ = ("_expected", "_heard", "_secured", "at_once", "opening")

    leaves_to_peer = False
    is_complete = True

    def __init__(self, check: HealthCheck) -> None:
        self.opening = bytes_of(check.send)
        self._secured = check.type.uses_tls
        self._heard = bytearray()
        self._expected: bytes | None = None
        self.at_once: Finding | None = None
        if check.expect is not None:
            self._expected = bytes_of(check.expect)
        else:
            self.at_once = _SECURED if self._secured else _CONNECTED

    @property
    def asks(self) -> str:
        """What is sent, for people."""
        return quoted(self.opening)

    def take(self, data: bytes) -> Finding | None:
        """Look for the expected bytes in what has come."""
        assert self._expected is not None
        seen = max(0, len(self._heard) - len(self._expected) + 1)
        self._heard += data
        if self._heard.find(self._expected, seen) >= 0:
            return Finding(passed=True, reason=f"answered {quoted(self._heard)}")
        if len(self._heard) >= _MOST_BYTES:
            return self._without(f"in its first {_MOST_BYTES >> 10} KiB")
        return None

    def ended(self) -> Finding:
        """Return that the expected bytes did not come."""
        return self._without("before it closed the connection")

    def silent(self, seconds: float) -> Finding:
        """Return that the expected bytes did not come in time."""
        return self._without(f"in {seconds:g} s")

    def _without(self, until: str) -> Finding:
        if not self._heard:
            return Finding(passed=False, reason=f"connected, but it answered nothing {until}")
        expected = quoted(self._expected or b"")
        return Finding(passed=False, reason=f"answered {quoted(self._heard)} {until}, expected {expected}")
