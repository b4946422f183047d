"""VIPs as they are asked for (`VipIn`, `VipPut`, `VipPatch`) and shown (`VipOut`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Annotated, Any

from pydantic import Field

from xdplb.control.views import OperatingStatus, VipView
from xdplb.model.vip import (
    IDLE_TIMEOUT_RANGE,
    NAME_PATTERN,
    AllUnhealthy,
    Forward,
    HashKind,
    OnUnhealthy,
    Protocol,
    Scheduler,
    Tracking,
    Vip,
    VipKey,
)

from .base import ForwardWord, Generation, HostAddress, ObservedGeneration, RequestBody, ResponseBody

__all__ = ["SlotsOut", "VipIn", "VipListOut", "VipOut", "VipPatch", "VipPut", "VipSettings", "VipStatusOut", "vips_out"]

Port = Annotated[int, Field(ge=1, le=65535)]
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=63)]
IdleTimeout = Annotated[int, Field(ge=IDLE_TIMEOUT_RANGE[0], le=IDLE_TIMEOUT_RANGE[1])]
ProtocolWord = Annotated[Protocol, Field(strict=False)]
SchedulerWord = Annotated[Scheduler, Field(strict=False)]
TrackingWord = Annotated[Tracking, Field(strict=False)]
HashWord = Annotated[HashKind, Field(strict=False)]
OnUnhealthyWord = Annotated[OnUnhealthy, Field(strict=False)]
AllUnhealthyWord = Annotated[AllUnhealthy, Field(strict=False)]

ADDRESS = "The IPv4 address clients talk to."
PORT = "The port clients talk to."
PROTOCOL = "The transport protocol."
NAME = "A name to use in its place in URLs and commands; null for none."
FORWARD = "How packets reach the backends: MAC rewrite on one segment (`dr`) or in an outer IPv4 header (`ipip`)."
SCHEDULER = "What chooses the backend of a new connection."
TRACKING = "Which flows are recorded: those in slots that change (`auto`) or every one (`always`)."
HASH = "What spreads connections over the backends."
ON_UNHEALTHY = "Connections of a backend that fails: let go (`reset`) or still sent to it (`keep`)."
ALL_UNHEALTHY = "Without a healthy backend: use those that failed (`fail-open`) or drop (`fail-closed`)."
IDLE_TIMEOUT = "Seconds: the longest silence of a connection that a change bridges."

_SETTINGS = tuple(field.name for field in fields(Vip) if field.name != "key")


class VipSettings(RequestBody):
    """What a VIP has besides what identifies it; what is left out has its default."""

    name: Name | None = Field(default=None, description=NAME, examples=["web"])
    forward: ForwardWord = Field(default=Forward.DR, description=FORWARD)
    scheduler: SchedulerWord = Field(default=Scheduler.MAGLEV, description=SCHEDULER)
    tracking: TrackingWord = Field(default=Tracking.AUTO, description=TRACKING)
    hash: HashWord = Field(default=HashKind.FIVE_TUPLE, description=HASH)
    on_unhealthy: OnUnhealthyWord = Field(default=OnUnhealthy.RESET, description=ON_UNHEALTHY)
    all_unhealthy: AllUnhealthyWord = Field(default=AllUnhealthy.FAIL_OPEN, description=ALL_UNHEALTHY)
    idle_timeout_seconds: IdleTimeout = Field(default=900, description=IDLE_TIMEOUT)

    def settings(self) -> dict[str, Any]:
        """Return the settings by the names the model has for them."""
        return {name: getattr(self, name) for name in _SETTINGS}


class VipIn(VipSettings):
    """A VIP to add."""

    address: HostAddress = Field(description=ADDRESS, examples=["203.0.113.10"])
    port: Port = Field(description=PORT, examples=[443])
    protocol: ProtocolWord = Field(description=PROTOCOL)

    def vip(self) -> Vip:
        """Return the VIP of the model."""
        return Vip(key=VipKey(self.address, self.port, self.protocol), **self.settings())


class VipPut(VipSettings):
    """A VIP as it shall be, whole. What identifies it is in the URL; given here as well, it must agree."""

    address: HostAddress | None = Field(default=None, description=ADDRESS, examples=["203.0.113.10"])
    port: Port | None = Field(default=None, description=PORT, examples=[443])
    protocol: ProtocolWord | None = Field(default=None, description=PROTOCOL)


class VipPatch(RequestBody):
    """A JSON merge patch (RFC 7396): what is left out stays, null sets the default.

    What identifies the VIP cannot be changed; given here as well, it must agree.
    """

    address: HostAddress | None = Field(default=None, description=ADDRESS, examples=["203.0.113.10"])
    port: Port | None = Field(default=None, description=PORT, examples=[443])
    protocol: ProtocolWord | None = Field(default=None, description=PROTOCOL)
    name: Name | None = Field(default=None, description=NAME, examples=["web"])
    forward: ForwardWord | None = Field(default=None, description=FORWARD)
    scheduler: SchedulerWord | None = Field(default=None, description=SCHEDULER)
    tracking: TrackingWord | None = Field(default=None, description=TRACKING)
    hash: HashWord | None = Field(default=None, description=HASH)
    on_unhealthy: OnUnhealthyWord | None = Field(default=None, description=ON_UNHEALTHY)
    all_unhealthy: AllUnhealthyWord | None = Field(default=None, description=ALL_UNHEALTHY)
    idle_timeout_seconds: IdleTimeout | None = Field(default=None, description=IDLE_TIMEOUT)

    def changes(self) -> dict[str, Any]:
        """Return what was sent, nulls included."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class SlotsOut(ResponseBody):
    """How many slots of its table are in each state."""

    steady: int = Field(description="Slots whose owner gets every packet, without a flow lookup.")
    moving: int = Field(description="Slots that changed owner; old connections are being recorded.")
    pinned: int = Field(description="Slots with recorded connections that stay with another backend.")


class VipStatusOut(ResponseBody):
    """How a VIP is."""

    operating_status: OperatingStatus = Field(description="ONLINE: every ready backend serves; DEGRADED: some do.")
    observed_generation: ObservedGeneration
    slots: SlotsOut = Field(description="The state of its slots.")
    backends: int = Field(description="How many backends it has.")
    backends_serving: int = Field(description="How many of them take new connections.")


class VipOut(ResponseBody):
    """A VIP: what was asked for, and how it is (`status`)."""

    name: str | None = Field(description=NAME)
    address: str = Field(description=ADDRESS, examples=["203.0.113.10"])
    port: int = Field(description=PORT, examples=[443])
    protocol: Protocol = Field(description=PROTOCOL)
    forward: Forward = Field(description=FORWARD)
    scheduler: Scheduler = Field(description=SCHEDULER)
    tracking: Tracking = Field(description=TRACKING)
    hash: HashKind = Field(description=HASH)
    on_unhealthy: OnUnhealthy = Field(description=ON_UNHEALTHY)
    all_unhealthy: AllUnhealthy = Field(description=ALL_UNHEALTHY)
    idle_timeout_seconds: int = Field(description=IDLE_TIMEOUT)
    generation: Generation
    status: VipStatusOut = Field(description="How it is.")

    @classmethod
    def of(cls, view: VipView) -> VipOut:
        """Return the body for the manager's view."""
        vip, slots = view.vip, view.slots
        return cls(
            address=str(vip.key.address),
            port=vip.key.port,
            protocol=vip.key.protocol,
            **{name: getattr(vip, name) for name in _SETTINGS},
            generation=view.generation,
            status=VipStatusOut(
                operating_status=view.operating_status,
                observed_generation=view.observed_generation,
                slots=SlotsOut(steady=slots.steady, moving=slots.moving, pinned=slots.pinned),
                backends=view.backends,
                backends_serving=view.backends_serving,
            ),
        )


def vips_out(views: Iterable[VipView]) -> list[VipOut]:
    """Return the bodies for these VIPs, by address, port and protocol."""
    return [VipOut.of(view) for view in sorted(views, key=lambda view: view.vip.key)]


class VipListOut(ResponseBody):
    """All VIPs."""

    vips: list[VipOut] = Field(description="The VIPs, by address, port and protocol.")
