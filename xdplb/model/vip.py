"""A virtual service: the address, port and protocol that clients talk to, and how it is balanced."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address

from .address import parse_address, parse_port
from .errors import InvalidError

__all__ = [
    "AllUnhealthy",
    "Forward",
    "HashKind",
    "OnUnhealthy",
    "Protocol",
    "Scheduler",
    "Tracking",
    "Vip",
    "VipKey",
]

NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
NAME_HINT = "1 to 63 of a-z, 0-9 and -, not first or last a -"
IDLE_TIMEOUT_RANGE = (1, 65535)


class Protocol(StrEnum):
    """The transport protocol of a VIP."""

    TCP = "tcp"
    UDP = "udp"

    @property
    def number(self) -> int:
        """The IANA protocol number, as in the IPv4 header."""
        return {"tcp": 6, "udp": 17}[self.value]


class Forward(StrEnum):
    """How a packet reaches its backend: by MAC rewrite (`dr`) or in an outer IPv4 header (`ipip`)."""

    DR = "dr"
    IPIP = "ipip"


class Scheduler(StrEnum):
    """What chooses the backend of a new connection."""

    MAGLEV = "maglev"


class Tracking(StrEnum):
    """Which flows are recorded: those in slots that change (`auto`) or every one (`always`)."""

    AUTO = "auto"
    ALWAYS = "always"


class HashKind(StrEnum):
    """What the slot is computed from."""

    FIVE_TUPLE = "5-tuple"
    SOURCE = "source"


class OnUnhealthy(StrEnum):
    """What becomes of the connections of a backend that fails: let go (`reset`) or still sent to it (`keep`)."""

    RESET = "reset"
    KEEP = "keep"


class AllUnhealthy(StrEnum):
    """Without a healthy backend: use those that failed their check (`fail-open`) or drop (`fail-closed`)."""

    FAIL_OPEN = "fail-open"
    FAIL_CLOSED = "fail-closed"


@dataclass(frozen=True, slots=True, order=True)
class VipKey:
    """What tells one VIP from another."""

    address: IPv4Address
    port: int
    protocol: Protocol

    @classmethod
    def parse(cls, text: str) -> VipKey:
        """Parse `203.0.113.10:443/tcp` (as on the command line) or `203.0.113.10:443:tcp` (as in a URL)."""
        match = re.fullmatch(r"\[?([^\[\]/]+?)\]?:([^:/]*)[:/]([^:/]+)", text)
        if match is None:
            raise InvalidError.field("/vip", f"{text!r} is not a VIP", hint="write it like 203.0.113.10:443/tcp")
        address, port, protocol = match.groups()
        if protocol.lower() not in list(Protocol):
            raise InvalidError.field(
                "/protocol", f"{protocol!r} is not a protocol xdplb balances", hint="use tcp or udp"
            )
        return cls(parse_address(address), parse_port(port), Protocol(protocol.lower()))

    @property
    def path(self) -> str:
        """The form without a slash, for URLs: `203.0.113.10:443:tcp`."""
        return f"{self.address}:{self.port}:{self.protocol}"

    def __str__(self) -> str:
        return f"{self.address}:{self.port}/{self.protocol}"


@dataclass(frozen=True, slots=True)
class Vip:
    """A VIP as asked for. `idle_timeout_seconds` is the longest silence of a connection that changes bridge."""

    key: VipKey
    name: str | None = None
    forward: Forward = Forward.DR
    scheduler: Scheduler = Scheduler.MAGLEV
    tracking: Tracking = Tracking.AUTO
    hash: HashKind = HashKind.FIVE_TUPLE
    on_unhealthy: OnUnhealthy = OnUnhealthy.RESET
    all_unhealthy: AllUnhealthy = AllUnhealthy.FAIL_OPEN
    idle_timeout_seconds: int = 900

    def __post_init__(self) -> None:
        if self.name is not None and not re.fullmatch(NAME_PATTERN, self.name):
            raise InvalidError.field("/name", f"{self.name!r} cannot be a name", hint=NAME_HINT)
        low, high = IDLE_TIMEOUT_RANGE
        if not low <= self.idle_timeout_seconds <= high:
            raise InvalidError.field(
                "/idle_timeout_seconds",
                f"idle_timeout_seconds is {self.idle_timeout_seconds}",
                hint=f"give {low} to {high} seconds",
            )
