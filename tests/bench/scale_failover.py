"""When VIPs are rid of a backend: watches the pinned tables from outside the daemon."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.bench.scale_host import Cost, Daemon
from xdplb.dataplane import layout
from xdplb.dataplane.maps import BpfMap

__all__ = ["Failover", "Tables"]

LOOK_SECONDS = 0.002
PATIENCE_SECONDS = 600
OWNER = np.uint32(0xFFFF)


@dataclass(frozen=True)
class Failover:
    """When each VIP's table no longer named the backend (seconds since the epoch, by VIP id), and what it cost."""

    at: Mapping[int, float]
    cpu: float

    def lags(self, since: Mapping[int, float]) -> list[float]:
        """Return how long after `since`, by VIP id, each was rid of it, in order."""
        return sorted(self.at[vip_id] - began for vip_id, began in since.items())


class Tables:
    """The tables of VIPs, as pinned: a table that is swapped is another map, with another id."""

    def __init__(self, pin_dir: Path) -> None:
        self._outer = BpfMap.open(pin_dir / "vip_tables")

    def names(self, vip_id: int, backend_id: int) -> bool:
        """Return whether new connections may go to this backend."""
        found = self._outer.lookup(vip_id)
        if found is None:
            return False
        with BpfMap.by_id(int.from_bytes(found, "little")) as table:
            slots = np.frombuffer(table.read(0), np.uint32, count=layout.TABLE_SIZE)
        return bool((slots & OWNER == backend_id).any())

    def watch(self, daemon: Daemon, backends: Mapping[int, int]) -> Failover:
        """Return when these VIPs are rid of these backends, ids by ids. Looks at every table that is swapped."""
        at: dict[int, float] = {}
        seen = self._ids()
        end = time.monotonic() + PATIENCE_SECONDS
        with Cost(daemon) as cost:
            left = sorted(backends)
            while left:
                now, ids = time.time(), self._ids()
                # A table may also change without being swapped: look at one that was not, too.
                asked = {vip_id for vip_id in left if ids[vip_id] != seen[vip_id]} | {left[len(at) % len(left)]}
                at.update({vip_id: now for vip_id in asked if not self.names(vip_id, backends[vip_id])})
                seen, left = ids, [vip_id for vip_id in left if vip_id not in at]
                if time.monotonic() > end:
                    raise SystemExit(f"scripts/bench: {len(left)} VIPs still have a dead backend")
                time.sleep(LOOK_SECONDS)
        return Failover(at, cost.spent.cpu)

    def _ids(self) -> list[int]:
        """Return the ids of the tables, by VIP id."""
        keys, values = self._outer.read_all()
        found = dict(
            zip(keys.view(np.uint32).reshape(-1).tolist(), values.view(np.uint32).reshape(-1).tolist(), strict=True)
        )
        return [found.get(vip_id, 0) for vip_id in range(self._outer.info.max_entries)]
