"""Nodes: the balancers that serve the same VIPs."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from pydantic import Field

from xdplb.control.answers.views import NodeDrainView, NodeView
from xdplb.model.node import SeenState

from .base import RequestBody, ResponseBody

__all__ = ["NodeDrainIn", "NodeDrainOut", "NodeDryRunOut", "NodeListOut", "NodeOut"]

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
    share: float | None = Field(
        description="Its part of the packets of all nodes, 0 to 1; null if none has any, or it is lost."
    )

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
            share=view.share,
        )


class NodeListOut(ResponseBody):
    """All nodes that are known."""

    nodes: list[NodeOut] = Field(description="The nodes, the one that answers first.")


class NodeDryRunOut(ResponseBody):
    """What a change of a node would do, with `dry_run=true`, which changes nothing."""

    would_change: bool = Field(description="Whether anything would change.")
    changed: bool = Field(description="Always false.")
    changes: list[str] = Field(description="A sentence for each thing that would change.")

    @classmethod
    def of(cls, change: str) -> Self:
        """Return the body for a change in words, empty if nothing would change."""
        return cls(would_change=bool(change), changed=False, changes=[change] if change else [])
