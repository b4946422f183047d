"""Who does what is told in an event."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DAEMON", "Actor"]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks for a change: a process on the Unix socket with its uid and pid, a TCP peer, or the daemon itself.

    `name` says which. `uid` and `pid` are None except for a process on the Unix socket.
    """

    name: str
    uid: int | None = None
    pid: int | None = None

    def __str__(self) -> str:
        return self.name if self.uid is None else f"{self.name}(uid={self.uid},pid={self.pid})"

    def data(self) -> dict[str, object]:
        """Return it as a JSON object, without what is not known."""
        known = {"name": self.name, "uid": self.uid, "pid": self.pid}
        return {name: value for name, value in known.items() if value is not None}


DAEMON = Actor("daemon")
"""The daemon itself."""
