# SPDX-License-Identifier: Apache-2.0
"""VIPs in requests (`VipIn`, `VipPut`, `VipPatch`) and in responses (`VipOut`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict, JsonValue

from xdplb.control.answers.views import VipView
from xdplb.control.plan.operating import OperatingStatus
from xdplb.model.access import AccessList
from xdplb.model.address import parse_network
from xdplb.model.dns import DnsEntry
from xdplb.model.errors import within
from xdplb.model.min_serving import MIN_SERVING_MOST, MIN_SERVING_PATTERN, MinServing
from xdplb.model.vip import (
    CONFIG_ID_RANGE,
    IDLE_TIMEOUT_RANGE,
    LARGEST_RATE,
    NAME_PATTERN,
    SERVER_ID_BYTES_RANGE,
    SLOW_START_RANGE,
    AllUnhealthy,
    Announce,
    Forward,
    HashKind,
    OnUnhealthy,
    Passive,
    Protocol,
    QuicIds,
    RateLimits,
    Scheduler,
    Sync,
    Tracking,
    Vip,
    VipKey,
    VlanTags,
)

from .access import AccessIn
from .backend import MOST_BACKENDS, BackendIn
from .base import (
    ForwardWord,
    Generation,
    HostAddresses,
    ObservedGeneration,
    ReadOnly,
    RequestBody,
    ResponseBody,
    Warnings,
)
from .dns import DnsIn, DnsOut, DnsPatch, DnsStatusOut
from .health_check import CHECKS_OR_AS_IS, ONE_CHECK_OR_AS_IS, Checks, HealthCheckIn, checks_of
from .long_list import in_parts

__all__ = [
    "AnnouncedOut",
    "SlotsOut",
    "VipChangedOut",
    "VipIn",
    "VipListOut",
    "VipOut",
    "VipParts",
    "VipPatch",
    "VipPost",
    "VipPut",
    "VipSettings",
    "VipStatusOut",
    "vips_out",
]

Port = Annotated[int, Field(ge=0, le=65535)]
LastPort = Annotated[int, Field(ge=1, le=65535)]
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=63)]
IdleTimeout = Annotated[int, Field(ge=IDLE_TIMEOUT_RANGE[0], le=IDLE_TIMEOUT_RANGE[1])]
ServerIdBytes = Annotated[int, Field(ge=SERVER_ID_BYTES_RANGE[0], le=SERVER_ID_BYTES_RANGE[1])]
ConfigId = Annotated[int, Field(ge=CONFIG_ID_RANGE[0], le=CONFIG_ID_RANGE[1])]
Rate = Annotated[int, Field(ge=0, le=LARGEST_RATE)]
PanicShare = Annotated[float, Field(ge=0, le=1)]
SlowStart = Annotated[int, Field(ge=SLOW_START_RANGE[0], le=SLOW_START_RANGE[1])]
MinServingValue = (
    Annotated[int, Field(ge=1, le=MIN_SERVING_MOST)] | Annotated[str, Field(pattern=MIN_SERVING_PATTERN, max_length=4)]
)
ProtocolWord = Annotated[Protocol, Field(strict=False)]
SchedulerWord = Annotated[Scheduler, Field(strict=False)]
TrackingWord = Annotated[Tracking, Field(strict=False)]
HashWord = Annotated[HashKind, Field(strict=False)]
OnUnhealthyWord = Annotated[OnUnhealthy, Field(strict=False)]
AllUnhealthyWord = Annotated[AllUnhealthy, Field(strict=False)]
PassiveWord = Annotated[Passive, Field(strict=False)]
AnnounceWord = Annotated[Announce, Field(strict=False)]
SyncWord = Annotated[Sync, Field(strict=False)]
VlanWord = Annotated[VlanTags, Field(strict=False)]

ADDRESS = "The IPv4 or IPv6 address that clients talk to, or a prefix: `203.0.113.0/24`."
PORT = "The port that clients talk to, the first port of a range, or 0 for all ports."
LAST_PORT = "The last port of a range, not below `port`; null for one port or all ports."
PROTOCOL = "The transport protocol, or both."
NAME = "A name for use in URLs and commands; null for none."
FORWARD = (
    "How packets reach the backends: by MAC rewrite on one segment (`dr`), in an outer IP header (`ipip`), in IP and"
    " UDP (`gue`), or with the backend's address and port as their destination (`nat`)."
)
SCHEDULER = (
    "How the backend of a new connection is chosen: by a hash (`maglev`, `sh`), in turn (`rr`, `wrr`) or by load"
    " (`lc`, `wlc`, `p2c`)."
)
TRACKING = (
    "Which flows are recorded: those in slots that change owners (`auto`) or all (`always`). Null: the default of the"
    " scheduler."
)
HASH = (
    "What is hashed to spread connections over the backends: the client's address and both ports (`5-tuple`), its"
    " address alone (`source`), the port that it asks alone (`destination-port`), or both addresses without ports"
    " (`addresses`). Null: the default of the scheduler."
)
ON_UNHEALTHY = (
    "Open connections of a failed backend: sent to another one, which resets them (`reset`), or still to it (`keep`)."
)
ALL_UNHEALTHY = (
    "Without a healthy backend: use the failed ones (`fail-open`), drop packets (`fail-closed`), use those that served"
    " last (`last-good`), or refuse connections at once (`reject`)."
)
IDLE_TIMEOUT = "The longest silence, in seconds, after which a connection still stays with its backend across a change."
VLAN = "The VLAN tags of sent frames: those of the route to the backend (`next-hop`) or those they came with (`keep`)."
QUIC = "Where QUIC connection IDs contain the server ID of the backend; null: they are ignored. UDP only."
SERVER_ID_BYTES = "The length of a server ID in a connection ID, in bytes."
CONFIG_ID = "The upper 3 bits of the first byte of connection IDs that contain a server ID."
LIMITS = "Limits per second, for each source and for all sources; 0: no limit."
PACKETS = "Packets from all sources."
SOURCE_PACKETS = "Packets from one source: an IPv4 address or an IPv6 /64."
NEW_FLOWS = "New TCP connections (SYNs) from all sources. Not for a VIP of UDP only: limit `packets` there."
SOURCE_NEW_FLOWS = (
    "New TCP connections (SYNs) from one source: an IPv4 address or an IPv6 /64. Not for a VIP of UDP only: limit"
    " `source_packets` there."
)
MIN_SERVING = (
    "How many backends must serve: a number, or a percent of them as text. With fewer primary ones, backups serve, and"
    " the VIP is not ready."
)
PASSIVE = (
    "What is done with what packets show of the backends' health: nothing (`off`), show it (`observe`), or send a"
    " backend that fails no new connections for a while (`eject`)."
)
SYN_FAILOVER = "Whether a SYN that is sent again goes to another backend if its own is suspect or down. Not for UDP."
NAT_DIRECT = (
    "Networks that NAT backends answer from their own addresses and ports, by way of the balancer: those of"
    " administrators. Who is there cannot use the VIP by a NAT backend."
)
PANIC_SHARE = "With a smaller share of healthy backends than this, 0 to 1, all backends are used; 0: never."
SLOW_START = "Seconds over which a backend that comes up gets its share of new connections, in steps; 0: at once."
ANNOUNCE = (
    "When routers shall send its packets here, by a route that a BGP daemon reads: while `min_serving` backends serve"
    " (`healthy`), whatever serves (`always`), or `never`."
)
SYNC = "Which of its flow records go to the peers: those of moving and pinned slots (`moving`), or `all`."
DNS = "The DNS name that its address is entered under while it serves; null for none. Not for a prefix."

_SETTINGS = tuple(field.name for field in fields(Vip) if field.name != "key")


class QuicIn(RequestBody):
    """Where QUIC connection IDs contain a server ID (draft-ietf-quic-load-balancers, unencrypted)."""

    server_id_bytes: ServerIdBytes = Field(description=SERVER_ID_BYTES, examples=[2])
    config_id: ConfigId = Field(default=0, description=CONFIG_ID)


class QuicPatch(RequestBody):
    """The same as a merge patch."""

    server_id_bytes: ServerIdBytes | None = Field(default=None, description=SERVER_ID_BYTES, examples=[2])
    config_id: ConfigId | None = Field(default=None, description=CONFIG_ID)


class LimitsIn(RequestBody):
    """Rates per second; 0 is no limit. Bursts of up to one second's worth are allowed."""

    packets: Rate = Field(default=0, description=PACKETS, examples=[1000000])
    new_flows: Rate = Field(default=0, description=NEW_FLOWS)
    source_packets: Rate = Field(default=0, description=SOURCE_PACKETS)
    source_new_flows: Rate = Field(default=0, description=SOURCE_NEW_FLOWS)


class LimitsPatch(RequestBody):
    """The same as a merge patch."""

    packets: Rate | None = Field(default=None, description=PACKETS)
    new_flows: Rate | None = Field(default=None, description=NEW_FLOWS)
    source_packets: Rate | None = Field(default=None, description=SOURCE_PACKETS)
    source_new_flows: Rate | None = Field(default=None, description=SOURCE_NEW_FLOWS)


def _when(field: str, values: list[JsonValue], otherwise: JsonDict | None = None, **then: JsonValue) -> JsonDict:
    """Return the JSON schema that the properties `then` hold where `field` is one of `values`, else `otherwise`.

    Rules that exclude each other are one rule with `otherwise`: what reads the document may have to go through all
    combinations of its rules.
    """
    has: JsonDict = {"properties": {field: {"enum": values}}, "required": [field]}
    return {"if": has, "then": {"properties": then}, **({} if otherwise is None else {"else": otherwise})}


_PER_CONNECTION: list[JsonValue] = [scheduler.value for scheduler in Scheduler if scheduler.is_per_connection]
_SOURCE_HASHED = _when("scheduler", [Scheduler.SH.value], hash={"enum": [HashKind.SOURCE.value, None]})
_SETTINGS_RULES: list[JsonValue] = [
    _when("scheduler", _PER_CONNECTION, _SOURCE_HASHED, tracking={"enum": [Tracking.ALWAYS.value, None]}),
]
_NO_NEW_FLOWS: JsonDict = {"properties": {name: {"maximum": 0} for name in ("new_flows", "source_new_flows")}}
_NO_HANDSHAKES = _when(
    "protocol",
    [Protocol.UDP.value],
    limits=_NO_NEW_FLOWS,
    passive={"const": Passive.OFF.value},
    syn_failover={"const": False},
)
_PROTOCOL_RULES: list[JsonValue] = [
    _when("protocol", [Protocol.TCP.value, Protocol.BOTH.value], _NO_HANDSHAKES, quic={"type": "null"}),
]
_RANGE_HASHED: JsonDict = {
    "if": {"properties": {"hash": {"enum": [HashKind.DESTINATION_PORT.value]}}, "required": ["hash"]},
    "then": {"properties": {"last_port": {"type": "integer"}}, "required": ["last_port"]},
}
_KEY_RULES: list[JsonValue] = [
    *_PROTOCOL_RULES,
    _when("port", [0], _RANGE_HASHED, last_port={"type": "null"}),
]


class VipSettings(RequestBody):
    """The settings of a VIP, without its key; omitted fields have their defaults."""

    model_config = ConfigDict(json_schema_extra={"allOf": _SETTINGS_RULES})

    name: Name | None = Field(default=None, description=NAME, examples=["web"])
    forward: ForwardWord = Field(default=Forward.DR, description=FORWARD)
    scheduler: SchedulerWord = Field(default=Scheduler.MAGLEV, description=SCHEDULER)
    tracking: TrackingWord | None = Field(default=None, description=TRACKING)
    hash: HashWord | None = Field(default=None, description=HASH)
    on_unhealthy: OnUnhealthyWord = Field(default=OnUnhealthy.RESET, description=ON_UNHEALTHY)
    all_unhealthy: AllUnhealthyWord = Field(default=AllUnhealthy.FAIL_OPEN, description=ALL_UNHEALTHY)
    idle_timeout_seconds: IdleTimeout = Field(default=900, description=IDLE_TIMEOUT)
    vlan: VlanWord = Field(default=VlanTags.NEXT_HOP, description=VLAN)
    quic: QuicIn | None = Field(default=None, description=QUIC)
    limits: LimitsIn = Field(default=LimitsIn(), description=LIMITS)
    min_serving: MinServingValue = Field(default=1, description=MIN_SERVING, examples=["50%"])
    passive: PassiveWord = Field(default=Passive.OFF, description=PASSIVE)
    syn_failover: bool = Field(default=False, description=SYN_FAILOVER)
    panic_share: PanicShare = Field(default=0.0, description=PANIC_SHARE, examples=[0.5])
    slow_start_seconds: SlowStart = Field(default=0, description=SLOW_START, examples=[30])
    announce: AnnounceWord = Field(default=Announce.NEVER, description=ANNOUNCE)
    sync: SyncWord = Field(default=Sync.MOVING, description=SYNC)
    dns: DnsIn | None = Field(default=None, description=DNS)
    generation: ReadOnly = None
    status: ReadOnly = None
    warnings: ReadOnly = None

    nat_direct: list[str] = Field(default=[], description=NAT_DIRECT, examples=[["192.0.2.0/24"]])

    def settings(self) -> dict[str, Any]:
        """Return the settings by the field names of the model."""
        settings = {name: getattr(self, name) for name in _SETTINGS}
        quic = None if self.quic is None else QuicIds(**self.quic.model_dump())
        limits = RateLimits(**self.limits.model_dump())
        dns = None if self.dns is None else DnsEntry(**self.dns.model_dump())
        serving = MinServing.of(self.min_serving)
        direct = tuple(parse_network(each, f"/nat_direct/{at}") for at, each in enumerate(self.nat_direct))
        return {
            **settings,
            "quic": quic,
            "limits": limits,
            "min_serving": serving,
            "dns": dns,
            "nat_direct": direct,
        }


class VipIn(VipSettings):
    """A VIP to add."""

    model_config = ConfigDict(json_schema_extra={"allOf": [*_SETTINGS_RULES, *_KEY_RULES]})

    address: HostAddresses = Field(description=ADDRESS, examples=["203.0.113.10"])
    port: Port = Field(description=PORT, examples=[443])
    last_port: LastPort | None = Field(default=None, description=LAST_PORT, examples=[8999])
    protocol: ProtocolWord = Field(description=PROTOCOL)

    def vip(self) -> Vip:
        """Return the VIP of the model."""
        return Vip(key=VipKey.of(self.address, self.port, self.protocol, self.last_port), **self.settings())


class VipParts(RequestBody):
    """What belongs to a VIP, and may be given with it. A part that is not given stays as it is."""

    backends: Annotated[list[BackendIn], Field(max_length=MOST_BACKENDS), in_parts(MOST_BACKENDS)] | None = Field(
        default=None, description="All its backends; others are removed. Null or omitted: they stay as they are."
    )
    health_check: HealthCheckIn | None = Field(default=None, description=ONE_CHECK_OR_AS_IS)
    checks: Checks | None = Field(default=None, description=CHECKS_OR_AS_IS)
    access: AccessIn | None = Field(
        default=None, description="Which sources it accepts packets from. Null or omitted: it stays as it is."
    )

    def parts(self, key: VipKey) -> dict[str, Any]:
        """Return what was sent, by the fields of an edit, for the VIP `key`.

        Takes a second for hundreds of thousands of prefixes.
        """
        given: dict[str, Any] = {}
        if self.backends is not None:
            given["backends"] = tuple(backend.backend() for backend in self.backends)
        checks = checks_of(self.health_check, self.checks, key)
        if checks or self.checks is not None or "health_check" in self.model_fields_set:
            given["checks"] = checks
        if self.access is not None:
            with within("/access"):
                given["access"] = AccessList.parse(self.access.allow, self.access.deny, key.address.version)
        return given


class VipPost(VipParts, VipIn):
    """A VIP to add, with what belongs to it."""

    model_config = ConfigDict(json_schema_extra={"allOf": [*_SETTINGS_RULES, *_KEY_RULES]})


class _KeyAgain(RequestBody):
    """The key of a VIP that is also in the URL: if given here too, it must agree."""

    address: HostAddresses | None = Field(default=None, description=ADDRESS, examples=["203.0.113.10"])
    port: Port | None = Field(default=None, description=PORT, examples=[443])
    last_port: LastPort | None = Field(default=None, description=LAST_PORT, examples=[8999])
    protocol: ProtocolWord | None = Field(default=None, description=PROTOCOL)


class VipPut(_KeyAgain, VipParts, VipSettings):
    """The complete settings of a VIP. Its key is in the URL; if given here too, it must agree."""

    model_config = ConfigDict(json_schema_extra={"allOf": [*_SETTINGS_RULES, *_PROTOCOL_RULES]})


class VipPatch(_KeyAgain):
    """A JSON merge patch (RFC 7396): omitted fields stay, null sets the default.

    Address, ports and protocol cannot change; if given here, they must agree.
    """

    name: Name | None = Field(default=None, description=NAME, examples=["web"])
    forward: ForwardWord | None = Field(default=None, description=FORWARD)
    scheduler: SchedulerWord | None = Field(default=None, description=SCHEDULER)
    tracking: TrackingWord | None = Field(default=None, description=TRACKING)
    hash: HashWord | None = Field(default=None, description=HASH)
    on_unhealthy: OnUnhealthyWord | None = Field(default=None, description=ON_UNHEALTHY)
    all_unhealthy: AllUnhealthyWord | None = Field(default=None, description=ALL_UNHEALTHY)
    idle_timeout_seconds: IdleTimeout | None = Field(default=None, description=IDLE_TIMEOUT)
    vlan: VlanWord | None = Field(default=None, description=VLAN)
    quic: QuicPatch | None = Field(default=None, description=QUIC)
    limits: LimitsPatch | None = Field(default=None, description=LIMITS)
    min_serving: MinServingValue | None = Field(default=None, description=MIN_SERVING, examples=["50%"])
    passive: PassiveWord | None = Field(default=None, description=PASSIVE)
    syn_failover: bool | None = Field(default=None, description=SYN_FAILOVER)
    panic_share: PanicShare | None = Field(default=None, description=PANIC_SHARE, examples=[0.5])
    slow_start_seconds: SlowStart | None = Field(default=None, description=SLOW_START, examples=[30])
    announce: AnnounceWord | None = Field(default=None, description=ANNOUNCE)
    sync: SyncWord | None = Field(default=None, description=SYNC)
    dns: DnsPatch | None = Field(default=None, description=DNS)
    nat_direct: list[str] | None = Field(default=None, description=NAT_DIRECT, examples=[["192.0.2.0/24"]])

    def changes(self) -> dict[str, Any]:
        """Return what was sent, nulls included."""
        return self.model_dump(exclude_unset=True)


class SlotsOut(ResponseBody):
    """How many slots of the VIP's table are in each state."""

    steady: int = Field(description="Slots whose owner gets every packet, without a flow lookup.")
    moving: int = Field(description="Slots that changed owner; old connections are being recorded.")
    pinned: int = Field(description="Slots with recorded connections that stay with another backend.")


class AccessCountOut(ResponseBody):
    """The length of an access list."""

    allow: int = Field(description="Number of allowed prefixes.")
    deny: int = Field(description="Number of denied prefixes.")


class QuicOut(ResponseBody):
    """Where QUIC connection IDs contain a server ID."""

    server_id_bytes: int = Field(description=SERVER_ID_BYTES)
    config_id: int = Field(description=CONFIG_ID)


class LimitsOut(ResponseBody):
    """Rates per second; 0 is no limit."""

    packets: int = Field(description=PACKETS)
    new_flows: int = Field(description=NEW_FLOWS)
    source_packets: int = Field(description=SOURCE_PACKETS)
    source_new_flows: int = Field(description=SOURCE_NEW_FLOWS)


class AnnouncedOut(ResponseBody):
    """Whether the route of the VIP's address is in the table that a BGP daemon reads."""

    metric: int | None = Field(
        description="Metric of the route: 100 while the node drains or the VIP fails open; null if it is not there.",
        examples=[0],
    )
    reason: str = Field(description="Why it is not there, or has metric 100; empty if all is well.")


class VipStatusOut(ResponseBody):
    """The status of a VIP."""

    operating_status: OperatingStatus = Field(
        description="ONLINE: every ready backend serves; DEGRADED: some do; FAILING_OPEN: backends that are not healthy"
        " do; OFFLINE: none; NO_BACKEND: it has none."
    )
    reason: str = Field(
        description="What is special about who serves, such as that backups do; empty if nothing is.",
        examples=["1 of 3 primaries serves, min_serving is 2, so backups serve"],
    )
    observed_generation: ObservedGeneration
    slots: SlotsOut = Field(description="The state of its slots.")
    backends: int = Field(description="How many backends it has.")
    backends_serving: int = Field(description="How many of them are healthy and take new connections.")
    backends_needed: int = Field(description="How many must, by `min_serving`.")
    min_serving_met: bool = Field(description="Whether as many serve as must, as in `/readyz?vip=`.")
    announced: AnnouncedOut | None = Field(
        description="Whether the route of its address is there, by `announce`; null if it asks for none."
    )
    access: AccessCountOut = Field(description="How many prefixes its access list has.")
    dns: DnsStatusOut | None = Field(description="How its address stands in DNS; null if it has no name there.")


class VipOut(ResponseBody):
    """A VIP: its configuration and its `status`."""

    name: str | None = Field(description=NAME)
    address: str = Field(description=ADDRESS, examples=["203.0.113.10"])
    port: int = Field(description=PORT, examples=[443])
    last_port: int | None = Field(description=LAST_PORT, examples=[8999])
    protocol: Protocol = Field(description=PROTOCOL)
    forward: Forward = Field(description=FORWARD)
    scheduler: Scheduler = Field(description=SCHEDULER)
    tracking: Tracking = Field(description=TRACKING)
    hash: HashKind = Field(description=HASH)
    on_unhealthy: OnUnhealthy = Field(description=ON_UNHEALTHY)
    all_unhealthy: AllUnhealthy = Field(description=ALL_UNHEALTHY)
    idle_timeout_seconds: int = Field(description=IDLE_TIMEOUT)
    vlan: VlanTags = Field(description=VLAN)
    quic: QuicOut | None = Field(description=QUIC)
    limits: LimitsOut = Field(description=LIMITS)
    min_serving: int | str = Field(description=MIN_SERVING, examples=["50%"])
    passive: Passive = Field(description=PASSIVE)
    syn_failover: bool = Field(description=SYN_FAILOVER)
    panic_share: float = Field(description=PANIC_SHARE)
    slow_start_seconds: int = Field(description=SLOW_START)
    announce: Announce = Field(description=ANNOUNCE)
    sync: Sync = Field(description=SYNC)
    dns: DnsOut | None = Field(description=DNS)
    nat_direct: list[str] = Field(description=NAT_DIRECT, examples=[["192.0.2.0/24"]])
    generation: Generation
    status: VipStatusOut = Field(description="Its status.")

    @classmethod
    def of(cls, view: VipView) -> Self:
        """Return the body for the manager's view."""
        vip, slots = view.vip, view.slots
        settings = {name: getattr(vip, name) for name in _SETTINGS}
        settings["quic"] = None if vip.quic is None else QuicOut(**asdict(vip.quic))
        settings["limits"] = LimitsOut(**asdict(vip.limits))
        settings["min_serving"] = vip.min_serving.value
        settings["dns"] = None if vip.dns is None else DnsOut(**asdict(vip.dns))
        settings["nat_direct"] = [str(network) for network in vip.nat_direct]
        return cls(
            address=vip.key.addresses_text,
            port=vip.key.port,
            last_port=None if vip.key.last_port == vip.key.port else vip.key.last_port,
            protocol=vip.key.protocol,
            **settings,
            generation=view.generation,
            status=VipStatusOut(
                operating_status=view.operating_status,
                reason=view.reason,
                observed_generation=view.observed_generation,
                slots=SlotsOut(steady=slots.steady, moving=slots.moving, pinned=slots.pinned),
                backends=view.backends,
                backends_serving=view.backends_serving,
                backends_needed=view.backends_needed,
                min_serving_met=view.min_serving_met,
                announced=None
                if view.announced is None
                else AnnouncedOut(metric=view.announced.metric, reason=view.announced.reason),
                access=AccessCountOut(allow=view.allowed, deny=view.denied),
                dns=None if view.dns is None else DnsStatusOut.of(view.dns),
            ),
        )


def vips_out(views: Iterable[VipView]) -> list[VipOut]:
    """Return the bodies for these VIPs, sorted by address, port and protocol."""
    return [VipOut.of(view) for view in sorted(views, key=lambda view: view.vip.key)]


class VipChangedOut(VipOut):
    """A VIP after a change."""

    warnings: Warnings = Field(default=[])


class VipListOut(ResponseBody):
    """All VIPs."""

    vips: list[VipOut] = Field(description="The VIPs, sorted by address, port and protocol.")
