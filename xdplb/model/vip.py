# SPDX-License-Identifier: Apache-2.0
"""A virtual service (VIP): the address, port and protocol that clients use, and how it is balanced."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from .address import IPNetwork
from .dns import DnsEntry
from .errors import InvalidError
from .key import Protocol, VipKey
from .min_serving import MinServing
from .nat_direct import checked_nat_direct

__all__ = [
    "AllUnhealthy",
    "Announce",
    "Forward",
    "HashKind",
    "OnUnhealthy",
    "Passive",
    "Protocol",
    "QuicIds",
    "RateLimits",
    "Scheduler",
    "Sync",
    "Tracking",
    "Vip",
    "VipKey",
    "VlanTags",
]

NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
NAME_HINT = "1 to 63 characters of a-z, 0-9 and -, with no - at the start or the end"
IDLE_TIMEOUT_RANGE = (1, 65535)
SERVER_ID_BYTES_RANGE = (1, 8)
CONFIG_ID_RANGE = (0, 6)
LARGEST_RATE = 1_000_000_000
SLOW_START_RANGE = (0, 3600)
PANIC_SHARE_HINT = "give a number from 0 (off) to 1, such as 0.5 for half of the backends"


class Forward(StrEnum):
    """How a packet reaches its backend: by MAC rewrite (`dr`), in an outer IP header (`ipip`), in IP and UDP (`gue`).

    The outer header has the family of the backend's address, the packet that of the VIP. By `nat`, its destination
    becomes the backend's address and port, and replies come back through a balancer.
    """

    DR = "dr"
    IPIP = "ipip"
    GUE = "gue"
    NAT = "nat"

    @property
    def is_tunnel(self) -> bool:
        """Whether packets get outer headers."""
        return self in {Forward.IPIP, Forward.GUE}


class Scheduler(StrEnum):
    """What chooses the backend of a new connection: a hash (maglev, sh), rotation (rr, wrr) or the load (lc, wlc, p2c).

    `rr` and `lc` ignore weights, except that weight 0 gets no new connections.
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
        """Whether the choice does not depend on the packet alone, so that every flow must be recorded."""
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
    """What the slot is computed from.

    The client's address and both ports (`5-tuple`), its address alone (`source`), the port that it asks alone
    (`destination-port`), or both addresses without ports (`addresses`).
    """

    FIVE_TUPLE = "5-tuple"
    SOURCE = "source"
    DESTINATION_PORT = "destination-port"
    ADDRESSES = "addresses"


class OnUnhealthy(StrEnum):
    """What happens to the connections of a backend that fails: given up (`reset`), or still sent to it (`keep`)."""

    RESET = "reset"
    KEEP = "keep"


class AllUnhealthy(StrEnum):
    """What to do if no backend is healthy.

    Use those that failed their check (`fail-open`), drop (`fail-closed`), use those that served last (`last-good`), or
    tell clients at once that nobody serves (`reject`).
    """

    FAIL_OPEN = "fail-open"
    FAIL_CLOSED = "fail-closed"
    LAST_GOOD = "last-good"
    REJECT = "reject"


class Passive(StrEnum):
    """What is done with what packets show of backends: nothing, show it, or send one that fails nothing new."""

    OFF = "off"
    OBSERVE = "observe"
    EJECT = "eject"


class Announce(StrEnum):
    """When the routers shall send a VIP's packets here: `never` by a route of xdplb's, `healthy`, or `always`.

    `healthy` is while at least `min_serving` backends serve.
    """

    NEVER = "never"
    HEALTHY = "healthy"
    ALWAYS = "always"


class Sync(StrEnum):
    """Which flow records go to the peers: those of moving and pinned slots (`moving`), or all that are made (`all`)."""

    MOVING = "moving"
    ALL = "all"


class VlanTags(StrEnum):
    """The VLAN tags of forwarded frames: those of the route to the backend, or those that the frame came in with."""

    NEXT_HOP = "next-hop"
    KEEP = "keep"


def _check_range(pointer: str, value: int, allowed: tuple[int, int]) -> None:
    low, high = allowed
    if not low <= value <= high:
        name = pointer.removeprefix("/").replace("/", ".")
        raise InvalidError.field(pointer, f"{name} is {value}", hint=f"give a whole number from {low} to {high}")


@dataclass(frozen=True, slots=True)
class QuicIds:
    """Where the server ID is in QUIC connection IDs: after a first byte whose upper 3 bits are `config_id`.

    This is the unencrypted form of draft-ietf-quic-load-balancers. `server_id_bytes` is the length of the server ID.
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
    """How much a VIP accepts per second; 0 is no limit. The burst that a token bucket allows is one second's worth.

    New flows are TCP connections, counted by their SYNs.
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
ONE_SERVING = MinServing()


@dataclass(frozen=True, slots=True)
class Vip:
    """A VIP as configured. Changes keep connections that are silent for no longer than `idle_timeout_seconds`.

    `tracking` and `hash` may be given as None, for the scheduler's default. They are never None afterwards.
    With fewer than `min_serving` primary backends serving, backups serve too. Below `panic_share` of healthy backends,
    0 to 1, all are used. NAT backends answer the networks `nat_direct` from their own addresses.
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
    min_serving: MinServing = ONE_SERVING
    passive: Passive = Passive.OFF
    syn_failover: bool = False
    panic_share: float = 0.0
    slow_start_seconds: int = 0
    announce: Announce = Announce.NEVER
    sync: Sync = Sync.MOVING
    dns: DnsEntry | None = None
    nat_direct: tuple[IPNetwork, ...] = ()

    def __post_init__(self) -> None:
        if self.name is not None and not re.fullmatch(NAME_PATTERN, self.name):
            raise InvalidError.field("/name", f"{self.name!r} is not a valid name", hint=NAME_HINT)
        _check_range("/idle_timeout_seconds", self.idle_timeout_seconds, IDLE_TIMEOUT_RANGE)
        _check_range("/slow_start_seconds", self.slow_start_seconds, SLOW_START_RANGE)
        if not 0 <= self.panic_share <= 1:
            raise InvalidError.field("/panic_share", f"panic_share is {self.panic_share:g}", hint=PANIC_SHARE_HINT)
        self._settle_tracking()
        self._settle_hash()
        if self.quic is not None and self.key.protocol is not Protocol.UDP:
            raise InvalidError.field("/quic", "QUIC runs over UDP", hint="omit quic, or use a udp VIP")
        if self.passive is not Passive.OFF and self.key.protocol is Protocol.UDP:
            raise InvalidError.field("/passive", "UDP has no handshakes", hint="omit passive, or use a tcp VIP")
        if self.syn_failover and self.key.protocol is Protocol.UDP:
            raise InvalidError.field("/syn_failover", "UDP has no SYNs", hint="omit syn_failover, or use a tcp VIP")
        if self.dns is not None and not self.key.is_one_address:
            raise InvalidError.field(
                "/dns", f"{self.key.addresses_text} has many addresses", hint="omit dns, or use a VIP of one address"
            )
        object.__setattr__(self, "nat_direct", checked_nat_direct(self.key, self.nat_direct))
        self._check_limits()

    @property
    def tracks_always(self) -> bool:
        """Whether every flow is recorded."""
        return self.tracking is Tracking.ALWAYS

    @property
    def samples_handshakes(self) -> bool:
        """Whether what packets show of the backends is used for anything."""
        return self.passive is not Passive.OFF or self.syn_failover

    def _settle_tracking(self) -> None:
        needed = self.scheduler.is_per_connection
        if self.tracking is None:
            object.__setattr__(self, "tracking", Tracking.ALWAYS if needed else Tracking.AUTO)
        elif needed and self.tracking is Tracking.AUTO:
            raise InvalidError.field(
                "/tracking",
                f"{self.scheduler} chooses per connection, so every flow must be recorded",
                hint="omit tracking or set it to always, or use maglev or sh",
            )

    def _settle_hash(self) -> None:
        if self.hash is None:
            by_source = self.scheduler is Scheduler.SH
            object.__setattr__(self, "hash", HashKind.SOURCE if by_source else HashKind.FIVE_TUPLE)
        elif self.scheduler is Scheduler.SH and self.hash is not HashKind.SOURCE:
            raise InvalidError.field(
                "/hash", "sh hashes the source", hint="omit hash or set it to source, or use maglev"
            )
        if self.hash is HashKind.DESTINATION_PORT and len(self.key.ports) == 1:
            raise InvalidError.field(
                "/hash",
                f"the VIP has port {self.key.port} alone, so all packets would go to one backend",
                hint="give the VIP a range of ports, or use another hash, such as addresses",
            )

    def _check_limits(self) -> None:
        if self.key.protocol is not Protocol.UDP:
            return
        for name, instead in (("new_flows", "packets"), ("source_new_flows", "source_packets")):
            if getattr(self.limits, name):
                raise InvalidError.field(
                    f"/limits/{name}",
                    f"{name} limits new TCP connections, by their SYNs; this VIP accepts only UDP",
                    hint=f"limit {instead} instead, and omit {name}",
                )
