"""A health check as configured: what it does, how often, and how many results make a backend up or down."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .address import parse_port
from .errors import InvalidError

__all__ = ["CheckType", "HealthCheck"]

PATH_PATTERN = r"^/[!-~]*$"
PATH_HINT = "a path starts with / and has no spaces"


class CheckType(StrEnum):
    """What a check does: an HTTP GET that expects certain status codes, or a TCP connect."""

    HTTP = "http"
    TCP = "tcp"


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """Times are in seconds. After `rise` passes in a row a backend is up, after `fall` failures in a row it is down.

    `port` None is the VIP's port. A check starts at a random time within its first interval, and each wait differs from
    the interval by up to the fraction `jitter`, so that thousands of checks do not run at the same moment.
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
            raise InvalidError.field("/path", f"{self.path!r} is not a path", hint=PATH_HINT)
        if not self.expect_status or any(not 100 <= status <= 599 for status in self.expect_status):
            raise InvalidError.field(
                "/expect_status", "expect_status must be HTTP status codes", hint="such as [200, 204]"
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
