"""A health check as configured: what it does, how often, and how many results make a backend up or down."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .address import parse_port
from .errors import InvalidError
from .key import Protocol, VipKey

__all__ = ["CheckType", "HealthCheck", "check_fits", "refuse_missing_check"]

PATH_PATTERN = r"^/[!-~]*$"
PATH_HINT = "a path starts with / and has no spaces"


class CheckType(StrEnum):
    """What a check does: an HTTP GET that expects certain status codes, or a TCP connect."""

    HTTP = "http"
    TCP = "tcp"


_NO_SUCH_CHECK = {
    "https": "use tcp, which connects to the TLS port, or http on a port without TLS",
    "udp": "use http or tcp on a TCP port of the backends",
    "icmp": "use http or tcp, which also tell whether the service answers",
    "ping": "use http or tcp, which also tell whether the service answers",
}
"""What people look for and do not find, and what to use instead."""


def refuse_missing_check(word: object) -> None:
    """Raise InvalidError if `word` is a type of check that many balancers have and xdplb does not."""
    if hint := _NO_SUCH_CHECK.get(str(word).lower()):
        raise InvalidError.field("/type", f"there is no {word} check, only http and tcp", hint=hint)


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """Times are in seconds. After `rise` passes in a row a backend is up, after `fall` failures in a row it is down.

    `port` None is the VIP's port. A check starts at a random time within its first interval, and each wait differs from
    the interval by up to the fraction `jitter`, so that thousands of checks do not run at the same moment. With `reset`
    its connections end with a RST instead of a FIN.
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
    reset: bool = False

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


def check_fits(check: HealthCheck, key: VipKey) -> None:
    """Raise InvalidError if this check of the VIP `key` needs a port and has none."""
    if check.port is not None:
        return
    if key.port == 0:
        raise InvalidError.field(
            "/port", f"VIP {key} has all ports, so its check needs a port", hint="give the port to check"
        )
    if key.protocol is Protocol.UDP:
        raise InvalidError.field(
            "/port",
            f"VIP {key} is UDP, and {check.type} checks use TCP, so its check needs a port",
            hint=f"give the port to check; {key.port} if the backends take TCP there too",
        )
