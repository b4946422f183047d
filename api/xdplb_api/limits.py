# SPDX-License-Identifier: Apache-2.0
"""What the API takes on at once and waits for. Whoever floods it gets refusals; the balancer goes on beside it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from xdplb.model.config import ApiSettings

__all__ = ["Limits"]


@dataclass(slots=True)
class Limits:
    """The limits of the API. They may change while it runs: whoever needs one reads it then.

    `connections` may be open, `requests` be worked on at once. A client has `head_seconds` for the request line and
    headers and `body_seconds` for the body, in which it may not pause for longer than `head_seconds`; after an answer
    it may keep the connection for `idle_seconds`, and it may not leave an answer unread for `unread_seconds`.
    `body_bytes` is the most that a body may have; all large bodies under way may have `memory_bytes` together.
    `event_readers` may follow the events at a time.
    """

    connections: int = 256
    requests: int = 16
    head_seconds: float = 10.0
    body_seconds: float = 60.0
    idle_seconds: float = 30.0
    unread_seconds: float = 60.0
    body_bytes: int = 48 << 20
    event_readers: int = 32

    @property
    def readers(self) -> int:
        """How many may follow the events: of the connections, half are left for requests."""
        return max(1, min(self.event_readers, self.connections // 2))

    @property
    def memory_bytes(self) -> int:
        """The memory of all large bodies under way together: the largest one fits, and some others beside it."""
        return self.body_bytes * 4 // 3

    def under(self, settings: ApiSettings, most_connections: int) -> Limits:
        """Return these limits with those that the configuration sets, but not more than so many connections."""
        given = {
            "connections": settings.connections and min(settings.connections, most_connections),
            "requests": settings.requests,
            "head_seconds": settings.head_timeout_seconds,
            "body_seconds": settings.body_timeout_seconds,
            "idle_seconds": settings.idle_timeout_seconds,
            "body_bytes": settings.max_body_mib and settings.max_body_mib << 20,
        }
        return replace(self, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]

    def become(self, other: Limits) -> None:
        """Make all limits those of `other`, in any thread."""
        for field in fields(self):
            setattr(self, field.name, getattr(other, field.name))
