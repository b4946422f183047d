"""Names in DNS in responses."""

from __future__ import annotations

from typing import Self

from pydantic import Field

from xdplb.control.answers.views import DnsAddressView, DnsNameView
from xdplb.control.writing.dns_keeper import Forgotten

from .base import ResponseBody
from .vip import DnsStatusOut

__all__ = ["DnsAddressOut", "DnsForgottenOut", "DnsListOut", "DnsNameOut", "ForgottenOut"]


class DnsAddressOut(ResponseBody):
    """An address under a name, or one that belongs there."""

    address: str = Field(description="The address.", examples=["203.0.113.10"])
    present: bool = Field(description="Whether it was under the name when that was read last.")
    nodes: list[str] = Field(description="The nodes that have a claim on it; empty if somebody else has entered it.")
    status: DnsStatusOut | None = Field(description="How it stands as this node sees it; null if no VIP here has it.")

    @classmethod
    def of(cls, view: DnsAddressView) -> Self:
        """Return the body for the manager's view."""
        return cls(
            address=str(view.address),
            present=view.is_present,
            nodes=list(view.nodes),
            status=None if view.here is None else DnsStatusOut.of(view.here),
        )


class DnsNameOut(ResponseBody):
    """A name of VIPs."""

    name: str = Field(description="The name.", examples=["www.lb.example.com"])
    zone: str = Field(description="Its zone.", examples=["example.com"])
    server: str = Field(description="The server by which it is changed.", examples=["192.0.2.53"])
    addresses: list[DnsAddressOut] = Field(description="Its addresses.")

    @classmethod
    def of(cls, view: DnsNameView) -> Self:
        """Return the body for the manager's view."""
        return cls(
            name=view.place.name,
            zone=view.place.zone,
            server=view.place.server_text,
            addresses=[DnsAddressOut.of(each) for each in view.addresses],
        )


class DnsListOut(ResponseBody):
    """All names of VIPs."""

    names: list[DnsNameOut] = Field(description="The names, as they were read last.")


class ForgottenOut(ResponseBody):
    """A claim that was taken back."""

    name: str = Field(description="The name.")
    address: str = Field(description="The address.")
    removed: bool = Field(description="Whether the address went, too: no other node has a claim on it.")


class DnsForgottenOut(ResponseBody):
    """What was taken back of a node that is gone, or with `dry_run` would be."""

    released: list[ForgottenOut] = Field(description="The claims.")

    @classmethod
    def of(cls, done: list[Forgotten]) -> Self:
        """Return the body for what was done."""
        return cls(
            released=[ForgottenOut(name=each.name, address=each.address, removed=each.is_removed) for each in done]
        )
