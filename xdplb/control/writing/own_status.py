# SPDX-License-Identifier: Apache-2.0
"""What this node tells the others of itself: made in their thread, from what the control loop replaces as a whole."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from xdplb import __version__
from xdplb.control.clock import SteadyClock
from xdplb.control.state.snapshot import Snapshot
from xdplb.control.writing.node_watch import NodeWatch
from xdplb.control.writing.rate_watch import RateWatch
from xdplb.control.writing.state_digest import StateDigest
from xdplb.control.writing.vip_watch import VipWatch
from xdplb.control.writing.writer import Writer
from xdplb.model.backend import Health
from xdplb.model.node import SeenState
from xdplb.model.node_status import NodeStatus

__all__ = ["OwnStatus"]

_COUNT_SECONDS = 2.0
"""How often at most backends are counted: that takes milliseconds with tens of thousands."""


@dataclass(frozen=True, slots=True)
class _Health:
    """How many backends there are and are not up, and a digest of which ones."""

    backends: int = 0
    out: int = 0
    digest: str = ""


class OwnStatus:
    """Makes the status of this node. `url` and `peer` are where others reach it; `is_running` whether it serves."""

    def __init__(
        self,
        writer: Writer,
        node: NodeWatch,
        vips: VipWatch,
        rates: RateWatch,
        *,
        steady: SteadyClock,
        url: str,
        peer: str,
        is_running: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._writer, self._node, self._vips, self._rates = writer, node, vips, rates
        self._steady, self._url, self._peer, self._is_running, self._clock = steady, url, peer, is_running, clock
        self._began = steady.now()
        self._health = _Health()
        self._digest, self._lock = StateDigest(), threading.Lock()
        self._counted_of: Snapshot | None = None
        self._counted_changes = -1
        self._counted_at = float("-inf")
        self.last = NodeStatus(node.name, __version__, url=url, peer=peer)
        """What was told last. Replaced as a whole."""

    @property
    def name(self) -> str:
        """The name of this node."""
        return self._node.name

    def __call__(self) -> NodeStatus:
        """Return what this node says of itself now, in any thread."""
        snapshot = self._writer.snapshot
        self._count(snapshot)
        rates = self._rates.now()
        self.last = replace(
            self.last,
            generation=snapshot.generation,
            observed_generation=self._writer.applied.generation,
            digest=self._digest_of(snapshot),
            since=(self._began + self._steady.ahead()).timestamp(),
            state=self._node.state.value if self._is_running() else SeenState.STARTING.value,
            vips={status.value: count for status, count in dict(self._vips.counts).items() if count},
            backends=self._health.backends,
            backends_out=self._health.out,
            health=self._health.digest,
            connections_per_second=rates.connections,
            packets_per_second=rates.packets,
            vip_generations={key.path: vip.generation for key, vip in snapshot.vips.items()},
        )
        return self.last

    def _digest_of(self, snapshot: Snapshot) -> str:
        """Return the digest of the state: not before this node serves, since the first one takes longest."""
        with self._lock:
            return self._digest.of(snapshot) if self._is_running() else ""

    def _count(self, snapshot: Snapshot) -> None:
        """Count the backends, if something has changed and they were not counted just now."""
        now, changes = self._clock(), self._writer.health.changes
        is_counted = snapshot is self._counted_of and changes == self._counted_changes
        if is_counted or now - self._counted_at < _COUNT_SECONDS:
            return
        self._counted_of, self._counted_changes, self._counted_at = snapshot, changes, now
        known = dict(self._writer.health.known)
        count, out = 0, []
        for vip, backend in snapshot.backends():
            count += 1
            found = known.get(backend.id)
            if found is None or found.health is not Health.UP:
                out.append(f"{vip.vip.key} {backend.backend.address}")
        self._health = _Health(count, len(out), hashlib.sha256("\n".join(sorted(out)).encode()).hexdigest()[:16])
