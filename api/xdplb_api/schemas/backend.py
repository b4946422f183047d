# SPDX-License-Identifier: Apache-2.0
"""Backends in requests and responses, and drains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import Field

from xdplb.control.answers.views import BackendsView, BackendView
from xdplb.control.flows.drain import DrainState, DrainView
from xdplb.control.health.passive.totals import Latency
from xdplb.control.paths.book import LoweredMtu
from xdplb.model.address import IPAddress, address_order
from xdplb.model.backend import SERVER_ID_PATTERN, WEIGHT_RANGE, AdminState, Backend, BackendRole, Health
from xdplb.model.check_fields import LONGEST_PATH, PATH_PATTERN
from xdplb.model.vip import LARGEST_RATE, Forward, VipKey
from xdplb.net.icmp_message import ErrorKind

from .base import (
    ForwardWord,
    Generation,
    HostAddress,
    ObservedGeneration,
    ReadOnly,
    RequestBody,
    ResponseBody,
    Warnings,
)
from .certificate import CertificateOut
from .long_list import in_parts

__all__ = [
    "AllBackendsOut",
    "BackendChangedOut",
    "BackendIn",
    "BackendListChangedOut",
    "BackendListOut",
    "BackendOfVipOut",
    "BackendOut",
    "BackendPatch",
    "BackendPut",
    "BackendStatusOut",
    "BackendsPut",
    "DeclaredOut",
    "DrainIn",
    "DrainOut",
    "PathErrorsOut",
    "PathMtuOut",
]

MOST_BACKENDS = 65533
"""Ids have 16 bits; 0 and the highest one have other meanings."""

Weight = Annotated[int, Field(ge=WEIGHT_RANGE[0], le=WEIGHT_RANGE[1])]
ServerId = Annotated[str, Field(pattern=SERVER_ID_PATTERN)]
MaxNewFlows = Annotated[int, Field(ge=0, le=LARGEST_RATE)]
OwnPort = Annotated[int, Field(ge=1, le=65535)]
CheckPath = Annotated[str, Field(pattern=PATH_PATTERN, max_length=LONGEST_PATH)]
BackendRoleWord = Annotated[BackendRole, Field(strict=False)]
AdminStateWord = Annotated[AdminState, Field(strict=False)]

ADDRESS = "The backend's address, IPv4 or IPv6; with `dr` and `nat`, of the VIP's family."
WEIGHT = "Its share of new connections, relative to the other weights. 0: none, but open ones are kept."
FORWARD = "How packets reach it; null: the VIP's setting."
ADMIN_STATE = "What to use it for: new and open connections (`ready`), only open ones (`drain`), or nothing (`maint`)."
QUIC_SERVER_ID = (
    "The server ID, in hex, in the QUIC connection IDs that it issues, as long as the VIP's `quic` says. Null: none."
)
ROLE = "When it serves: always (`primary`), or while fewer than the VIP's `min_serving` primary ones do (`backup`)."
MAX_NEW_FLOWS = "New TCP connections that it takes a second; what is over goes to another backend. 0: any number."
CHECKED = "Whether the VIP's checks are run for it; if not, it counts as up."
CHECK_PORT = "The port that checks use for it; null: that of each check."
PORT = "With `nat`, its port that serves the VIP's, or the first one of its range; null: the same port."
CHECK_PATH = "The path that http and https checks request of it; null: that of each check."

DECLARED = "What the config file says of it, while an operator's overlay says something else; null without one."


class _BackendSettings(RequestBody):
    weight: Weight = Field(default=1, description=WEIGHT, examples=[2])
    forward: ForwardWord | None = Field(default=None, description=FORWARD)
    admin_state: AdminStateWord = Field(default=AdminState.READY, description=ADMIN_STATE)
    quic_server_id: ServerId | None = Field(default=None, description=QUIC_SERVER_ID, examples=["00a7"])
    role: BackendRoleWord = Field(default=BackendRole.PRIMARY, description=ROLE)
    max_new_flows: MaxNewFlows = Field(default=0, description=MAX_NEW_FLOWS)
    checked: bool = Field(default=True, description=CHECKED)
    check_port: OwnPort | None = Field(default=None, description=CHECK_PORT, examples=[8081])
    check_path: CheckPath | None = Field(default=None, description=CHECK_PATH, examples=["/healthz"])
    port: OwnPort | None = Field(default=None, description=PORT, examples=[8080])
    vip: ReadOnly = None
    declared: ReadOnly = None
    generation: ReadOnly = None
    status: ReadOnly = None
    warnings: ReadOnly = None

    def at(self, address: IPAddress) -> Backend:
        """Return the backend of the model."""
        return Backend(
            address,
            self.weight,
            self.forward,
            self.admin_state,
            self.quic_server_id,
            self.role,
            self.max_new_flows,
            self.checked,
            self.check_port,
            self.check_path,
            self.port,
        )


class BackendIn(_BackendSettings):
    """A backend to add."""

    address: HostAddress = Field(description=ADDRESS, examples=["10.0.0.11"])

    def backend(self) -> Backend:
        """Return the backend of the model."""
        return self.at(self.address)


class BackendPut(_BackendSettings):
    """A complete backend. Its address is in the URL; if given here too, it must agree."""

    address: HostAddress | None = Field(default=None, description=ADDRESS, examples=["10.0.0.11"])


class BackendPatch(RequestBody):
    """A JSON merge patch (RFC 7396): omitted fields stay, null sets the default.

    The address cannot change; if given here, it must agree.
    """

    address: HostAddress | None = Field(default=None, description=ADDRESS, examples=["10.0.0.11"])
    weight: Weight | None = Field(default=None, description=WEIGHT, examples=[2])
    forward: ForwardWord | None = Field(default=None, description=FORWARD)
    admin_state: AdminStateWord | None = Field(default=None, description=ADMIN_STATE)
    quic_server_id: ServerId | None = Field(default=None, description=QUIC_SERVER_ID, examples=["00a7"])
    role: BackendRoleWord | None = Field(default=None, description=ROLE)
    max_new_flows: MaxNewFlows | None = Field(default=None, description=MAX_NEW_FLOWS)
    checked: bool | None = Field(default=None, description=CHECKED)
    check_port: OwnPort | None = Field(default=None, description=CHECK_PORT, examples=[8081])
    check_path: CheckPath | None = Field(default=None, description=CHECK_PATH, examples=["/healthz"])
    port: OwnPort | None = Field(default=None, description=PORT, examples=[8080])

    def changes(self) -> dict[str, Any]:
        """Return what was sent, nulls included."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class BackendsPut(RequestBody):
    """All backends of a VIP, replaced in one step."""

    backends: Annotated[list[BackendIn], Field(max_length=MOST_BACKENDS), in_parts(MOST_BACKENDS)] = Field(
        description="All backends; others are removed."
    )
    warnings: ReadOnly = None

    def wanted(self) -> list[Backend]:
        """Return the backends of the model."""
        return [backend.backend() for backend in self.backends]


class DrainIn(RequestBody):
    """How long to wait for open connections to end."""

    timeout_seconds: float = Field(
        default=600,
        gt=0,
        le=604800,
        description="Seconds to the deadline, at which the drain is `timed_out`; nothing is cut unless asked for.",
    )
    quiet_seconds: float | None = Field(
        default=None,
        ge=0,
        le=86400,
        description="Minimum seconds that it lasts, since idle connections are not seen before their next packet; for "
        "QUIC, seconds without a packet to the backend. Null: 10.",
    )

    cut_at_deadline: bool = Field(
        default=False,
        description="Whether the backend gets no packets any more from the deadline on, unless it is `drained` before: "
        "connections that are left then go to other backends, which reset them.",
    )

    def quiet(self) -> float:
        """Return the minimum seconds: as sent, otherwise 10, but not more than the timeout."""
        return min(10.0, self.timeout_seconds) if self.quiet_seconds is None else self.quiet_seconds


class DrainOut(ResponseBody):
    """A drain."""

    state: DrainState = Field(
        description="`draining`: connections are left; `drained`: none is; `timed_out`: some are after the timeout; "
        "`cut`: the deadline ended those."
    )
    started: datetime = Field(description="When it started, UTC.")
    deadline: datetime = Field(description="When it is `timed_out`, UTC.")
    quiet_seconds: float = Field(description="Minimum seconds that it lasts.")
    flows: int | None = Field(
        description="Open connections seen; null before the first count, and for QUIC until it is drained."
    )
    cut_at_deadline: bool = Field(description="Whether connections that are left at the deadline are cut.")

    @classmethod
    def of(cls, view: DrainView) -> DrainOut:
        """Return the body for the manager's view."""
        return cls(
            state=view.state,
            started=view.started,
            deadline=view.deadline,
            quiet_seconds=view.quiet_seconds,
            flows=view.flows,
            cut_at_deadline=view.cut_at_deadline,
        )


class PathMtuOut(ResponseBody):
    """What a router on the way to a backend has said of the path's MTU."""

    mtu: int = Field(description="The MTU, in bytes, with the outer headers.", examples=[1400])
    router: str | None = Field(description="Who said so; null if it was before the daemon started.")
    until: datetime = Field(description="When longer packets are tried again, UTC.")

    @classmethod
    def of(cls, lowered: LoweredMtu) -> PathMtuOut:
        """Return the body for what the manager knows."""
        router = None if lowered.router is None else str(lowered.router)
        return cls(mtu=lowered.mtu, router=router, until=lowered.until)


class PathErrorsOut(ResponseBody):
    """How many ICMP errors came about packets in the tunnel to a backend, since the daemon started."""

    too_big: int = Field(description="A packet was too big for a router on the way.")
    unreachable: int = Field(description="A router, or the backend, says that it cannot be reached.")
    time_exceeded: int = Field(description="Too many hops, or a routing loop.")
    parameter_problem: int = Field(description="Somebody does not understand the outer header.")

    @classmethod
    def of(cls, errors: Mapping[ErrorKind, int]) -> PathErrorsOut:
        """Return the body for these counts; those that are missing are 0."""
        return cls(**{kind.value: errors.get(kind, 0) for kind in ErrorKind})


class EjectionOut(ResponseBody):
    """Why a backend gets no new connections for now: it leaves handshakes unanswered, its peers do not."""

    since: datetime = Field(description="When it was ejected, UTC.")
    until: datetime = Field(description="When that ends by itself, UTC.")
    times: int = Field(description="How often it was ejected lately: each time is as much longer.", examples=[1])
    reason: str = Field(description="What was seen.")


class HandshakesOut(ResponseBody):
    """How long a backend's handshakes take: from a client's SYN to its answer to the SYN-ACK, as they pass here."""

    p50_seconds: float = Field(description="Half of them take less.", examples=[0.0012])
    p99_seconds: float = Field(description="99 % of them take less.", examples=[0.03])


class BackendStatusOut(ResponseBody):
    """The status of a backend."""

    health: Health = Field(description="The result of its checks; `up` without a check.")
    reason: str = Field(description="A sentence about its health and the path to it; empty if all is well.")
    since: datetime = Field(description="Since when it has this health, UTC.")
    held_until: datetime | None = Field(
        description="Until when it gets no new connections although its checks pass, since it flaps, UTC; else null."
    )
    effective_weight: float = Field(
        description="Its weight, or what its agent or a command that checks it wants in the place of that.",
        examples=[0.75],
    )
    share: float = Field(description="Its share of the VIP's new connections now, 0 to 1.", examples=[0.25])
    flows: int | None = Field(description="Its recorded open connections; null if not counted.")
    mac: str | None = Field(description="The MAC address that packets to it are sent to; null while unknown.")
    interface: str | None = Field(description="The NIC they are sent by; null while unknown.")
    mtu: int | None = Field(
        description="The longest IP packet that is sent to it, with outer headers; null while unknown.", examples=[1500]
    )
    path_mtu: PathMtuOut | None = Field(description="Why that is less than its NIC or route takes; null if it is not.")
    path_errors: PathErrorsOut
    observed_generation: ObservedGeneration
    drain: DrainOut | None = Field(description="Its drain; null if it is not draining.")
    certificate: CertificateOut | None = Field(
        description="What came of the connections in its drain, or in its last one; null if it has had none."
    )
    ejection: EjectionOut | None = Field(description="Its ejection by passive health; null if it is not ejected.")
    handshakes: HandshakesOut | None = Field(
        description="Of the handshakes that were sampled in the last minutes; null if there were none."
    )
    pending: bool = Field(
        description="Whether it was changed here while the store was away, and that is not written to it yet."
    )
    hint: str = Field(description="How its handshakes differ from those of its peers; empty if they do not.")


class DeclaredOut(ResponseBody):
    """What the config file says of a backend under an overlay."""

    weight: int = Field(description="Its weight in the file.", examples=[2])
    admin_state: AdminState = Field(description="Its admin state in the file.")


class BackendOut(ResponseBody):
    """A backend: its configuration and its `status`."""

    address: str = Field(description=ADDRESS, examples=["10.0.0.11"])
    weight: int = Field(description=WEIGHT, examples=[2])
    forward: Forward = Field(description="How packets reach it: its own setting, else the VIP's.")
    admin_state: AdminState = Field(description=ADMIN_STATE)
    quic_server_id: str | None = Field(description=QUIC_SERVER_ID, examples=["00a7"])
    role: BackendRole = Field(description=ROLE)
    max_new_flows: int = Field(description=MAX_NEW_FLOWS)
    checked: bool = Field(description=CHECKED)
    check_port: int | None = Field(description=CHECK_PORT, examples=[8081])
    check_path: str | None = Field(description=CHECK_PATH, examples=["/healthz"])
    port: int | None = Field(description=PORT, examples=[8080])
    declared: DeclaredOut | None = Field(description=DECLARED)
    generation: Generation
    status: BackendStatusOut = Field(description="Its status.")

    @classmethod
    def of(cls, view: BackendView) -> Self:
        """Return the body for the manager's view."""
        return cls(
            address=str(view.backend.address),
            weight=view.backend.weight,
            forward=view.forward,
            admin_state=view.backend.admin_state,
            quic_server_id=view.backend.quic_server_id,
            role=view.backend.role,
            max_new_flows=view.backend.max_new_flows,
            checked=view.backend.checked,
            check_port=view.backend.check_port,
            check_path=view.backend.check_path,
            port=view.backend.port,
            declared=None if view.declared is None else DeclaredOut(**asdict(view.declared)),
            generation=view.generation,
            status=BackendStatusOut(
                health=view.health,
                reason=view.reason,
                since=view.since,
                held_until=view.held_until,
                effective_weight=view.effective_weight,
                share=view.share,
                flows=view.flows,
                mac=view.mac,
                interface=view.interface,
                mtu=view.path.mtu,
                path_mtu=PathMtuOut.of(view.path.lowered) if view.path.lowered else None,
                path_errors=PathErrorsOut.of(view.path.errors),
                observed_generation=view.observed_generation,
                drain=DrainOut.of(view.drain) if view.drain else None,
                certificate=CertificateOut.of(view.certificate) if view.certificate else None,
                ejection=EjectionOut(**asdict(view.ejection)) if view.ejection else None,
                handshakes=_handshakes(view.handshakes),
                pending=view.pending,
                hint=view.hint,
            ),
        )


def _handshakes(found: Latency | None) -> HandshakesOut | None:
    return None if found is None else HandshakesOut(p50_seconds=found.p50, p99_seconds=found.p99)


class BackendChangedOut(BackendOut):
    """A backend after a change."""

    warnings: Warnings = Field(default=[])


class BackendListOut(ResponseBody):
    """The backends of a VIP."""

    backends: list[BackendOut] = Field(description="The backends, sorted by address.")

    @classmethod
    def of(cls, view: BackendsView) -> Self:
        """Return the body for the manager's view."""
        ordered = sorted(view.backends, key=lambda each: address_order(each.backend.address))
        return cls(backends=[BackendOut.of(each) for each in ordered])


class BackendOfVipOut(BackendOut):
    """A backend, with the VIP that it belongs to."""

    vip: str = Field(default="", description="The VIP's key.", examples=["203.0.113.10:443/tcp"])


class AllBackendsOut(ResponseBody):
    """The backends of all VIPs."""

    backends: list[BackendOfVipOut] = Field(description="The backends, sorted by VIP and address.")

    @classmethod
    def of(cls, views: Mapping[VipKey, BackendsView]) -> Self:
        """Return the body for the manager's views, by VIP."""
        return cls(
            backends=[
                BackendOfVipOut.of(each).model_copy(update={"vip": str(key)})
                for key, view in sorted(views.items(), key=lambda item: item[0])
                for each in sorted(view.backends, key=lambda each: address_order(each.backend.address))
            ]
        )


class BackendListChangedOut(BackendListOut):
    """The backends of a VIP after a change."""

    warnings: Warnings = Field(default=[])
