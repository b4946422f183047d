"""Nodes: the balancers that serve the same VIPs."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from pydantic import Field

from xdplb.control.answers.views import NodeDrainView, NodeView
from xdplb.model.node import NodeState

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
    state: NodeState = Field(
        description="`serving`; `draining`: it forwards what comes, and asks for nothing more; `drained`: it announces"
        " no VIP until the drain is ended."
    )
    since: datetime = Field(description="Since when: of a node that serves, since its daemon started, UTC.")
    version: str = Field(description="The version of its daemon.")
    generation: int = Field(description="The number of the last change that it has accepted.")
    observed_generation: int = Field(description="The generation that its data plane has.")
    ready: bool = Field(description="Whether it is ready, as in its `/readyz`.")
    not_ready: list[str] = Field(description="Why it is not ready, a sentence each.")
    drain: NodeDrainOut | None = Field(description="Its drain; null while it serves.")
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
            ready=not view.not_ready,
            not_ready=list(view.not_ready),
            drain=None if view.drain is None else NodeDrainOut.of(view.drain),
            announce_table=None if view.announces_in is None else view.announces_in[0],
            announce_protocol=None if view.announces_in is None else view.announces_in[1],
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
