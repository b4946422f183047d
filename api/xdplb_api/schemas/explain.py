# SPDX-License-Identifier: Apache-2.0
"""What would happen to a packet."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from xdplb.control.explain.question import PacketKind
from xdplb.control.explain.views import ExplainView, NextHopView, OuterView, RecordView, SentView, SlotView
from xdplb.model.address import IPAddress
from xdplb.model.vip import Forward
from xdplb.reference.journey import Placement
from xdplb.reference.slot import SlotState

from .base import ResponseBody

__all__ = [
    "DifferenceOut",
    "ExplainOut",
    "FlowRecordOut",
    "NextHopOut",
    "OuterOut",
    "PacketOut",
    "SentOut",
    "SlotOut",
]


class PacketOut(ResponseBody):
    """The packet in question: untagged, and as short as possible."""

    client: str = Field(description="Its source address.", examples=["192.0.2.7"])
    client_port: int = Field(description="Its source port.")
    address: str = Field(description="Its destination address.", examples=["203.0.113.10"])
    port: int = Field(description="Its destination port.")
    protocol: Literal["tcp", "udp"] = Field(description="Its protocol.")
    kind: PacketKind = Field(description="`syn`, `established` (an ACK) or, for UDP, `datagram`.")
    interface: str = Field(description="The NIC it comes in by.", examples=["eth0"])

    @classmethod
    def of(cls, view: ExplainView) -> PacketOut:
        """Return the body for the manager's view."""
        flow = view.question.flow
        return cls(
            client=str(flow.source),
            client_port=flow.source_port,
            address=str(flow.destination),
            port=flow.destination_port,
            protocol="udp" if view.question.kind is PacketKind.DATAGRAM else "tcp",
            kind=view.question.kind,
            interface=view.interface,
        )


class SlotOut(ResponseBody):
    """The slot that the hash of the flow selects."""

    number: int = Field(description="Its number in the VIP's table.")
    state: SlotState = Field(
        description="`steady`, `moving` to a new owner, or `pinned` (old connections stay, by their records)."
    )
    owner: str | None = Field(description="The backend that owns it; null for none.")
    previous: str | None = Field(description="The backend it is moving from; null if it is not moving.")

    @classmethod
    def of(cls, view: SlotView) -> SlotOut:
        """Return the body for the manager's view."""
        return cls(
            number=view.number, state=SlotState(view.state), owner=_text(view.owner), previous=_text(view.previous)
        )


class FlowRecordOut(ResponseBody):
    """The record of the flow."""

    backend: str | None = Field(description="The backend it names; null if that is gone.")
    counts: bool = Field(
        description="Whether it is used: that backend is still the one it was made for, and is usable."
    )
    age_seconds: float = Field(description="Seconds since the last packet noted in it.")
    flags: list[str] = Field(
        description="What the client has sent: `established` (more than SYNs, and no SYN since), `fin`, `rst`;"
        " `second_choice` if it did not go to the backend that came first; `from_peer` if another balancer has told of"
        " it and none of its packets has come here yet.",
        examples=[["established"]],
    )
    probation: bool = Field(description="Whether only the first packet of the flow has been seen so far.")

    @classmethod
    def of(cls, view: RecordView) -> FlowRecordOut:
        """Return the body for the manager's view."""
        return cls(
            backend=_text(view.backend),
            counts=view.counts,
            age_seconds=view.age_seconds,
            flags=list(view.flags),
            probation=view.probation,
        )


class OuterOut(ResponseBody):
    """The outer header of the packet."""

    source: str = Field(description="The outer source address.", examples=["10.0.0.1"])
    destination: str = Field(description="The outer destination: the backend's address.", examples=["10.0.0.11"])
    source_port: int | None = Field(
        description="The outer source port with `gue`, derived from the flow; null otherwise."
    )
    destination_port: int | None = Field(description="The outer destination port with `gue`; null otherwise.")

    @classmethod
    def of(cls, view: OuterView) -> OuterOut:
        """Return the body for the manager's view."""
        return cls(
            source=str(view.source),
            destination=str(view.destination),
            source_port=view.source_port,
            destination_port=view.destination_port,
        )


class NextHopOut(ResponseBody):
    """Where the frame is sent."""

    mac: str = Field(description="Its destination MAC address.", examples=["02:00:00:00:02:0b"])
    interface: str = Field(description="The NIC it is sent by.", examples=["eth0"])
    gateway: str | None = Field(description="The router with that MAC address; null: the backend itself.")
    mtu: int = Field(description="The MTU of the path, in bytes.")
    vlans: list[int] = Field(description="The ids of its VLAN tags, outermost first.")

    @classmethod
    def of(cls, view: NextHopView) -> NextHopOut:
        """Return the body for the manager's view."""
        return cls(
            mac=view.mac, interface=view.interface, gateway=_text(view.gateway), mtu=view.mtu, vlans=list(view.tags)
        )


class SentOut(ResponseBody):
    """How the packet is sent."""

    forward: Forward = Field(description="How it reaches the backend: `dr`, `ipip`, `gue` or `nat`.")
    outer: OuterOut | None = Field(description="The outer header; null for `dr` and `nat`.")
    next_hop: NextHopOut = Field(description="Where the frame is sent.")

    @classmethod
    def of(cls, view: SentView) -> SentOut:
        """Return the body for the manager's view."""
        outer = None if view.outer is None else OuterOut.of(view.outer)
        return cls(forward=view.forward, outer=outer, next_hop=NextHopOut.of(view.next_hop))


class DifferenceOut(ResponseBody):
    """A difference between the reference model and the program."""

    what: str = Field(description="What differs.", examples=["backend"])
    model: str = Field(description="What the model says.")
    program: str = Field(description="What the program says.")


class ExplainOut(ResponseBody):
    """What would happen to a packet, and why. Nothing was sent, counted or recorded."""

    packet: PacketOut = Field(description="The packet in question.")
    if_down: str | None = Field(description="The backend that is assumed to be down; null: none.")
    vip: str | None = Field(description="The VIP it is for; null for none.", examples=["203.0.113.10:443/tcp"])
    action: Literal["send", "pass", "drop", "answer"] = Field(description="What happens to it.")
    reason: str | None = Field(
        description="Why it is not sent, named as in the counters; null if it is sent.", examples=["no_vip"]
    )
    backend: str | None = Field(description="The backend chosen; null for none.", examples=["10.0.0.11"])
    chosen_by: Placement = Field(description="What selected the backend.")
    slot: SlotOut | None = Field(description="The slot of its flow; null if it does not get that far.")
    record: FlowRecordOut | None = Field(description="The record of its flow; null if there is none.")
    sent: SentOut | None = Field(description="How it is sent; null if it is not.")
    why: list[str] = Field(
        description="The steps of the decision, a sentence each.", examples=[["it goes to the slot's owner: 10.0.0.11"]]
    )
    agree: bool | None = Field(
        description="Whether the reference model and the program in the kernel agree; null if only the model was "
        "asked. False is a bug."
    )
    differences: list[DifferenceOut] = Field(description="Where they differ.")
    note: str = Field(description="Why there is no answer of the program to compare; empty if there is.")

    @classmethod
    def of(cls, view: ExplainView) -> ExplainOut:
        """Return the body for the manager's view."""
        return cls.model_validate(
            {
                "packet": PacketOut.of(view),
                "if_down": _text(view.if_down),
                "vip": view.vip,
                "action": view.action,
                "reason": view.reason,
                "backend": _text(view.backend),
                "chosen_by": view.chosen_by,
                "slot": None if view.slot is None else SlotOut.of(view.slot),
                "record": None if view.record is None else FlowRecordOut.of(view.record),
                "sent": None if view.sent is None else SentOut.of(view.sent),
                "why": list(view.why),
                "agree": view.agree,
                "differences": [
                    DifferenceOut(what=each.what, model=each.model, program=each.program) for each in view.differences
                ],
                "note": view.note,
            }
        )


def _text(address: IPAddress | None) -> str | None:
    return None if address is None else str(address)
