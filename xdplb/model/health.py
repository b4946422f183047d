"""A health check as asked for: what is tried, how often, and how many results make a change."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .address import parse_port
from .errors import InvalidError

__all__ = ["CheckType", "HealthCheck"]

PATH_PATTERN = r"^/[!-~]*$"
PATH_HINT = "a path starts with / and has no spaces"


class CheckType(StrEnum):
    """What a check does: an HTTP GET that must answer with the expected status, or a TCP connect."""

    HTTP = "http"
    TCP = "tcp"


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """Times are in seconds. `rise` passes in a row make a backend up, `fall` failures in a row make it down.

    `port` None is the VIP's port. A check starts at a random moment of its first interval and every wait is
    off by up to `jitter` of the interval, so that thousands of checks do not come at once.
    """

    type: CheckType = CheckType.TCP
    port: int | None = None
    path: str = "/"
    expect_status: tuple[int, ...] = (200,)
    interval_seconds: float = 2.0
    timeout_seconds: float = 1.0
    rise: int = 2
    fall: int = 3
    jitter: float = 0.1

    def __post_init__(self) -> None:
        if self.port is not None:
            parse_port(self.port)
        if not self.path.startswith("/") or any(c.isspace() or not c.isprintable() for c in self.path):
            raise InvalidError.field("/path", f"{self.path!r} is no path", hint=PATH_HINT)
        if not self.expect_status or any(not 100 <= status <= 599 for status in self.expect_status):
            raise InvalidError.field(
                "/expect_status", "expect_status needs HTTP status codes", hint="such as [200, 204]"
            )
        for name, value, low, high in (
            ("interval_seconds", self.interval_seconds, 0.05, 3600),
            ("timeout_seconds", self.timeout_seconds, 0.01, 300),
            ("rise", self.rise, 1, 100),
            ("fall", self.fall, 1, 100),
            ("jitter", self.jitter, 0, 0.5),
        ):
            if not low <= value <= high:
                raise InvalidError.field(f"/{name}", f"{name} is {value}", hint=f"give {low:g} to {high:g}")
