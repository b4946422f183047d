# SPDX-License-Identifier: Apache-2.0
"""When VIPs are rid of a backend: watches the pinned tables from outside the daemon."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.bench.scale_host import Daemon
from xdplb.dataplane.inner_maps import open_inner
from xdplb.dataplane.maps import BpfMap
from xdplb.dataplane.plane import Slots
from xdplb.dataplane.vip_tables import mapped

__all__ = ["Failover", "Tables"]

LOOK_SECONDS = 0.002
PATIENCE_SECONDS = 600
OWNER = np.uint32(0xFFFF)


@dataclass(frozen=True)
class Failover:
    """When each VIP's table no longer named the backend (seconds since the epoch, by VIP id), and what it cost.

    `began` is when they failed; `cpu` are the daemon's seconds of CPU from right before the first of them to the last.
    """

    began: float
    at: Mapping[int, float]
    cpu: float

    def lags(self, since: Mapping[int, float]) -> list[float]:
        """Return how long after `since`, by VIP id, each was rid of it, in order."""
        return sorted(self.at[vip_id] - began for vip_id, began in since.items())


class Tables:
    """The tables of VIPs as they lie in the kernel."""

    def __init__(self, pin_dir: Path) -> None:
        self._outer = BpfMap.open(pin_dir / "vip_tables")

    def watch(self, daemon: Daemon, backends: Mapping[int, int], fail: Callable[[], float]) -> Failover:
        """Let the backends with these ids, by VIP id, `fail`, and return when the VIPs are rid of them.

        Tables are written from the first slot to the last, so that the last slot of a backend is what is looked at.
        """
        at: dict[int, float] = {}
        tables = {vip_id: self._open(vip_id) for vip_id in backends}
        last = {
            vip_id: int(np.flatnonzero(table & OWNER == backends[vip_id]).max(initial=0))
            for vip_id, table in tables.items()
        }
        began, end = fail(), time.monotonic() + PATIENCE_SECONDS
        before = cpu = daemon.cpu_seconds()
        left = list(backends)
        while left:
            now = time.time()
            gone = [vip_id for vip_id in left if tables[vip_id][last[vip_id]] & OWNER != backends[vip_id]]
            if not at:  # what came before the first look that finds a change belongs to the wait
                before, cpu = cpu, daemon.cpu_seconds()
            at.update(dict.fromkeys(gone, now))
            if gone:
                left = [vip_id for vip_id in left if vip_id not in at]
            if time.monotonic() > end:
                raise SystemExit(f"scripts/bench: {len(left)} VIPs still have a dead backend")
            time.sleep(LOOK_SECONDS)
        return Failover(began, at, daemon.cpu_seconds() - before)

    def _open(self, vip_id: int) -> Slots:
        found = open_inner(self._outer, vip_id)
        if found is None:
            raise SystemExit(f"scripts/bench: VIP {vip_id} has no table")
        with found:
            return mapped(found)
