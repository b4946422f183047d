# SPDX-License-Identifier: Apache-2.0
"""Nodes: the balancers that serve the same VIPs."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from pydantic import Field

from xdplb.control.answers.views import NodeDrainView, NodeOfVipView, NodeView
from xdplb.model.address import address_order
from xdplb.model.backend import Health
from xdplb.model.moment import moment_of_seconds
from xdplb.model.node import SeenState
from xdplb.model.node_health import SeenHealth

from .base import RequestBody, ResponseBody

__all__ = [
    "NodeDrainIn",
    "NodeDrainOut",
    "NodeDryRunOut",
    "NodeListOut",
    "NodeOfVipOut",
    "NodeOut",
    "NodesOfVipOut",
    "SeenHealthOut",
]

_LONGEST_SECONDS = 86400
_QUIET_SECONDS = 3.0


class NodeDrainIn(RequestBody):
    """How long to wait until no packets come any more."""

    timeout_seconds: float = Field(
        default=60,
        gt=0,
        le=_LONGEST_SECONDS,
        description="Seconds after which the node is drained although packets for its VIPs still come.",
    )
    quiet_seconds: float | None = Field(
        default=None,
        ge=0,
        le=_LONGEST_SECONDS,
        description="Seconds without a packet for any VIP after which it is drained. Null: 3.",
    )

    def quiet(self) -> float:
        """Return the seconds without a packet: as sent, otherwise 3, but not more than the timeout."""
        return min(_QUIET_SECONDS, self.timeout_seconds) if self.quiet_seconds is None else self.quiet_seconds


class NodeDrainOut(ResponseBody):
    """The drain of a node."""

    started: datetime = Field(description="When it began, UTC.")
    deadline: datetime = Field(description="When the node is drained although packets still come, UTC.")
    quiet_seconds: float = Field(description="Seconds without a packet for any VIP after which it is drained.")
    ended: datetime | None = Field(description="When it was drained, UTC; null while packets may still come.")
    timed_out: bool = Field(description="Whether packets still came when it was drained.")
    packets_per_second: float | None = Field(
        description="Packets a second for its VIPs, as of the last look; null before the second one."
    )

    @classmethod
    def of(cls, view: NodeDrainView) -> Self:
        """Return the body for the manager's view."""
        return cls(**{name: getattr(view, name) for name in cls.model_fields})


class NodeOut(ResponseBody):
    """A node."""

    name: str = Field(description="Its name.", examples=["lb1"])
    this_node: bool = Field(description="Whether it is the node that answers.")
    state: SeenState = Field(
        description="`serving`; `draining`: it forwards what comes, and asks for nothing more; `drained`: it announces"
        " no VIP until the drain is ended; `starting`: it does not serve yet. Of other nodes also `lost`: it is not"
        " heard of any more; `unknown`: a word of a newer version."
    )
    since: datetime = Field(
        description="Since when: of a node that serves, since its daemon started, UTC; of one that is lost, when it was"
        " heard of last. By its own clock."
    )
    version: str = Field(description="The version of its daemon.")
    generation: int = Field(description="The number of the last change that it has accepted.")
    observed_generation: int = Field(description="The generation that its data plane has.")
    ready: bool | None = Field(
        description="Whether it is ready, as in its `/readyz`; null of other nodes, of which it is not known."
    )
    not_ready: list[str] = Field(description="Why it is not ready, a sentence each.")
    drain: NodeDrainOut | None = Field(description="Its drain; null while it serves, and of other nodes.")
    url: str | None = Field(description="Its API where others reach it (`--advertise-url`); null if it does not say.")
    peer: str | None = Field(
        description="Where it listens to its peers; null if it does not.", examples=["10.0.0.2:4815"]
    )
    peer_up: bool | None = Field(
        description="Whether records of connections go to it and come from it; null of this node, and of one that is no"
        " peer."
    )
    last_heard: datetime | None = Field(description="When it was heard of last, UTC; null of this node.")
    digest: str | None = Field(
        description="A digest of its VIPs and backends: equal ones have the same. Null if it does not say."
    )
    digest_equal: bool | None = Field(
        description="Whether that is this node's; null of this node, and if it is not known."
    )
    vips: dict[str, int] = Field(description="How many of its VIPs have which operating status.")
    backends: int = Field(description="How many backends it has, of all VIPs.")
    backends_out: int = Field(description="How many of them are not up, as it sees them.")
    health_equal: bool | None = Field(
        description="Whether the same backends are up as here; null of this node, and if it is not known."
    )
    packets_per_second: float = Field(description="Packets for its VIPs a second, of the last seconds.")
    connections_per_second: float = Field(description="New connections a second, of the last seconds.")
    in_store: bool = Field(
        description="Whether it shares the store with the node that answers: its generations are the same numbers."
    )
    share: float | None = Field(
        description="Its part of the packets of all nodes, 0 to 1; null if none has any, or it is lost."
    )
    announce_table: int | None = Field(description="The routing table with its routes; null if that is not known.")
    announce_protocol: int | None = Field(description="The protocol number of its routes; null if that is not known.")

    @classmethod
    def of(cls, view: NodeView) -> Self:
        """Return the body for the manager's view."""
        return cls(
            name=view.name,
            this_node=view.is_this,
            state=view.state,
            since=view.since,
            version=view.version,
            generation=view.generation,
            observed_generation=view.observed_generation,
            ready=not view.not_ready if view.is_this else None,
            not_ready=list(view.not_ready),
            drain=None if view.drain is None else NodeDrainOut.of(view.drain),
            url=view.status.url or None,
            peer=view.status.peer or None,
            peer_up=view.peer_is_up,
            last_heard=view.heard,
            digest=view.status.digest or None,
            digest_equal=view.state_is_equal,
            vips=dict(view.status.vips),
            backends=view.status.backends,
            backends_out=view.status.backends_out,
            health_equal=view.health_is_equal,
            packets_per_second=view.status.packets_per_second,
            connections_per_second=view.status.connections_per_second,
            in_store=view.in_store,
            share=view.share,
            announce_table=None if view.announces_in is None else view.announces_in[0],
            announce_protocol=None if view.announces_in is None else view.announces_in[1],
        )


class NodeListOut(ResponseBody):
    """All nodes that are known."""

    nodes: list[NodeOut] = Field(description="The nodes, the one that answers first.")


class SeenHealthOut(ResponseBody):
    """The health of a backend, as a node sees it."""

    health: Health = Field(description="What its checks say.")
    reason: str = Field(description="Why; empty if it is up.")
    since: datetime | None = Field(description="Since when, UTC; null if it is up, or not known.")

    @classmethod
    def of(cls, seen: SeenHealth) -> Self:
        """Return the body for what a node says."""
        return cls(health=seen.health, reason=seen.reason, since=moment_of_seconds(seen.since) if seen.since else None)


class NodeOfVipOut(ResponseBody):
    """What a node says of a VIP."""

    name: str = Field(description="The node's name.", examples=["lb1"])
    this_node: bool = Field(description="Whether it is the node that answers.")
    state: SeenState = Field(description="What it does with traffic, as in `/v1/nodes`.")
    generation: int | None = Field(
        description="The generation of the VIP that its data plane has; null if it does not share the store."
    )
    backends: dict[str, SeenHealthOut | None] = Field(
        description="By address, the health of each backend as it sees it; null where nothing is known."
    )

    @classmethod
    def of(cls, view: NodeOfVipView) -> Self:
        """Return the body for the manager's view."""
        backends = sorted(view.backends.items(), key=lambda item: address_order(item[0]))
        return cls(
            name=view.name,
            this_node=view.is_this,
            state=view.state,
            generation=view.generation,
            backends={str(address): None if seen is None else SeenHealthOut.of(seen) for address, seen in backends},
        )


class NodesOfVipOut(ResponseBody):
    """What all nodes say of a VIP. For the eye: each node sends packets by what it sees itself."""

    generation: int = Field(description="The generation of the VIP: the last change to it.")
    nodes: list[NodeOfVipOut] = Field(description="The nodes, the one that answers first.")


class NodeDryRunOut(ResponseBody):
    """What a change of a node would do, with `dry_run=true`, which changes nothing."""

    would_change: bool = Field(description="Whether anything would change.")
    changed: bool = Field(description="Always false.")
    changes: list[str] = Field(description="A sentence for each thing that would change.")

    @classmethod
    def of(cls, change: str) -> Self:
        """Return the body for a change in words, empty if nothing would change."""
        return cls(would_change=bool(change), changed=False, changes=[change] if change else [])
