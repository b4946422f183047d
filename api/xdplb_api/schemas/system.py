"""The daemon as a whole: its status, its data plane, its version, and whether it is ready."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from pydantic import Field

from xdplb.control.answers.views import DataplaneView, FlowTableView, StatusView, UseView
from xdplb.dataplane.plane import Attachment

from .base import ResponseBody
from .vip import VipOut, vips_out

__all__ = [
    "AttachmentOut",
    "DataplaneOut",
    "FlowTableOut",
    "HealthzOut",
    "ReadyzOut",
    "StatusOut",
    "UseOut",
    "VersionOut",
]


class AttachmentOut(ResponseBody):
    """A NIC with the program on it."""

    interface: str = Field(description="The NIC's name.", examples=["eth0"])
    ifindex: int = Field(description="Its index in the kernel.")
    mode: str = Field(description="How XDP runs on it: `native` or `skb`.", examples=["native"])
    program_id: int = Field(description="The kernel's id of the program.")

    @classmethod
    def each(cls, attachments: Iterable[Attachment]) -> list[AttachmentOut]:
        """Return a body for each attachment."""
        return [
            cls(interface=one.interface, ifindex=one.ifindex, mode=one.mode, program_id=one.program_id)
            for one in attachments
        ]


class UseOut(ResponseBody):
    """How full a map is."""

    used: int = Field(description="Entries in use.")
    capacity: int = Field(description="Entries there is room for.")

    @classmethod
    def of(cls, view: UseView) -> UseOut:
        """Return the body for the manager's view."""
        return cls(used=view.used, capacity=view.capacity)


class FlowTableOut(ResponseBody):
    """The flow table."""

    used: int = Field(description="Records of open flows, as of the latest count, seconds ago.")
    capacity: int = Field(description="Records there is room for, of all families that are in use.")
    bytes: int = Field(description="The kernel memory it takes, full or not.")
    evicted: int = Field(description="Records thrown out since the daemon started because it was full.")

    @classmethod
    def of(cls, view: FlowTableView) -> FlowTableOut:
        """Return the body for the manager's view."""
        return cls(used=view.used, capacity=view.capacity, bytes=view.bytes, evicted=view.evicted)


class DataplaneOut(ResponseBody):
    """The data plane as loaded."""

    layout: int = Field(description="The version of the maps' layout.")
    features: list[str] = Field(description="What the program is compiled for.", examples=[["gue", "ipv6"]])
    attachments: list[AttachmentOut] = Field(description="The NICs the program is on.")
    vips: UseOut = Field(description="VIPs.")
    backends: UseOut = Field(description="Backends of all VIPs.")
    flows: FlowTableOut = Field(description="Recorded flows.")

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
        )


class StatusOut(ResponseBody):
    """The balancer on one page."""

    version: str = Field(description="The version of the daemon.")
    started: datetime = Field(description="Since when it runs, UTC.")
    generation: int = Field(description="The number of the latest accepted change.")
    observed_generation: int = Field(description="The generation the data plane has.")
    ready: bool = Field(description="Whether it does its work, as `/readyz` says.")
    not_ready: list[str] = Field(description="Why it is not ready, a sentence each.")
    last_error: str = Field(description="What keeps the data plane from what was asked; empty when nothing does.")
    attachments: list[AttachmentOut] = Field(description="The NICs the program is on.")
    flows: FlowTableOut = Field(description="Recorded flows.")
    vips: list[VipOut] = Field(description="All VIPs, by address, port and protocol.")

    @classmethod
    def of(cls, view: StatusView, not_ready: list[str]) -> StatusOut:
        """Return the body for the manager's view and what it misses to be ready."""
        return cls(
            version=view.version,
            started=view.started,
            generation=view.generation,
            observed_generation=view.observed_generation,
            ready=not not_ready,
            not_ready=not_ready,
            last_error=view.last_error,
            attachments=AttachmentOut.each(view.attachments),
            flows=FlowTableOut.of(view.flows),
            vips=vips_out(view.vips),
        )


class HealthzOut(ResponseBody):
    """The daemon answers."""

    status: Literal["ok"] = Field(default="ok", description="Always `ok`: a daemon that answers is alive.")


class ReadyzOut(ResponseBody):
    """The daemon does its work."""

    ready: Literal[True] = Field(default=True, description="Always true: when it is not, the answer is a problem, 503.")


class VersionOut(ResponseBody):
    """What runs here."""

    version: str = Field(description="The version of the daemon.")
    api: Literal["v1"] = Field(default="v1", description="The version of this API.")
