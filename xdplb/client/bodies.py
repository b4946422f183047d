# SPDX-License-Identifier: Apache-2.0
"""The bodies of the API, under their names in /openapi.json. docs/reference/ explains their fields.

Made by `python -m tests.contract.client_bodies`: do not edit it.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

__all__ = [
    "AccessCountOut",
    "AccessIn",
    "AccessOut",
    "AccessPatch",
    "AdminState",
    "AllBackendsOut",
    "AllChecksOut",
    "AllUnhealthy",
    "Announce",
    "AnnouncedOut",
    "ApiSettings",
    "AtRiskOut",
    "AttachmentOut",
    "BackendChangedOut",
    "BackendIn",
    "BackendListChangedOut",
    "BackendListOut",
    "BackendOfVipOut",
    "BackendOut",
    "BackendPatch",
    "BackendPut",
    "BackendRole",
    "BackendStatsOut",
    "BackendStatusOut",
    "BackendUseOut",
    "BackendsPut",
    "CertificateOut",
    "ChangesIn",
    "CheckOfVipOut",
    "CheckResultOut",
    "CheckType",
    "ChecksIn",
    "ChecksOut",
    "Config",
    "ConfigChangedOut",
    "ConfigOut",
    "ConfigStatusOut",
    "ConfigVip",
    "CreateBackendEdit",
    "CreateVipEdit",
    "CutOffOut",
    "DaemonOut",
    "DataplaneOut",
    "DeclaredOut",
    "DeleteBackendEdit",
    "DeleteCheckEdit",
    "DeleteChecksEdit",
    "DeleteVipEdit",
    "DifferenceOut",
    "DnsAddressOut",
    "DnsForgottenOut",
    "DnsIn",
    "DnsListOut",
    "DnsNameOut",
    "DnsOut",
    "DnsPatch",
    "DnsStatusOut",
    "DrainBackendEdit",
    "DrainIn",
    "DrainOut",
    "DrainState",
    "DriftKind",
    "DriftOut",
    "DryRunOut",
    "EjectionOut",
    "EndedByOut",
    "EventOut",
    "EventsOut",
    "ExplainOut",
    "FieldProblemOut",
    "FlowRecordOut",
    "FlowTableOut",
    "FlowsOut",
    "ForgottenOut",
    "Forward",
    "HandshakesOut",
    "HashKind",
    "Health",
    "HealthCheckIn",
    "HealthCheckOut",
    "HealthCheckStatusOut",
    "HealthzOut",
    "ImpactOut",
    "KnownBy",
    "Level",
    "LimitsIn",
    "LimitsOut",
    "LimitsPatch",
    "NextHopOut",
    "NicOut",
    "NodeDrainIn",
    "NodeDrainOut",
    "NodeDryRunOut",
    "NodeListOut",
    "NodeOfVipOut",
    "NodeOut",
    "NodesOfVipOut",
    "OnUnhealthy",
    "OperatingStatus",
    "Outcome",
    "OuterOut",
    "OverlayListOut",
    "OverlayOut",
    "PacketKind",
    "PacketOut",
    "Passive",
    "PatchAccessEdit",
    "PatchBackendEdit",
    "PatchVipEdit",
    "PathErrorsOut",
    "PathMtuOut",
    "PendingOut",
    "Placement",
    "ProbeOut",
    "ProbeStepOut",
    "ProbedBackendOut",
    "ProbesOut",
    "Problem",
    "Protocol",
    "PutAccessEdit",
    "PutBackendEdit",
    "PutCheckEdit",
    "PutChecksEdit",
    "PutVipEdit",
    "QuicIn",
    "QuicOut",
    "QuicPatch",
    "ReadyVipOut",
    "ReadyzOut",
    "RecentOut",
    "RefusedOut",
    "ReplaceBackendsEdit",
    "RiskOut",
    "Role",
    "Scheduler",
    "SeenHealthOut",
    "SeenState",
    "SentOut",
    "Settings",
    "SlotMoveOut",
    "SlotOut",
    "SlotState",
    "SlotStatesOut",
    "SlotsChangedOut",
    "SlotsOut",
    "Standing",
    "StatsOut",
    "StatusOut",
    "StoreOut",
    "StoreState",
    "Sync",
    "TableChangeOut",
    "Target",
    "TokenAddedOut",
    "TokenDryRunOut",
    "TokenIn",
    "TokenListOut",
    "TokenOut",
    "Tracking",
    "UndrainBackendEdit",
    "UseOut",
    "VersionOut",
    "VipChangedOut",
    "VipListOut",
    "VipOut",
    "VipPatch",
    "VipPost",
    "VipPut",
    "VipStatsOut",
    "VipStatusOut",
    "VlanTags",
    "WarningOut",
    "WhoAmIOut",
]

AdminState = Literal["ready", "drain", "maint"]
AllUnhealthy = Literal["fail-open", "fail-closed", "last-good", "reject"]
Announce = Literal["never", "healthy", "always"]
BackendRole = Literal["primary", "backup"]
CheckType = Literal["http", "https", "tcp", "tls", "udp", "dns", "icmp", "exec", "agent"]
DrainState = Literal["draining", "drained", "timed_out", "cut"]
DriftKind = Literal[
    "map",
    "pin",
    "program",
    "nic",
    "mtu",
    "neighbour",
    "route",
    "address",
    "announcement",
    "dns",
    "peer",
    "store",
    "entry",
]
Forward = Literal["dr", "ipip", "gue", "nat"]
HashKind = Literal["5-tuple", "source", "destination-port", "addresses"]
Health = Literal["unknown", "up", "down"]
KnownBy = Literal["records", "records_since", "packet_counter", "slots"]
Level = Literal["backend", "vip", "total"]
OnUnhealthy = Literal["reset", "keep"]
OperatingStatus = Literal["ONLINE", "DEGRADED", "FAILING_OPEN", "OFFLINE", "NO_BACKEND"]
Outcome = Literal["draining", "drained", "timed_out", "cut", "cancelled"]
PacketKind = Literal["syn", "established", "datagram"]
Passive = Literal["off", "observe", "eject"]
Placement = Literal["nobody", "owner", "previous", "record", "scheduler", "quic", "fragment", "reply", "second choice"]
Protocol = Literal["tcp", "udp", "tcp+udp"]
Role = Literal["read", "operate", "admin"]
Scheduler = Literal["maglev", "rr", "wrr", "lc", "wlc", "sh", "p2c"]
SeenState = Literal["serving", "draining", "drained", "starting", "lost", "unknown"]
SlotState = Literal["steady", "moving", "pinned"]
Standing = Literal["in", "out", "last", "others", "foreign", "alias"]
StoreState = Literal["up", "away", "joining", "apart"]
Sync = Literal["moving", "all"]
Target = Literal["backend", "vip"]
Tracking = Literal["auto", "always"]
VlanTags = Literal["next-hop", "keep"]


class AccessCountOut(TypedDict):
    """The length of an access list."""

    allow: int
    deny: int


class AccessIn(TypedDict):
    """An access list."""

    allow: NotRequired[list[str]]
    deny: NotRequired[list[str]]


class AccessOut(TypedDict):
    """An access list."""

    allow: list[str]
    deny: list[str]


class AccessPatch(TypedDict):
    """A JSON merge patch (RFC 7396): an omitted list stays, null empties it."""

    allow: NotRequired[list[str] | None]
    deny: NotRequired[list[str] | None]


class AllBackendsOut(TypedDict):
    """The backends of all VIPs."""

    backends: list[BackendOfVipOut]


class AllChecksOut(TypedDict):
    """The health checks of all VIPs."""

    checks: list[CheckOfVipOut]


class AnnouncedOut(TypedDict):
    """Whether the route of the VIP's address is in the table that a BGP daemon reads."""

    metric: int | None
    reason: str


class ApiSettings(TypedDict):
    """What the API takes on at once, and how long it waits for a client."""

    connections: NotRequired[int | None]
    requests: NotRequired[int | None]
    head_timeout_seconds: NotRequired[float | None]
    body_timeout_seconds: NotRequired[float | None]
    idle_timeout_seconds: NotRequired[float | None]
    max_body_mib: NotRequired[int | None]


class AtRiskOut(TypedDict):
    """How many open connections may break, and why."""

    expected: int | None
    at_most: int | None
    known_by: Literal["plan", "records", "counters", "nothing"]
    causes: list[RiskOut]


class AttachmentOut(TypedDict):
    """A NIC that the program is attached to."""

    interface: str
    ifindex: int
    mode: str
    program_id: int


class BackendChangedOut(TypedDict):
    """A backend after a change."""

    address: str
    weight: int
    forward: Forward
    admin_state: AdminState
    quic_server_id: str | None
    role: BackendRole
    max_new_flows: int
    checked: bool
    check_port: int | None
    check_path: str | None
    port: int | None
    declared: DeclaredOut | None
    generation: int
    status: BackendStatusOut
    warnings: NotRequired[list[WarningOut]]


class BackendIn(TypedDict):
    """A backend to add."""

    weight: NotRequired[int]
    forward: NotRequired[Forward | None]
    admin_state: NotRequired[AdminState]
    quic_server_id: NotRequired[str | None]
    role: NotRequired[BackendRole]
    max_new_flows: NotRequired[int]
    checked: NotRequired[bool]
    check_port: NotRequired[int | None]
    check_path: NotRequired[str | None]
    port: NotRequired[int | None]
    vip: NotRequired[Any]
    declared: NotRequired[Any]
    generation: NotRequired[Any]
    status: NotRequired[Any]
    warnings: NotRequired[Any]
    address: str


class BackendListChangedOut(TypedDict):
    """The backends of a VIP after a change."""

    backends: list[BackendOut]
    warnings: NotRequired[list[WarningOut]]


class BackendListOut(TypedDict):
    """The backends of a VIP."""

    backends: list[BackendOut]


class BackendOfVipOut(TypedDict):
    """A backend, with the VIP that it belongs to."""

    address: str
    weight: int
    forward: Forward
    admin_state: AdminState
    quic_server_id: str | None
    role: BackendRole
    max_new_flows: int
    checked: bool
    check_port: int | None
    check_path: str | None
    port: int | None
    declared: DeclaredOut | None
    generation: int
    status: BackendStatusOut
    vip: NotRequired[str]


class BackendOut(TypedDict):
    """A backend: its configuration and its `status`."""

    address: str
    weight: int
    forward: Forward
    admin_state: AdminState
    quic_server_id: str | None
    role: BackendRole
    max_new_flows: int
    checked: bool
    check_port: int | None
    check_path: str | None
    port: int | None
    declared: DeclaredOut | None
    generation: int
    status: BackendStatusOut


class BackendPatch(TypedDict):
    """A JSON merge patch (RFC 7396): omitted fields stay, null sets the default."""

    address: NotRequired[str | None]
    weight: NotRequired[int | None]
    forward: NotRequired[Forward | None]
    admin_state: NotRequired[AdminState | None]
    quic_server_id: NotRequired[str | None]
    role: NotRequired[BackendRole | None]
    max_new_flows: NotRequired[int | None]
    checked: NotRequired[bool | None]
    check_port: NotRequired[int | None]
    check_path: NotRequired[str | None]
    port: NotRequired[int | None]


class BackendPut(TypedDict):
    """A complete backend."""

    weight: NotRequired[int]
    forward: NotRequired[Forward | None]
    admin_state: NotRequired[AdminState]
    quic_server_id: NotRequired[str | None]
    role: NotRequired[BackendRole]
    max_new_flows: NotRequired[int]
    checked: NotRequired[bool]
    check_port: NotRequired[int | None]
    check_path: NotRequired[str | None]
    port: NotRequired[int | None]
    vip: NotRequired[Any]
    declared: NotRequired[Any]
    generation: NotRequired[Any]
    status: NotRequired[Any]
    warnings: NotRequired[Any]
    address: NotRequired[str | None]


class BackendStatsOut(TypedDict):
    """Counters of one backend since it was added."""

    backend: str
    packets: int
    bytes: int
    new_flows: int
    failovers: int
    over: int
    replies: int


class BackendStatusOut(TypedDict):
    """The status of a backend."""

    health: Health
    reason: str
    since: str
    held_until: str | None
    effective_weight: float
    share: float
    flows: int | None
    mac: str | None
    interface: str | None
    mtu: int | None
    path_mtu: PathMtuOut | None
    path_errors: PathErrorsOut
    observed_generation: int
    drain: DrainOut | None
    certificate: CertificateOut | None
    ejection: EjectionOut | None
    handshakes: HandshakesOut | None
    pending: bool
    hint: str


class BackendUseOut(TypedDict):
    """What a backend is used for after the change."""

    vip: str
    backend: str
    forward: Forward
    before: Literal["serving", "keeping", "out"] | None
    after: Literal["serving", "keeping", "out"]
    reason: str


class BackendsPut(TypedDict):
    """All backends of a VIP, replaced in one step."""

    backends: list[BackendIn]
    warnings: NotRequired[Any]


class CertificateOut(TypedDict):
    """What came of the connections of a drained backend."""

    outcome: Outcome
    started: str
    until: str
    seconds: float
    known_by: KnownBy
    seen: int | None
    ended: int | None
    ended_by: EndedByOut | None
    handed_over: int | None
    cut: int | None
    broken: int | None
    lost: int | None
    left: int | None
    silent_at_most: int | None
    why: str
    last_packet: str | None
    restarts: int


class ChangesIn(TypedDict):
    """Edits that are made in one step, in this order: all of them, or none."""

    edits: list[
        CreateVipEdit
        | PutVipEdit
        | PatchVipEdit
        | DeleteVipEdit
        | CreateBackendEdit
        | PutBackendEdit
        | PatchBackendEdit
        | DeleteBackendEdit
        | ReplaceBackendsEdit
        | DrainBackendEdit
        | UndrainBackendEdit
        | PutCheckEdit
        | DeleteCheckEdit
        | PutChecksEdit
        | DeleteChecksEdit
        | PutAccessEdit
        | PatchAccessEdit
    ]


class CheckOfVipOut(TypedDict):
    """The last result of one check of one backend, with its VIP."""

    backend: str
    asks: str
    health: Health
    reason: str
    since: str
    last_run: str | None
    last_passed: bool | None
    last_seconds: float | None
    passes: int
    failures: int
    vip: str
    check: str
    recent: str


class CheckResultOut(TypedDict):
    """The results of one check of one backend."""

    backend: str
    asks: str
    health: Health
    reason: str
    since: str
    last_run: str | None
    last_passed: bool | None
    last_seconds: float | None
    passes: int
    failures: int
    recent: list[RecentOut]


class ChecksIn(TypedDict):
    """All health checks of a VIP."""

    checks: list[HealthCheckIn]


class ChecksOut(TypedDict):
    """All health checks of a VIP."""

    checks: list[HealthCheckOut]


class Config(TypedDict):
    """The whole desired state: what is not in it is removed."""

    settings: NotRequired[Settings]
    vips: list[ConfigVip]
    generation: NotRequired[Any]
    owner: NotRequired[Any]
    overlay: NotRequired[Any]
    warnings: NotRequired[Any]


class ConfigChangedOut(TypedDict):
    """What became of a configuration, or of several edits."""

    generation: int
    changed: bool
    changes: list[str]
    warnings: list[WarningOut]


class ConfigOut(TypedDict):
    """The whole desired state."""

    generation: int
    owner: str | None
    settings: Settings
    vips: list[ConfigVip]
    overlay: list[OverlayOut]


class ConfigStatusOut(TypedDict):
    """Who owns the configuration."""

    owner: str | None
    overlay: int
    error: str


class ConfigVip(TypedDict):
    """A VIP with all that belongs to it."""

    name: NotRequired[str | None]
    forward: NotRequired[Forward]
    scheduler: NotRequired[Scheduler]
    tracking: NotRequired[Tracking | None]
    hash: NotRequired[HashKind | None]
    on_unhealthy: NotRequired[OnUnhealthy]
    all_unhealthy: NotRequired[AllUnhealthy]
    idle_timeout_seconds: NotRequired[int]
    vlan: NotRequired[VlanTags]
    quic: NotRequired[QuicIn | None]
    limits: NotRequired[LimitsIn]
    min_serving: NotRequired[int | str]
    passive: NotRequired[Passive]
    syn_failover: NotRequired[bool]
    panic_share: NotRequired[float]
    slow_start_seconds: NotRequired[int]
    announce: NotRequired[Announce]
    sync: NotRequired[Sync]
    dns: NotRequired[DnsIn | None]
    generation: NotRequired[Any]
    status: NotRequired[Any]
    warnings: NotRequired[Any]
    nat_direct: NotRequired[list[str]]
    address: str
    port: int
    last_port: NotRequired[int | None]
    protocol: Protocol
    health_check: NotRequired[HealthCheckIn | None]
    checks: NotRequired[list[HealthCheckIn] | None]
    access: NotRequired[AccessIn]
    backends: NotRequired[list[BackendIn]]


class CreateBackendEdit(TypedDict):
    """Add a backend; a conflict if it exists with other settings."""

    weight: NotRequired[int]
    forward: NotRequired[Forward | None]
    admin_state: NotRequired[AdminState]
    quic_server_id: NotRequired[str | None]
    role: NotRequired[BackendRole]
    max_new_flows: NotRequired[int]
    checked: NotRequired[bool]
    check_port: NotRequired[int | None]
    check_path: NotRequired[str | None]
    port: NotRequired[int | None]
    vip: str
    declared: NotRequired[Any]
    generation: NotRequired[Any]
    status: NotRequired[Any]
    warnings: NotRequired[Any]
    address: str
    kind: Literal["create_backend"]


class CreateVipEdit(TypedDict):
    """Add a VIP; a conflict if it exists with other settings."""

    name: NotRequired[str | None]
    forward: NotRequired[Forward]
    scheduler: NotRequired[Scheduler]
    tracking: NotRequired[Tracking | None]
    hash: NotRequired[HashKind | None]
    on_unhealthy: NotRequired[OnUnhealthy]
    all_unhealthy: NotRequired[AllUnhealthy]
    idle_timeout_seconds: NotRequired[int]
    vlan: NotRequired[VlanTags]
    quic: NotRequired[QuicIn | None]
    limits: NotRequired[LimitsIn]
    min_serving: NotRequired[int | str]
    passive: NotRequired[Passive]
    syn_failover: NotRequired[bool]
    panic_share: NotRequired[float]
    slow_start_seconds: NotRequired[int]
    announce: NotRequired[Announce]
    sync: NotRequired[Sync]
    dns: NotRequired[DnsIn | None]
    generation: NotRequired[Any]
    status: NotRequired[Any]
    warnings: NotRequired[Any]
    nat_direct: NotRequired[list[str]]
    address: str
    port: int
    last_port: NotRequired[int | None]
    protocol: Protocol
    backends: NotRequired[list[BackendIn] | None]
    health_check: NotRequired[HealthCheckIn | None]
    checks: NotRequired[list[HealthCheckIn] | None]
    access: NotRequired[AccessIn | None]
    kind: Literal["create_vip"]


class CutOffOut(TypedDict):
    """A backend that gets no packets of a VIP any more."""

    vip: str
    backend: str
    flows: int | None
    served: bool


class DaemonOut(TypedDict):
    """Where the daemon runs."""

    pid: int
    boot_id: str
    network_namespace: int
    pin_dir: str
    state_dir: str


class DataplaneOut(TypedDict):
    """The data plane as loaded."""

    layout: int
    features: list[str]
    attachments: list[AttachmentOut]
    vips: UseOut
    backends: UseOut
    flows: FlowTableOut
    daemon: DaemonOut | None
    decap_at: list[str]
    decap_from: list[str]


class DeclaredOut(TypedDict):
    """What the config file says of a backend under an overlay."""

    weight: int
    admin_state: AdminState


class DeleteBackendEdit(TypedDict):
    """Remove a backend at once."""

    kind: Literal["delete_backend"]
    vip: str
    address: str


class DeleteCheckEdit(TypedDict):
    """Remove the only health check of a VIP."""

    kind: Literal["delete_check"]
    vip: str


class DeleteChecksEdit(TypedDict):
    """Stop checking the backends of a VIP."""

    kind: Literal["delete_checks"]
    vip: str


class DeleteVipEdit(TypedDict):
    """Remove a VIP with all that belongs to it."""

    kind: Literal["delete_vip"]
    vip: str


class DifferenceOut(TypedDict):
    """A difference between the reference model and the program."""

    what: str
    model: str
    program: str


class DnsAddressOut(TypedDict):
    """An address under a name, or one that belongs there."""

    address: str
    present: bool
    nodes: list[str]
    status: DnsStatusOut | None


class DnsForgottenOut(TypedDict):
    """What was taken back of a node that is gone, or with `dry_run` would be."""

    released: list[ForgottenOut]


class DnsIn(TypedDict):
    """A name in the DNS for the VIP's address, by updates (RFC 2136) signed with a TSIG key."""

    name: str
    zone: str
    server: str
    key_file: str
    ttl: NotRequired[int]


class DnsListOut(TypedDict):
    """All names of VIPs."""

    names: list[DnsNameOut]


class DnsNameOut(TypedDict):
    """A name of VIPs."""

    name: str
    zone: str
    server: str
    addresses: list[DnsAddressOut]


class DnsOut(TypedDict):
    """The name in the DNS for the VIP's address."""

    name: str
    zone: str
    server: str
    key_file: str
    ttl: int


class DnsPatch(TypedDict):
    """The same as a merge patch."""

    name: NotRequired[str | None]
    zone: NotRequired[str | None]
    server: NotRequired[str | None]
    key_file: NotRequired[str | None]
    ttl: NotRequired[int | None]


class DnsStatusOut(TypedDict):
    """How a VIP's address stands under its name in DNS."""

    published: bool
    standing: Standing | None
    since: str
    reason: str
    is_behind: bool


class DrainBackendEdit(TypedDict):
    """Send a backend no new connections and keep its open ones."""

    timeout_seconds: NotRequired[float]
    quiet_seconds: NotRequired[float | None]
    cut_at_deadline: NotRequired[bool]
    kind: Literal["drain_backend"]
    vip: str
    address: str


class DrainIn(TypedDict):
    """How long to wait for open connections to end."""

    timeout_seconds: NotRequired[float]
    quiet_seconds: NotRequired[float | None]
    cut_at_deadline: NotRequired[bool]


class DrainOut(TypedDict):
    """A drain."""

    state: DrainState
    started: str
    deadline: str
    quiet_seconds: float
    flows: int | None
    cut_at_deadline: bool


class DriftOut(TypedDict):
    """Something on this host that is not as it should be, and that xdplb cannot put right, or not for good."""

    kind: DriftKind
    what: str
    reason: str
    since: str


class DryRunOut(TypedDict):
    """What a change would do, with `dry_run=true`, which changes nothing; or what it did, with `impact=true`."""

    would_change: bool
    changed: bool
    changes: list[str]
    warnings: list[WarningOut]
    impact: ImpactOut


class EjectionOut(TypedDict):
    """Why a backend gets no new connections for now: it leaves handshakes unanswered, its peers do not."""

    since: str
    until: str
    times: int
    reason: str


class EndedByOut(TypedDict):
    """How connections ended by themselves; the sum is `ended`."""

    closed: int
    reset: int
    idle: int
    unanswered: int
    redialled: int


class EventOut(TypedDict):
    """Something that happened."""

    id: int
    time: str
    kind: str
    level: str
    vip: str | None
    backend: str | None
    actor: dict[str, Any] | None
    message: str
    data: dict[str, Any]


class EventsOut(TypedDict):
    """A page of events."""

    events: list[EventOut]
    next: int | None
    latest: int
    missed: bool


class ExplainOut(TypedDict):
    """What would happen to a packet, and why."""

    packet: PacketOut
    if_down: str | None
    vip: str | None
    action: Literal["send", "pass", "drop", "answer"]
    reason: str | None
    backend: str | None
    chosen_by: Placement
    slot: SlotOut | None
    record: FlowRecordOut | None
    sent: SentOut | None
    why: list[str]
    agree: bool | None
    differences: list[DifferenceOut]
    note: str


class FieldProblemOut(TypedDict):
    """A field that is not accepted."""

    pointer: str
    detail: str


class FlowRecordOut(TypedDict):
    """The record of the flow."""

    backend: str | None
    counts: bool
    age_seconds: float
    flags: list[str]
    probation: bool


class FlowTableOut(TypedDict):
    """The flow table."""

    used: int
    capacity: int
    bytes: int
    evicted: int


class FlowsOut(TypedDict):
    """Recorded flows; null without a scan of the flow table in the last minute."""

    lost: int | None
    kept: int | None


class ForgottenOut(TypedDict):
    """A claim that was taken back."""

    name: str
    address: str
    removed: bool


class HandshakesOut(TypedDict):
    """How long a backend's handshakes take: from a client's SYN to its answer to the SYN-ACK, as they pass here."""

    p50_seconds: float
    p99_seconds: float


class HealthCheckIn(TypedDict):
    """A health check; omitted fields have their defaults."""

    type: CheckType
    name: NotRequired[str | None]
    port: NotRequired[int | None]
    target: NotRequired[Target | None]
    interval_seconds: NotRequired[float]
    fast_interval_seconds: NotRequired[float | None]
    timeout_seconds: NotRequired[float]
    rise: NotRequired[int]
    fall: NotRequired[int]
    jitter: NotRequired[float]
    reset: NotRequired[bool | None]
    method: NotRequired[str | None]
    path: NotRequired[str | None]
    host: NotRequired[str | None]
    headers: NotRequired[dict[str, str] | None]
    expect_status: NotRequired[list[int | str] | None]
    expect_body: NotRequired[str | None]
    expect_body_regex: NotRequired[str | None]
    sni: NotRequired[str | None]
    verify: NotRequired[bool | None]
    ca_file: NotRequired[str | None]
    cert_file: NotRequired[str | None]
    key_file: NotRequired[str | None]
    send: NotRequired[str | None]
    expect: NotRequired[str | None]
    query_name: NotRequired[str | None]
    query_type: NotRequired[str | None]
    expect_rcode: NotRequired[str | None]
    expect_answer: NotRequired[str | None]
    command: NotRequired[list[str] | None]
    user: NotRequired[str | None]
    label: NotRequired[Any]
    status: NotRequired[Any]


class HealthCheckOut(TypedDict):
    """A health check: its configuration and its `status`."""

    type: CheckType
    name: str | None
    port: int | None
    target: Target
    interval_seconds: float
    fast_interval_seconds: float | None
    timeout_seconds: float
    rise: int
    fall: int
    jitter: float
    reset: bool | None
    method: str | None
    path: str | None
    host: str | None
    headers: dict[str, str] | None
    expect_status: list[int | str] | None
    expect_body: str | None
    expect_body_regex: str | None
    sni: str | None
    verify: bool | None
    ca_file: str | None
    cert_file: str | None
    key_file: str | None
    send: str | None
    expect: str | None
    query_name: str | None
    query_type: str | None
    expect_rcode: str | None
    expect_answer: str | None
    command: list[str] | None
    user: str | None
    label: str
    status: HealthCheckStatusOut


class HealthCheckStatusOut(TypedDict):
    """The results of a check."""

    backends: list[CheckResultOut]


class HealthzOut(TypedDict):
    """The daemon is alive."""

    status: NotRequired[Literal["ok"]]


class ImpactOut(TypedDict):
    """What a change does to traffic."""

    slots: SlotsChangedOut
    tables: list[TableChangeOut]
    flows: FlowsOut
    connections_at_risk: AtRiskOut
    lose_all_traffic: list[CutOffOut]
    backends: list[BackendUseOut]
    features: list[str]


class LimitsIn(TypedDict):
    """Rates per second; 0 is no limit."""

    packets: NotRequired[int]
    new_flows: NotRequired[int]
    source_packets: NotRequired[int]
    source_new_flows: NotRequired[int]


class LimitsOut(TypedDict):
    """Rates per second; 0 is no limit."""

    packets: int
    new_flows: int
    source_packets: int
    source_new_flows: int


class LimitsPatch(TypedDict):
    """The same as a merge patch."""

    packets: NotRequired[int | None]
    new_flows: NotRequired[int | None]
    source_packets: NotRequired[int | None]
    source_new_flows: NotRequired[int | None]


class NextHopOut(TypedDict):
    """Where the frame is sent."""

    mac: str
    interface: str
    gateway: str | None
    mtu: int
    vlans: list[int]


class NicOut(TypedDict):
    """A NIC that `xdplb up` was told to balance on, or that has the program from an earlier start."""

    interface: str
    asked_mode: str | None
    attached: bool
    mode: str
    up: bool | None
    reason: str
    note: str


class NodeDrainIn(TypedDict):
    """How long to wait until no packets come any more."""

    timeout_seconds: NotRequired[float]
    quiet_seconds: NotRequired[float | None]


class NodeDrainOut(TypedDict):
    """The drain of a node."""

    started: str
    deadline: str
    quiet_seconds: float
    ended: str | None
    timed_out: bool
    packets_per_second: float | None


class NodeDryRunOut(TypedDict):
    """What a change of a node would do, with `dry_run=true`, which changes nothing."""

    would_change: bool
    changed: bool
    changes: list[str]


class NodeListOut(TypedDict):
    """All nodes that are known."""

    nodes: list[NodeOut]


class NodeOfVipOut(TypedDict):
    """What a node says of a VIP."""

    name: str
    this_node: bool
    state: SeenState
    generation: int | None
    backends: dict[str, SeenHealthOut | None]


class NodeOut(TypedDict):
    """A node."""

    name: str
    this_node: bool
    state: SeenState
    since: str
    version: str
    generation: int
    observed_generation: int
    ready: bool | None
    not_ready: list[str]
    drain: NodeDrainOut | None
    url: str | None
    peer: str | None
    peer_up: bool | None
    last_heard: str | None
    digest: str | None
    digest_equal: bool | None
    vips: dict[str, int]
    backends: int
    backends_out: int
    health_equal: bool | None
    packets_per_second: float
    connections_per_second: float
    in_store: bool
    share: float | None
    announce_table: int | None
    announce_protocol: int | None


class NodesOfVipOut(TypedDict):
    """What all nodes say of a VIP."""

    generation: int
    nodes: list[NodeOfVipOut]


class OuterOut(TypedDict):
    """The outer header of the packet."""

    source: str
    destination: str
    source_port: int | None
    destination_port: int | None


class OverlayListOut(TypedDict):
    """All that is laid over the config file."""

    overlay: list[OverlayOut]


class OverlayOut(TypedDict):
    """A backend over which an operator has laid another weight or admin state than the config file says."""

    vip: str
    address: str
    weight: int
    admin_state: AdminState
    declared: DeclaredOut


class PacketOut(TypedDict):
    """The packet in question: untagged, and as short as possible."""

    client: str
    client_port: int
    address: str
    port: int
    protocol: Literal["tcp", "udp"]
    kind: PacketKind
    interface: str


class PatchAccessEdit(TypedDict):
    """Replace the allowed prefixes of a VIP, the denied ones, or both; null empties a list."""

    allow: NotRequired[list[str] | None]
    deny: NotRequired[list[str] | None]
    kind: Literal["patch_access"]
    vip: str


class PatchBackendEdit(TypedDict):
    """Change some settings of a backend; null sets the default."""

    address: str
    weight: NotRequired[int | None]
    forward: NotRequired[Forward | None]
    admin_state: NotRequired[AdminState | None]
    quic_server_id: NotRequired[str | None]
    role: NotRequired[BackendRole | None]
    max_new_flows: NotRequired[int | None]
    checked: NotRequired[bool | None]
    check_port: NotRequired[int | None]
    check_path: NotRequired[str | None]
    port: NotRequired[int | None]
    kind: Literal["patch_backend"]
    vip: str


class PatchVipEdit(TypedDict):
    """Change some settings of a VIP; null sets the default."""

    address: NotRequired[str | None]
    port: NotRequired[int | None]
    last_port: NotRequired[int | None]
    protocol: NotRequired[Protocol | None]
    name: NotRequired[str | None]
    forward: NotRequired[Forward | None]
    scheduler: NotRequired[Scheduler | None]
    tracking: NotRequired[Tracking | None]
    hash: NotRequired[HashKind | None]
    on_unhealthy: NotRequired[OnUnhealthy | None]
    all_unhealthy: NotRequired[AllUnhealthy | None]
    idle_timeout_seconds: NotRequired[int | None]
    vlan: NotRequired[VlanTags | None]
    quic: NotRequired[QuicPatch | None]
    limits: NotRequired[LimitsPatch | None]
    min_serving: NotRequired[int | str | None]
    passive: NotRequired[Passive | None]
    syn_failover: NotRequired[bool | None]
    panic_share: NotRequired[float | None]
    slow_start_seconds: NotRequired[int | None]
    announce: NotRequired[Announce | None]
    sync: NotRequired[Sync | None]
    dns: NotRequired[DnsPatch | None]
    nat_direct: NotRequired[list[str] | None]
    kind: Literal["patch_vip"]
    vip: str


class PathErrorsOut(TypedDict):
    """How many ICMP errors came about packets in the tunnel to a backend, since the daemon started."""

    too_big: int
    unreachable: int
    time_exceeded: int
    parameter_problem: int


class PathMtuOut(TypedDict):
    """What a router on the way to a backend has said of the path's MTU."""

    mtu: int
    router: str | None
    until: str


class PendingOut(TypedDict):
    """A backend that was changed here while the store was away."""

    vip: str
    address: str
    weight: int
    admin_state: AdminState
    stored_weight: int
    stored_admin_state: AdminState


class ProbeOut(TypedDict):
    """What a probe of one check found."""

    check: str
    type: CheckType
    target: Target
    port: int
    passed: bool | None
    reason: str
    seconds: float
    steps: list[ProbeStepOut]


class ProbeStepOut(TypedDict):
    """A step of a probe that was done."""

    name: str
    seconds: float
    text: str


class ProbedBackendOut(TypedDict):
    """What the probes of one backend found."""

    backend: str
    passed: bool
    checks: list[ProbeOut]


class ProbesOut(TypedDict):
    """What probes found that were run once: this changes no backend's health."""

    vip: str
    passed: bool
    backends: list[ProbedBackendOut]


class Problem(TypedDict):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: NotRequired[list[FieldProblemOut]]
    hint: NotRequired[str]


class PutAccessEdit(TypedDict):
    """Replace the access list of a VIP."""

    allow: NotRequired[list[str]]
    deny: NotRequired[list[str]]
    kind: Literal["put_access"]
    vip: str


class PutBackendEdit(TypedDict):
    """Add a backend, or replace its settings."""

    weight: NotRequired[int]
    forward: NotRequired[Forward | None]
    admin_state: NotRequired[AdminState]
    quic_server_id: NotRequired[str | None]
    role: NotRequired[BackendRole]
    max_new_flows: NotRequired[int]
    checked: NotRequired[bool]
    check_port: NotRequired[int | None]
    check_path: NotRequired[str | None]
    port: NotRequired[int | None]
    vip: str
    declared: NotRequired[Any]
    generation: NotRequired[Any]
    status: NotRequired[Any]
    warnings: NotRequired[Any]
    address: str
    kind: Literal["put_backend"]


class PutCheckEdit(TypedDict):
    """Set the only health check of a VIP."""

    type: CheckType
    name: NotRequired[str | None]
    port: NotRequired[int | None]
    target: NotRequired[Target | None]
    interval_seconds: NotRequired[float]
    fast_interval_seconds: NotRequired[float | None]
    timeout_seconds: NotRequired[float]
    rise: NotRequired[int]
    fall: NotRequired[int]
    jitter: NotRequired[float]
    reset: NotRequired[bool | None]
    method: NotRequired[str | None]
    path: NotRequired[str | None]
    host: NotRequired[str | None]
    headers: NotRequired[dict[str, str] | None]
    expect_status: NotRequired[list[int | str] | None]
    expect_body: NotRequired[str | None]
    expect_body_regex: NotRequired[str | None]
    sni: NotRequired[str | None]
    verify: NotRequired[bool | None]
    ca_file: NotRequired[str | None]
    cert_file: NotRequired[str | None]
    key_file: NotRequired[str | None]
    send: NotRequired[str | None]
    expect: NotRequired[str | None]
    query_name: NotRequired[str | None]
    query_type: NotRequired[str | None]
    expect_rcode: NotRequired[str | None]
    expect_answer: NotRequired[str | None]
    command: NotRequired[list[str] | None]
    user: NotRequired[str | None]
    label: NotRequired[Any]
    status: NotRequired[Any]
    kind: Literal["put_check"]
    vip: str


class PutChecksEdit(TypedDict):
    """Set all health checks of a VIP."""

    checks: list[HealthCheckIn]
    kind: Literal["put_checks"]
    vip: str


class PutVipEdit(TypedDict):
    """Add a VIP, or replace its settings and the parts that are given."""

    name: NotRequired[str | None]
    forward: NotRequired[Forward]
    scheduler: NotRequired[Scheduler]
    tracking: NotRequired[Tracking | None]
    hash: NotRequired[HashKind | None]
    on_unhealthy: NotRequired[OnUnhealthy]
    all_unhealthy: NotRequired[AllUnhealthy]
    idle_timeout_seconds: NotRequired[int]
    vlan: NotRequired[VlanTags]
    quic: NotRequired[QuicIn | None]
    limits: NotRequired[LimitsIn]
    min_serving: NotRequired[int | str]
    passive: NotRequired[Passive]
    syn_failover: NotRequired[bool]
    panic_share: NotRequired[float]
    slow_start_seconds: NotRequired[int]
    announce: NotRequired[Announce]
    sync: NotRequired[Sync]
    dns: NotRequired[DnsIn | None]
    generation: NotRequired[Any]
    status: NotRequired[Any]
    warnings: NotRequired[Any]
    nat_direct: NotRequired[list[str]]
    address: str
    port: int
    last_port: NotRequired[int | None]
    protocol: Protocol
    backends: NotRequired[list[BackendIn] | None]
    health_check: NotRequired[HealthCheckIn | None]
    checks: NotRequired[list[HealthCheckIn] | None]
    access: NotRequired[AccessIn | None]
    kind: Literal["put_vip"]


class QuicIn(TypedDict):
    """Where QUIC connection IDs contain a server ID (draft-ietf-quic-load-balancers, unencrypted)."""

    server_id_bytes: int
    config_id: NotRequired[int]


class QuicOut(TypedDict):
    """Where QUIC connection IDs contain a server ID."""

    server_id_bytes: int
    config_id: int


class QuicPatch(TypedDict):
    """The same as a merge patch."""

    server_id_bytes: NotRequired[int | None]
    config_id: NotRequired[int | None]


class ReadyVipOut(TypedDict):
    """Whether enough backends of a VIP serve."""

    vip: str
    name: str | None
    operating_status: OperatingStatus
    backends_serving: int
    backends_needed: int
    min_serving_met: bool


class ReadyzOut(TypedDict):
    """The daemon is ready, and so are the VIPs that were asked about."""

    ready: NotRequired[Literal[True]]
    vips: NotRequired[list[ReadyVipOut]]


class RecentOut(TypedDict):
    """One result of a check."""

    at: str
    passed: bool | None
    reason: str
    seconds: float


class RefusedOut(TypedDict):
    """A VIP or a backend in the store that this balancer does not take."""

    path: str
    reason: str


class ReplaceBackendsEdit(TypedDict):
    """Replace all backends of a VIP."""

    backends: list[BackendIn]
    warnings: NotRequired[Any]
    kind: Literal["replace_backends"]
    vip: str


class RiskOut(TypedDict):
    """The open connections of a VIP that may break for one cause."""

    expected: int | None
    at_most: int | None
    known_by: Literal["plan", "records", "counters", "nothing"]
    cause: Literal[
        "cut_off",
        "taken",
        "hash",
        "scheduler",
        "udp",
        "quic",
        "access",
        "limits",
        "forward",
        "idle_timeout",
        "flow_table",
    ]
    vip: str
    backends: list[str]
    backends_in_all: int
    detail: str


class SeenHealthOut(TypedDict):
    """The health of a backend, as a node sees it."""

    health: Health
    reason: str
    since: str | None


class SentOut(TypedDict):
    """How the packet is sent."""

    forward: Forward
    outer: OuterOut | None
    next_hop: NextHopOut


class Settings(TypedDict):
    """Settings of the daemon that may change while it runs."""

    api: NotRequired[ApiSettings]


SlotMoveOut = TypedDict(
    "SlotMoveOut",
    {
        "from": str | None,
        "to": str | None,
        "slots": int,
    },
)
"""Slots that move from one backend to another; null: nobody."""


class SlotOut(TypedDict):
    """The slot that the hash of the flow selects."""

    number: int
    state: SlotState
    owner: str | None
    previous: str | None


class SlotStatesOut(TypedDict):
    """The slots of a table by state."""

    steady: int
    moving: int
    pinned: int


class SlotsChangedOut(TypedDict):
    """How many slots of all tables change."""

    moved: int
    kept: int
    assigned: int
    owed: int
    tables: int


class SlotsOut(TypedDict):
    """How many slots of the VIP's table are in each state."""

    steady: int
    moving: int
    pinned: int


class StatsOut(TypedDict):
    """All counters."""

    vips: list[VipStatsOut]
    drops: dict[str, int]
    passes: dict[str, int]
    answers: dict[str, int]
    unwrapped: int
    flow_evictions: int


class StatusOut(TypedDict):
    """An overview of the balancer."""

    version: str
    started: str
    generation: int
    observed_generation: int
    ready: bool
    not_ready: list[str]
    last_error: str
    warnings: list[str]
    notes: list[str]
    config: ConfigStatusOut
    store: StoreOut | None
    drift: list[DriftOut]
    attachments: list[AttachmentOut]
    nics: list[NicOut]
    flows: FlowTableOut
    vips: list[VipOut]


class StoreOut(TypedDict):
    """The store that balancers share, and how this one stands to it."""

    place: str
    state: StoreState
    reason: str
    since: str
    revision: int
    lineage: str
    generation: int
    digest: str
    pending: list[PendingOut]
    refused: list[RefusedOut]


class TableChangeOut(TypedDict):
    """The change of a VIP's table."""

    vip: str
    slots: int
    is_first: bool
    moved: int
    kept: int
    owed: int
    moves: list[SlotMoveOut]
    moves_in_all: int
    after: SlotStatesOut


class TokenAddedOut(TypedDict):
    """A token that was added, with its secret."""

    name: str
    role: Role
    created: str
    expires: str | None
    expired: bool
    last_used: str | None
    token: str


class TokenDryRunOut(TypedDict):
    """What a change of tokens would do, with `dry_run=true`, which changes nothing."""

    would_change: bool
    changed: bool
    changes: list[str]


class TokenIn(TypedDict):
    """A token to add."""

    name: str
    role: Role
    expires_in_seconds: NotRequired[float | None]


class TokenListOut(TypedDict):
    """All tokens."""

    tokens: list[TokenOut]


class TokenOut(TypedDict):
    """A token, without its secret: that is not kept."""

    name: str
    role: Role
    created: str
    expires: str | None
    expired: bool
    last_used: str | None


class UndrainBackendEdit(TypedDict):
    """Send new connections to a backend again."""

    kind: Literal["undrain_backend"]
    vip: str
    address: str


class UseOut(TypedDict):
    """How full a map is."""

    used: int
    capacity: int


class VersionOut(TypedDict):
    """The version of the daemon."""

    version: str
    commit: str | None
    map_layout: str
    api: NotRequired[Literal["v1"]]


class VipChangedOut(TypedDict):
    """A VIP after a change."""

    name: str | None
    address: str
    port: int
    last_port: int | None
    protocol: Protocol
    forward: Forward
    scheduler: Scheduler
    tracking: Tracking
    hash: HashKind
    on_unhealthy: OnUnhealthy
    all_unhealthy: AllUnhealthy
    idle_timeout_seconds: int
    vlan: VlanTags
    quic: QuicOut | None
    limits: LimitsOut
    min_serving: int | str
    passive: Passive
    syn_failover: bool
    panic_share: float
    slow_start_seconds: int
    announce: Announce
    sync: Sync
    dns: DnsOut | None
    nat_direct: list[str]
    generation: int
    status: VipStatusOut
    warnings: NotRequired[list[WarningOut]]


class VipListOut(TypedDict):
    """All VIPs."""

    vips: list[VipOut]


class VipOut(TypedDict):
    """A VIP: its configuration and its `status`."""

    name: str | None
    address: str
    port: int
    last_port: int | None
    protocol: Protocol
    forward: Forward
    scheduler: Scheduler
    tracking: Tracking
    hash: HashKind
    on_unhealthy: OnUnhealthy
    all_unhealthy: AllUnhealthy
    idle_timeout_seconds: int
    vlan: VlanTags
    quic: QuicOut | None
    limits: LimitsOut
    min_serving: int | str
    passive: Passive
    syn_failover: bool
    panic_share: float
    slow_start_seconds: int
    announce: Announce
    sync: Sync
    dns: DnsOut | None
    nat_direct: list[str]
    generation: int
    status: VipStatusOut


class VipPatch(TypedDict):
    """A JSON merge patch (RFC 7396): omitted fields stay, null sets the default."""

    address: NotRequired[str | None]
    port: NotRequired[int | None]
    last_port: NotRequired[int | None]
    protocol: NotRequired[Protocol | None]
    name: NotRequired[str | None]
    forward: NotRequired[Forward | None]
    scheduler: NotRequired[Scheduler | None]
    tracking: NotRequired[Tracking | None]
    hash: NotRequired[HashKind | None]
    on_unhealthy: NotRequired[OnUnhealthy | None]
    all_unhealthy: NotRequired[AllUnhealthy | None]
    idle_timeout_seconds: NotRequired[int | None]
    vlan: NotRequired[VlanTags | None]
    quic: NotRequired[QuicPatch | None]
    limits: NotRequired[LimitsPatch | None]
    min_serving: NotRequired[int | str | None]
    passive: NotRequired[Passive | None]
    syn_failover: NotRequired[bool | None]
    panic_share: NotRequired[float | None]
    slow_start_seconds: NotRequired[int | None]
    announce: NotRequired[Announce | None]
    sync: NotRequired[Sync | None]
    dns: NotRequired[DnsPatch | None]
    nat_direct: NotRequired[list[str] | None]


class VipPost(TypedDict):
    """A VIP to add, with what belongs to it."""

    name: NotRequired[str | None]
    forward: NotRequired[Forward]
    scheduler: NotRequired[Scheduler]
    tracking: NotRequired[Tracking | None]
    hash: NotRequired[HashKind | None]
    on_unhealthy: NotRequired[OnUnhealthy]
    all_unhealthy: NotRequired[AllUnhealthy]
    idle_timeout_seconds: NotRequired[int]
    vlan: NotRequired[VlanTags]
    quic: NotRequired[QuicIn | None]
    limits: NotRequired[LimitsIn]
    min_serving: NotRequired[int | str]
    passive: NotRequired[Passive]
    syn_failover: NotRequired[bool]
    panic_share: NotRequired[float]
    slow_start_seconds: NotRequired[int]
    announce: NotRequired[Announce]
    sync: NotRequired[Sync]
    dns: NotRequired[DnsIn | None]
    generation: NotRequired[Any]
    status: NotRequired[Any]
    warnings: NotRequired[Any]
    nat_direct: NotRequired[list[str]]
    address: str
    port: int
    last_port: NotRequired[int | None]
    protocol: Protocol
    backends: NotRequired[list[BackendIn] | None]
    health_check: NotRequired[HealthCheckIn | None]
    checks: NotRequired[list[HealthCheckIn] | None]
    access: NotRequired[AccessIn | None]


class VipPut(TypedDict):
    """The complete settings of a VIP."""

    name: NotRequired[str | None]
    forward: NotRequired[Forward]
    scheduler: NotRequired[Scheduler]
    tracking: NotRequired[Tracking | None]
    hash: NotRequired[HashKind | None]
    on_unhealthy: NotRequired[OnUnhealthy]
    all_unhealthy: NotRequired[AllUnhealthy]
    idle_timeout_seconds: NotRequired[int]
    vlan: NotRequired[VlanTags]
    quic: NotRequired[QuicIn | None]
    limits: NotRequired[LimitsIn]
    min_serving: NotRequired[int | str]
    passive: NotRequired[Passive]
    syn_failover: NotRequired[bool]
    panic_share: NotRequired[float]
    slow_start_seconds: NotRequired[int]
    announce: NotRequired[Announce]
    sync: NotRequired[Sync]
    dns: NotRequired[DnsIn | None]
    generation: NotRequired[Any]
    status: NotRequired[Any]
    warnings: NotRequired[Any]
    nat_direct: NotRequired[list[str]]
    backends: NotRequired[list[BackendIn] | None]
    health_check: NotRequired[HealthCheckIn | None]
    checks: NotRequired[list[HealthCheckIn] | None]
    access: NotRequired[AccessIn | None]
    address: NotRequired[str | None]
    port: NotRequired[int | None]
    last_port: NotRequired[int | None]
    protocol: NotRequired[Protocol | None]


class VipStatsOut(TypedDict):
    """Counters of one VIP since it was added."""

    vip: str
    packets: int
    bytes: int
    new_flows: int
    at_risk: int
    records: int
    replies: int
    backends: list[BackendStatsOut]


class VipStatusOut(TypedDict):
    """The status of a VIP."""

    operating_status: OperatingStatus
    reason: str
    observed_generation: int
    slots: SlotsOut
    backends: int
    backends_serving: int
    backends_needed: int
    min_serving_met: bool
    announced: AnnouncedOut | None
    access: AccessCountOut
    dns: DnsStatusOut | None


class WarningOut(TypedDict):
    """What whoever asks for a change may have overlooked."""

    code: str
    vip: str
    backends: list[str]
    detail: str


class WhoAmIOut(TypedDict):
    """Who asks."""

    role: Role
    kind: Literal["unix", "tcp"]
    user: str | None
    token: str | None
    certificate: str | None
