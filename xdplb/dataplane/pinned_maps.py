# SPDX-License-Identifier: Apache-2.0
"""The maps of one data plane: creates them, opens pinned ones, and adds and removes those of features."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from . import access_index
from .features import Features
from .inner_maps import swap_element
from .map_specs import OPTIONAL, MapSpec, map_layouts, map_specs
from .maps import BpfMap
from .mark_map import MarkMap
from .nat_index import empty_nat_index
from .pins import Meta
from .plane import Capacity

__all__ = ["Maps", "make_map"]

_EMPTY = {"access4": access_index.build4, "access6": access_index.build6}
"""How to build what is empty but not all zeros."""


@dataclass(slots=True)
class Maps:
    """All maps of one data plane, open; those that no feature needs are None."""

    pin_dir: Path
    capacity: Capacity
    meta: Meta
    instance: MarkMap
    vip_index: BpfMap
    vip_prefixes: BpfMap
    vip_prefixes6: BpfMap
    vip_tables: BpfMap
    table_prints: BpfMap
    vip_stats: BpfMap
    vip_guards: BpfMap
    vip_buckets: BpfMap
    reason_stats: BpfMap
    answer_budget: BpfMap
    explain_decision: BpfMap
    capture_decision: BpfMap
    capture_filter: BpfMap
    capture_events: BpfMap
    backends: BpfMap
    backend_stats: BpfMap
    backend_loads: BpfMap
    backend_doubts: BpfMap
    second_stats: BpfMap
    vip_strays: BpfMap
    quic_servers: BpfMap
    tx_ports: BpfMap
    flow_lines: BpfMap
    flows: BpfMap
    probation: BpfMap
    fragments: BpfMap
    flow_lines6: BpfMap | None = None
    flows6: BpfMap | None = None
    probation6: BpfMap | None = None
    vip_index6: BpfMap | None = None
    source_buckets: BpfMap | None = None
    access4: BpfMap | None = None
    access6: BpfMap | None = None
    handshake_shares: BpfMap | None = None
    handshakes: BpfMap | None = None
    handshake_stats: BpfMap | None = None
    shared_flows: BpfMap | None = None
    shared_losses: BpfMap | None = None
    nat_backends: BpfMap | None = None
    nat_direct: BpfMap | None = None
    nat_index: BpfMap | None = None
    client_ways: BpfMap | None = None
    nic_stats: BpfMap | None = None
    tunnel_sources: BpfMap | None = None
    unwrapped_packets: BpfMap | None = None

    @classmethod
    def create(cls, pin_dir: Path, capacity: Capacity, features: Features = frozenset()) -> Self:
        """Create and pin all maps, with no VIPs in them; `meta` last, so that it says that all are there."""
        maps = {spec.name: make_map(spec) for spec in map_specs(capacity, features)}
        for name, made in maps.items():
            made.pin(pin_dir / name)
        instance = MarkMap.open_or_create(pin_dir)
        meta = Meta.create(pin_dir, capacity, features, map_layouts(capacity))
        return cls(pin_dir, capacity, meta, instance, **maps)

    @classmethod
    def adopt(cls, pin_dir: Path) -> Self:
        """Open the maps found pinned, of the present layout: see takeover.py for others."""
        meta = Meta.open(pin_dir)
        maps = {spec.name: BpfMap.open(pin_dir / spec.name) for spec in map_specs(meta.capacity, meta.features)}
        return cls(pin_dir, meta.capacity, meta, MarkMap.open_or_create(pin_dir), **maps)

    def grow(self, features: Features, undo: ExitStack) -> None:
        """Create and pin the additional maps that these features need; `undo` gets what removes them.

        One that a dead process left is created again: no program uses it.
        """
        for spec in map_specs(self.capacity, features):
            if getattr(self, spec.name) is None:
                (self.pin_dir / spec.name).unlink(missing_ok=True)
                made = make_map(spec)
                made.pin(self.pin_dir / spec.name)
                setattr(self, spec.name, made)
                undo.callback(self._drop, spec.name)

    def shrink(self) -> None:
        """Remove the maps that the present program's features do not need."""
        for name in self._unneeded():
            self._drop(name)

    def _unneeded(self) -> Iterator[str]:
        features = self.meta.features
        return (name for name, needs in OPTIONAL.items() if not needs <= features)

    def _drop(self, name: str) -> None:
        setattr(self, name, None)
        (self.pin_dir / name).unlink(missing_ok=True)


def make_map(spec: MapSpec) -> BpfMap:
    """Create a map that is ready for use. An empty map is not all zeros for some."""
    made = spec.create()
    if spec.name == "nat_index":
        empty_nat_index(made)
    if spec.name in _EMPTY:
        swap_element(made, 0, spec.name, _EMPTY[spec.name]({}))
    return made
