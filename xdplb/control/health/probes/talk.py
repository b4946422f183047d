# SPDX-License-Identifier: Apache-2.0
"""What is said over a probe's connection: the small interface that each protocol of checks has a class for."""

from __future__ import annotations

from typing import Protocol

from xdplb.control.health.probes.result import Finding

__all__ = ["Talk"]


class Talk(Protocol):
    """One talk with a backend, over a stream or in datagrams. It does no I/O and knows no time."""

    @property
    def opening(self) -> bytes:
        """What to send first, b"" for nothing."""
        ...

    @property
    def asks(self) -> str:
        """What is sent first, in words."""
        ...

    @property
    def at_once(self) -> Finding | None:
        """What the connection alone shows, None if an answer must come."""
        ...

    @property
    def leaves_to_peer(self) -> bool:
        """Whether it has asked the backend to close the connection, which is given a moment to do so."""
        ...

    @property
    def is_complete(self) -> bool:
        """Whether nothing more belongs to the answer."""
        ...

    def take(self, data: bytes) -> Finding | None:
        """Take what came next, not empty in a stream; return what it shows, None if more must come."""
        ...

    def ended(self) -> Finding:
        """Return what it means that the backend has closed the stream, or resets nothing but says no more."""
        ...

    def silent(self, seconds: float) -> Finding:
        """Return what it means that nothing more came in the `seconds` of the timeout."""
        ...
