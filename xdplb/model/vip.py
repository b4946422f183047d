"""A virtual service: the address, port and protocol that clients talk to, and how it is balanced."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from .errors import InvalidError
from .key import Protocol, VipKey

__all__ = [
    "AllUnhealthy",
    "Forward",
    "HashKind",
    "OnUnhealthy",
    "Protocol",
    "QuicIds",
    "RateLimits",
    "Scheduler",
    "Tracking",
    "Vip",
    "VipKey",
    "VlanTags",
]

NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
NAME_HINT = "1 to 63 of a-z, 0-9 and -, not first or last a -"
IDLE_TIMEOUT_RANGE = (1, 65535)
SERVER_ID_BYTES_RANGE = (1, 8)
CONFIG_ID_RANGE = (0, 6)
LARGEST_RATE = 1_000_000_000


class Forward(StrEnum):
    """How a packet reaches its backend: by MAC rewrite (`dr`), in an outer IP header (`ipip`), in IP and UDP (`gue`).

    The outer header is of the family of the backend's address, whatever the packet's is.
    """

    DR = "dr"
    IPIP = "ipip"
    GUE = "gue"


class Scheduler(StrEnum):
    """What chooses the backend of a new connection: a hash (maglev, sh), rotation (rr, wrr) or the load (lc, wlc, p2c).

    Weights count for all but `rr` and `lc`, where 0 alone does: nothing new.
    """

    MAGLEV = "maglev"
    RR = "rr"
    WRR = "wrr"
    LC = "lc"
    WLC = "wlc"
    SH = "sh"
    P2C = "p2c"

    @property
    def is_per_connection(self) -> bool:
        """Whether the choice does not follow from the packet, so that every flow is recorded."""
        return self not in {Scheduler.MAGLEV, Scheduler.SH}

    @property
    def is_by_load(self) -> bool:
        """Whether it compares the open connections of backends."""
        return self in {Scheduler.LC, Scheduler.WLC, Scheduler.P2C}

    @property
    def compares_all(self) -> bool:
        """Whether it compares all backends for each new connection, so that there can only be so many."""
        return self in {Scheduler.LC, Scheduler.WLC}

    @property
    def takes_turns(self) -> bool:
        """Whether new connections go to the backends in turn."""
        return self in {Scheduler.RR, Scheduler.WRR}

    @property
    def weighs_turns(self) -> bool:
        """Whether backends come up as often as their weights say when they take turns."""
        return self is Scheduler.WRR

    @property
    def weighs_load(self) -> bool:
        """Whether a backend's load is divided by its weight before it is compared."""
        return self in {Scheduler.WLC, Scheduler.P2C}


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


class VlanTags(StrEnum):
    """The VLAN tags that frames leave with: those of the way to the backend, or those they came in with."""

    NEXT_HOP = "next-hop"
    KEEP = "keep"


def _check_range(pointer: str, value: int, allowed: tuple[int, int]) -> None:
    low, high = allowed
    if not low <= value <= high:
        name = pointer.removeprefix("/").replace("/", ".")
        raise InvalidError.field(pointer, f"{name} is {value}", hint=f"give a whole number from {low} to {high}")


@dataclass(frozen=True, slots=True)
class QuicIds:
    """How a server ID lies in QUIC connection IDs: plain, behind a first byte whose upper 3 bits are `config_id`.

    The unencrypted form of draft-ietf-quic-load-balancers; `server_id_bytes` is its length.
    """

    server_id_bytes: int
    config_id: int = 0

    def __post_init__(self) -> None:
        _check_range("/quic/server_id_bytes", self.server_id_bytes, SERVER_ID_BYTES_RANGE)
        _check_range("/quic/config_id", self.config_id, CONFIG_ID_RANGE)

    def __str__(self) -> str:
        return f"server IDs of {self.server_id_bytes} bytes, config ID {self.config_id}"


@dataclass(frozen=True, slots=True)
class RateLimits:
    """How much a VIP takes, per second; 0 is no limit. A bucket holds what comes in one second.

    New flows are TCP's, told by their SYNs.
    """

    packets: int = 0
    new_flows: int = 0
    source_packets: int = 0
    source_new_flows: int = 0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            _check_range(f"/limits/{name}", getattr(self, name), (0, LARGEST_RATE))

    def __str__(self) -> str:
        named = ((name, getattr(self, name)) for name in self.__slots__)
        return ", ".join(f"{name} {rate}/s" for name, rate in named if rate) or "none"


NO_LIMITS = RateLimits()


@dataclass(frozen=True, slots=True)
class Vip:
    """A VIP as asked for. `idle_timeout_seconds` is the longest silence of a connection that changes bridge.

    `tracking` and `hash` None are what the scheduler takes; they are never None afterwards.
    """

    key: VipKey
    name: str | None = None
    forward: Forward = Forward.DR
    scheduler: Scheduler = Scheduler.MAGLEV
    tracking: Tracking | None = None
    hash: HashKind | None = None
    on_unhealthy: OnUnhealthy = OnUnhealthy.RESET
    all_unhealthy: AllUnhealthy = AllUnhealthy.FAIL_OPEN
    idle_timeout_seconds: int = 900
    vlan: VlanTags = VlanTags.NEXT_HOP
    quic: QuicIds | None = None
    limits: RateLimits = NO_LIMITS

    def __post_init__(self) -> None:
        if self.name is not None and not re.fullmatch(NAME_PATTERN, self.name):
            raise InvalidError.field("/name", f"{self.name!r} cannot be a name", hint=NAME_HINT)
        _check_range("/idle_timeout_seconds", self.idle_timeout_seconds, IDLE_TIMEOUT_RANGE)
        self._settle_tracking()
        self._settle_hash()
        if self.quic is not None and self.key.protocol is not Protocol.UDP:
            raise InvalidError.field("/quic", "QUIC runs over UDP", hint="leave quic away, or make it a VIP of udp")
        self._check_limits()

    @property
    def tracks_always(self) -> bool:
        """Whether every flow is recorded."""
        return self.tracking is Tracking.ALWAYS

    def _settle_tracking(self) -> None:
        needed = self.scheduler.is_per_connection
        if self.tracking is None:
            object.__setattr__(self, "tracking", Tracking.ALWAYS if needed else Tracking.AUTO)
        elif needed and self.tracking is Tracking.AUTO:
            raise InvalidError.field(
                "/tracking",
                f"{self.scheduler} chooses per connection, so every flow has to be recorded",
                hint="leave tracking away or set it to always, or choose maglev or sh",
            )

    def _settle_hash(self) -> None:
        if self.hash is None:
            by_source = self.scheduler is Scheduler.SH
            object.__setattr__(self, "hash", HashKind.SOURCE if by_source else HashKind.FIVE_TUPLE)
        elif self.scheduler is Scheduler.SH and self.hash is not HashKind.SOURCE:
            raise InvalidError.field(
                "/hash", "sh is by source", hint="leave hash away or set it to source, or choose maglev"
            )

    def _check_limits(self) -> None:
        if self.key.protocol is not Protocol.UDP:
            return
        for name, instead in (("new_flows", "packets"), ("source_new_flows", "source_packets")):
            if getattr(self.limits, name):
                raise InvalidError.field(
                    f"/limits/{name}",
                    f"{name} limits TCP connections, by their SYNs; this VIP takes only UDP",
                    hint=f"limit {instead} instead, and leave {name} away",
                )
