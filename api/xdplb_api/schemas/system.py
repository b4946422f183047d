# SPDX-License-Identifier: Apache-2.0
"""The daemon: its status, data plane, version and readiness."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal, Self

from pydantic import Field

from xdplb.control.answers.views import (
    DataplaneView,
    FlowTableView,
    NicView,
    PlaceView,
    StatusView,
    StoreView,
    UseView,
    VipView,
)
from xdplb.control.events import DriftKind
from xdplb.control.plan.operating import OperatingStatus
from xdplb.control.writing.store_standing import StoreState
from xdplb.dataplane.plane import Attachment
from xdplb.model.backend import AdminState

from .base import ResponseBody
from .vip import VipOut, vips_out

__all__ = [
    "AttachmentOut",
    "DaemonOut",
    "DataplaneOut",
    "DriftOut",
    "FlowTableOut",
    "HealthzOut",
    "NicOut",
    "PendingOut",
    "ReadyVipOut",
    "ReadyzOut",
    "RefusedOut",
    "StatusOut",
    "StoreOut",
    "UseOut",
    "VersionOut",
]


class AttachmentOut(ResponseBody):
    """A NIC that the program is attached to."""

    interface: str = Field(description="The NIC's name.", examples=["eth0"])
    ifindex: int = Field(description="Its ifindex.")
    mode: str = Field(description="The XDP mode: `native` or `skb`.", examples=["native"])
    program_id: int = Field(description="The kernel's id of the program.")

    @classmethod
    def each(cls, attachments: Iterable[Attachment]) -> list[AttachmentOut]:
        """Return a body for each attachment."""
        return [
            cls(interface=one.interface, ifindex=one.ifindex, mode=one.mode, program_id=one.program_id)
            for one in attachments
        ]


class NicOut(ResponseBody):
    """A NIC that `xdplb up` was told to balance on, or that has the program from an earlier start."""

    interface: str = Field(description="The NIC's name.", examples=["eth0"])
    asked_mode: str | None = Field(
        description="The mode asked for: `native`, `skb` or `auto`; null if the NIC was not named."
    )
    attached: bool = Field(description="Whether the program is on it.")
    mode: str = Field(description="The XDP mode it is in, else the one asked for.", examples=["native"])
    up: bool | None = Field(description="Whether it is up and has a carrier; null if the NIC was not named.")
    reason: str = Field(description="Why it does not carry packets as asked; empty if it does.")
    note: str = Field(description="Why it is in skb mode although native mode was wanted; empty if it is not.")

    @classmethod
    def each(cls, views: Iterable[NicView]) -> list[NicOut]:
        """Return a body for each view."""
        return [
            cls(
                interface=view.interface,
                asked_mode=view.asked_mode,
                attached=view.attached,
                mode=view.mode,
                up=view.up,
                reason=view.reason,
                note=view.note,
            )
            for view in views
        ]


class UseOut(ResponseBody):
    """How full a map is."""

    used: int = Field(description="Entries in use.")
    capacity: int = Field(description="Capacity in entries.")

    @classmethod
    def of(cls, view: UseView) -> UseOut:
        """Return the body for the manager's view."""
        return cls(used=view.used, capacity=view.capacity)


class FlowTableOut(ResponseBody):
    """The flow table."""

    used: int = Field(description="Records of open flows, as of the last count, seconds ago.")
    capacity: int = Field(description="Capacity in records, for all address families in use.")
    bytes: int = Field(description="The kernel memory it takes in bytes, however full it is.")
    evicted: int = Field(description="Records evicted since the daemon started because it was full.")

    @classmethod
    def of(cls, view: FlowTableView) -> FlowTableOut:
        """Return the body for the manager's view."""
        return cls(used=view.used, capacity=view.capacity, bytes=view.bytes, evicted=view.evicted)


class DaemonOut(ResponseBody):
    """Where the daemon runs."""

    pid: int = Field(description="Its process.")
    boot_id: str = Field(description="The boot id of its host, which tells this host from others.")
    network_namespace: int = Field(description="The inode of its network namespace.")
    pin_dir: str = Field(description="Its pin dir.", examples=["/sys/fs/bpf/xdplb"])
    state_dir: str = Field(description="Its state dir.", examples=["/var/lib/xdplb"])

    @classmethod
    def of(cls, view: PlaceView) -> DaemonOut:
        """Return the body for the manager's view."""
        return cls(**{name: getattr(view, name) for name in cls.model_fields})


class DataplaneOut(ResponseBody):
    """The data plane as loaded."""

    layout: int = Field(description="The version of the layout of `meta`, which describes all maps.")
    features: list[str] = Field(
        description="The features that the program is compiled with.", examples=[["gue", "ipv6"]]
    )
    attachments: list[AttachmentOut] = Field(description="The NICs that the program is attached to.")
    vips: UseOut = Field(description="VIPs.")
    backends: UseOut = Field(description="Backends of all VIPs.")
    flows: FlowTableOut = Field(description="Recorded flows.")
    daemon: DaemonOut | None = Field(description="Where the daemon runs; null if it does not say.")
    decap_at: list[str] = Field(description="The addresses at which tunnels end.", examples=[["10.0.0.2"]])
    decap_from: list[str] = Field(
        description="The prefixes whose packets are taken out of these tunnels.", examples=[["10.0.0.0/24"]]
    )

    @classmethod
    def of(cls, view: DataplaneView) -> DataplaneOut:
        """Return the body for the manager's view."""
        return cls(
            layout=view.layout,
            features=sorted(view.features),
            attachments=AttachmentOut.each(view.attachments),
            vips=UseOut.of(view.vips),
            backends=UseOut.of(view.backends),
            flows=FlowTableOut.of(view.flows),
            daemon=None if view.place is None else DaemonOut.of(view.place),
            decap_at=[str(end) for end in view.decap.at],
            decap_from=[str(prefix) for prefix in view.decap.sources],
        )


class ConfigStatusOut(ResponseBody):
    """Who owns the configuration."""

    owner: str | None = Field(
        description="The config file that declares it, by its path; null: the API does.",
        examples=["/etc/xdplb/config.toml"],
    )
    overlay: int = Field(description="How many backends have another weight or admin state than the file says.")
    error: str = Field(description="Why the file was refused when it was read last; empty if it was taken.")


class PendingOut(ResponseBody):
    """A backend that was changed here while the store was away."""

    vip: str = Field(description="Its VIP.", examples=["203.0.113.10:443/tcp"])
    address: str = Field(description="Its address.", examples=["10.0.0.11"])
    weight: int = Field(description="Its weight here.")
    admin_state: AdminState = Field(description="Its admin state here.")
    stored_weight: int = Field(description="Its weight in the store.")
    stored_admin_state: AdminState = Field(description="Its admin state in the store.")


class RefusedOut(ResponseBody):
    """A VIP or a backend in the store that this balancer does not take."""

    path: str = Field(description="Where it is in the store.", examples=["vips/203.0.113.10:443:tcp"])
    reason: str = Field(description="Why it is not taken, as a sentence.")


class StoreOut(ResponseBody):
    """The store that balancers share, and how this one stands to it."""

    place: str = Field(description="Where it is.", examples=["etcd://10.0.0.1:2379/xdplb"])
    state: StoreState = Field(
        description="`up`; `away`: it does not answer, so that only drain, undrain, weight and admin_state can be"
        " changed; `joining`: it is being compared with what is here; `apart`: they do not go together."
    )
    reason: str = Field(description="Why it is not up; empty if it is.")
    since: datetime = Field(description="Since when that is so, UTC.")
    revision: int = Field(description="The revision of the store at which this balancer is.")
    lineage: str = Field(description="What tells this state from others in stores; empty if it was never in one.")
    generation: int = Field(description="The generation in the store, as this balancer knows it.")
    digest: str = Field(description="What is in the store, in one number: equal on all balancers that have the same.")
    pending: list[PendingOut] = Field(description="Backends that were changed here while it was away.")
    refused: list[RefusedOut] = Field(description="What is in it that this balancer does not take.")

    @classmethod
    def of(cls, view: StoreView) -> StoreOut:
        """Return the body for the manager's view."""
        pending = [
            PendingOut(
                vip=each.vip,
                address=str(each.backend.address),
                weight=each.backend.weight,
                admin_state=each.backend.admin_state,
                stored_weight=each.stored.weight,
                stored_admin_state=each.stored.admin_state,
            )
            for each in view.pending
        ]
        return cls(
            place=view.place,
            state=view.state,
            reason=view.reason,
            since=view.since,
            revision=view.revision,
            lineage=view.lineage,
            generation=view.generation,
            digest=view.digest,
            pending=pending,
            refused=[RefusedOut(path=path, reason=reason) for path, reason in view.refused],
        )


class DriftOut(ResponseBody):
    """Something on this host that is not as it should be, and that xdplb cannot put right, or not for good."""

    kind: DriftKind = Field(description="What it is.", examples=["nic"])
    what: str = Field(description="Which one.", examples=["eth0"])
    reason: str = Field(description="What is wrong, in a sentence.")
    since: datetime = Field(description="When it was found, UTC.")


class StatusOut(ResponseBody):
    """An overview of the balancer."""

    version: str = Field(description="The version of the daemon.")
    started: datetime = Field(description="When the daemon started, UTC.")
    generation: int = Field(description="The number of the last accepted change.")
    observed_generation: int = Field(description="The generation that the data plane has.")
    ready: bool = Field(description="Whether it is ready, as in `/readyz`.")
    not_ready: list[str] = Field(description="Why it is not ready, a sentence each.")
    last_error: str = Field(description="Why the data plane does not have the latest change; empty if it has it.")
    warnings: list[str] = Field(
        description="VIPs that are in the way of connections which this host opens itself, a sentence each."
    )
    notes: list[str] = Field(
        description="What the daemon itself is short of, such as files that it may open; a sentence each."
    )
    config: ConfigStatusOut = Field(description="Who owns the configuration.")
    store: StoreOut | None = Field(description="The store that balancers share; null if this one is alone.")
    drift: list[DriftOut] = Field(
        description="What is not as it should be on this host now, the oldest first; what xdplb has repaired is in the"
        " events and in `xdplb_drift_total`."
    )
    attachments: list[AttachmentOut] = Field(description="The NICs that the program is attached to.")
    nics: list[NicOut] = Field(description="The NICs that were asked for, and how each of them is.")
    flows: FlowTableOut = Field(description="Recorded flows.")
    vips: list[VipOut] = Field(description="All VIPs, sorted by address, port and protocol.")

    @classmethod
    def of(cls, view: StatusView, not_ready: list[str]) -> StatusOut:
        """Return the body for the manager's view and the reasons why it is not ready."""
        return cls(
            version=view.version,
            started=view.started,
            generation=view.generation,
            observed_generation=view.observed_generation,
            ready=not not_ready,
            not_ready=not_ready,
            last_error=view.last_error,
            warnings=list(view.warnings),
            notes=list(view.notes),
            config=ConfigStatusOut(
                owner=view.config.owner or None, overlay=view.config.overlay, error=view.config.error
            ),
            store=None if view.store is None else StoreOut.of(view.store),
            drift=[
                DriftOut(kind=each.kind, what=each.what, reason=each.reason, since=each.since) for each in view.drift
            ],
            attachments=AttachmentOut.each(view.attachments),
            nics=NicOut.each(view.nics),
            flows=FlowTableOut.of(view.flows),
            vips=vips_out(view.vips),
        )


class HealthzOut(ResponseBody):
    """The daemon is alive."""

    status: Literal["ok"] = Field(default="ok", description="Always `ok`: a daemon that answers is alive.")


class ReadyVipOut(ResponseBody):
    """Whether enough backends of a VIP serve."""

    vip: str = Field(description="The VIP.", examples=["203.0.113.10:443/tcp"])
    name: str | None = Field(description="Its name.", examples=["web"])
    operating_status: OperatingStatus = Field(description="Its status.")
    backends_serving: int = Field(description="How many of its backends are healthy and take new connections.")
    backends_needed: int = Field(description="How many must, by its `min_serving`.")
    min_serving_met: bool = Field(description="Whether as many serve as must.")

    @classmethod
    def of(cls, view: VipView) -> Self:
        """Return the body for the manager's view."""
        return cls(
            vip=str(view.vip.key),
            name=view.vip.name,
            operating_status=view.operating_status,
            backends_serving=view.backends_serving,
            backends_needed=view.backends_needed,
            min_serving_met=view.min_serving_met,
        )


class ReadyzOut(ResponseBody):
    """The daemon is ready, and so are the VIPs that were asked about."""

    ready: Literal[True] = Field(
        default=True, description="Always true: if it is not ready, the answer is a 503 problem."
    )
    vips: list[ReadyVipOut] = Field(
        default=[], description="The VIPs that were asked about; a 503 problem has them, too."
    )


class VersionOut(ResponseBody):
    """The version of the daemon."""

    version: str = Field(description="The version of the daemon.", examples=["0.9.0"])
    commit: str | None = Field(
        description="The Git commit that the daemon was built from; null where nothing says it.",
        examples=["3f0c6a52d9b14e7f8a60c1d2e3b4a5968778695a"],
    )
    map_layout: str = Field(
        description="The layouts of all BPF maps, as eight hex digits: daemons with the same ones can be exchanged "
        "without a takeover of maps.",
        examples=["5b8e0c1d"],
    )
    api: Literal["v1"] = Field(default="v1", description="The version of this API.")
