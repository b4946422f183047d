# SPDX-License-Identifier: Apache-2.0
"""Events of this node as a whole."""

from __future__ import annotations

from dataclasses import dataclass

from xdplb.control.events.actor import Actor
from xdplb.control.events.base import Event, Level

__all__ = ["NodeDrainBegan", "NodeDrained", "NodeServes"]


@dataclass(frozen=True, slots=True)
class NodeDrainBegan(Event):
    """Somebody drains this node: routers and keepalived are asked to send it nothing more."""

    KIND = "node_drain_began"
    TITLE = "node draining"
    LEVEL = Level.NOTICE
    actor: Actor
    node: str
    timeout_seconds: float
    quiet_seconds: float


@dataclass(frozen=True, slots=True)
class NodeDrained(Event):
    """The node is drained, so many seconds after its drain began.

    `timed_out`: packets for its VIPs still came, so many a second.
    """

    KIND = "node_drained"
    TITLE = "node drained"
    node: str
    seconds: float
    timed_out: bool
    packets_per_second: float

    @property
    def level(self) -> Level:
        """A warning, if packets still came."""
        return Level.WARNING if self.timed_out else Level.NOTICE


@dataclass(frozen=True, slots=True)
class NodeServes(Event):
    """Somebody has ended the drain of this node."""

    KIND = "node_undrained"
    TITLE = "node serving again"
    LEVEL = Level.NOTICE
    actor: Actor
    node: str
