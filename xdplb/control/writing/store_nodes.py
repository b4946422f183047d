# SPDX-License-Identifier: Apache-2.0
"""What nodes tell each other by the store that they share: each publishes what it is, and what health it sees.

For the eye: who checks a backend decides by his own results. The status is published when it changes, but mere rates
only now and then, since a store keeps each of them for a while.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from xdplb.cluster.repository import Json, Nodes, Repository
from xdplb.control.clock import SteadyClock
from xdplb.control.events import DriftKind
from xdplb.control.state.snapshot import Snapshot
from xdplb.control.writing.drifts import Drifts
from xdplb.control.writing.own_status import OwnStatus
from xdplb.control.writing.writer import Writer
from xdplb.model.backend import Health
from xdplb.model.errors import InvalidError
from xdplb.model.node_health import NodeHealth, SeenHealth
from xdplb.model.node_status import NodeStatus

__all__ = ["StoreNode", "StoreNodes"]

_LOOK_SECONDS = 0.5
_RATES_SECONDS = 30.0
_HEALTH_SECONDS = 3.0
_RIVAL_SECONDS = 90.0
"""For how long a node of the same name is told after it was seen."""
_GONE_SECONDS = 3600.0
"""For how long a node is shown that publishes no more."""
_MOST_BYTES = 16_000
_RATES = ("connections_per_second", "packets_per_second")


@dataclass(frozen=True, slots=True)
class StoreNode:
    """Another node, as it says of itself and of the health of backends; `gone` is when it ceased to, None if not."""

    status: NodeStatus
    health: NodeHealth = field(default_factory=NodeHealth)
    gone: datetime | None = None


class StoreNodes:
    """Publishes what this node is, and keeps what the others publish. `clock` is monotonic, in seconds."""

    def __init__(
        self,
        repository: Repository,
        status: OwnStatus,
        writer: Writer,
        drifts: Drifts,
        *,
        steady: SteadyClock,
        away_since: Callable[[], datetime | None],
        on_peers: Callable[[Sequence[str]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._repository, self._status, self._writer, self._drifts = repository, status, writer, drifts
        self._steady, self._on_peers, self._clock = steady, on_peers, clock
        self.away_since = away_since
        """Returns since when the store is away, None if it is not."""
        self.others: Mapping[str, StoreNode] = {}
        """The other nodes by name. Replaced as a whole."""
        self.health = NodeHealth()
        """What this node says of the health of backends. Replaced as a whole."""
        self._instance = uuid.uuid4().hex
        self._told: dict[str, Any] = {}
        self._rates_told_at = float("-inf")
        self._health_of: tuple[Snapshot, int] | None = None
        self._health_made_at = float("-inf")
        self._seen_own = False
        self._rival_at = float("-inf")

    def take(self, nodes: Nodes) -> None:
        """Take what all nodes publish now."""
        now, known = self._steady.now(), dict(self.others)
        there = {name: made for name, told in nodes.nodes.items() if (made := _node_of(name, told)) is not None}
        own = there.pop(self._status.name, None)
        if own is not None:
            self._look_at_own(nodes.nodes[self._status.name].get("status", {}))
        gone = {name: replace(each, gone=each.gone or now) for name, each in known.items() if name not in there}
        lately = {
            name: each
            for name, each in gone.items()
            if each.gone is not None and (now - each.gone).total_seconds() < _GONE_SECONDS
        }
        self.others = {**lately, **there}
        self._on_peers([each.status.peer for each in there.values() if each.status.peer])

    async def run(self) -> None:
        """Forever: publish what has changed."""
        while True:
            status, health = await asyncio.to_thread(self._made)  # counting takes milliseconds with many backends
            self._publish(status, health)
            self._tell_rival()
            await asyncio.sleep(_LOOK_SECONDS)

    def _made(self) -> tuple[dict[str, Any], NodeHealth]:
        return self._status().data(), self._health_now()

    def _publish(self, status: dict[str, Any], health: NodeHealth) -> None:
        now = self._clock()
        told = {**status, "instance": self._instance}
        if len(str(told)) > _MOST_BYTES:
            told.pop("vip_generations", None)
        if _without_rates(told) != _without_rates(self._told) or now - self._rates_told_at >= _RATES_SECONDS:
            if told != self._told:
                self._repository.publish("status", told)
            self._told, self._rates_told_at = told, now
        if health is not self.health:
            self.health = health
            self._repository.publish("health", health.data())

    def _health_now(self) -> NodeHealth:
        """Return what this node sees, made anew if something has changed and it was not made just now."""
        now, snapshot, changes = self._clock(), self._writer.snapshot, self._writer.health.changes
        of = (snapshot, changes)
        if self._health_of is not None and (
            (self._health_of[0] is snapshot and self._health_of[1] == changes)
            or now - self._health_made_at < _HEALTH_SECONDS
        ):
            return self.health
        self._health_of, self._health_made_at = of, now
        return NodeHealth.made(snapshot.generation, self._out(snapshot))

    def _out(self, snapshot: Snapshot) -> Iterator[tuple[tuple[str, str], SeenHealth]]:
        known, ahead = dict(self._writer.health.known), self._steady.ahead()
        for vip, backend in snapshot.backends():
            found = known.get(backend.id)
            if found is None or found.health is not Health.UP:
                place = vip.vip.key.path, str(backend.backend.address)
                seen = SeenHealth(Health.UNKNOWN, "", 0.0)
                if found is not None:
                    seen = SeenHealth(found.health, found.reason, (found.since + ahead).timestamp())
                yield place, seen

    def _look_at_own(self, told: Json) -> None:
        """See whether what is published under this node's name is what it has published itself."""
        if told.get("instance") == self._instance:
            self._seen_own = True
        elif self._seen_own:  # what was there before is of this node's last life
            self._rival_at = self._clock()

    def _tell_rival(self) -> None:
        what = f"the name {self._status.name}"
        if self._clock() - self._rival_at < _RIVAL_SECONDS:
            why = f"another balancer with this store is called {self._status.name}, too: give each its own with --node"
            self._drifts.stands(DriftKind.PEER, what, why)
        else:
            self._drifts.well(DriftKind.PEER, what)


def _without_rates(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if name not in _RATES}


def _node_of(name: str, told: Mapping[str, Json]) -> StoreNode | None:
    """Return the node that publishes this; None if it says nothing of itself that can be understood."""
    try:
        status = NodeStatus.of(dict(told.get("status", {})))
    except InvalidError:
        return None
    return StoreNode(status, NodeHealth.of(told.get("health"))) if status.name == name else None
