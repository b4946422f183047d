# SPDX-License-Identifier: Apache-2.0
"""The specification of each map of the packet path (bpf/lib/maps.h): its type, its size, and which features need it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import layout
from .features import Feature, Features
from .map_layout import MapLayout
from .maps import BpfMap, MapType
from .plane import Capacity
from .source import backend_slots, nat_groups, nat_places, vip_groups, vip_groups6
from .versions import VERSIONS

__all__ = [
    "BPF_F_NO_PREALLOC",
    "MAP_NAMES",
    "OPTIONAL",
    "TX_PORTS",
    "U32",
    "U64",
    "VIP_TABLE",
    "MapSpec",
    "map_layouts",
    "map_specs",
]

BPF_F_NO_PREALLOC = 1
BPF_F_MMAPABLE = 1 << 10
U32, U64 = np.dtype("<u4"), np.dtype("<u8")
TX_PORTS = 64
REASON_ROOM = 128  # REASONS of reasons.h
FRAGMENTS = 16384
SOURCE_BUCKETS = 262144
CPUS = 8192  # as many as a kernel can be built for

OPTIONAL: dict[str, Features] = {
    "flow_lines6": frozenset({Feature.IPV6}),
    "flows6": frozenset({Feature.IPV6}),
    "probation6": frozenset({Feature.IPV6}),
    "vip_index6": frozenset({Feature.IPV6}),
    "source_buckets": frozenset({Feature.LIMITS}),
    "access4": frozenset({Feature.ACCESS}),
    "access6": frozenset({Feature.ACCESS, Feature.IPV6}),
    "handshake_shares": frozenset({Feature.PASSIVE}),
    "handshakes": frozenset({Feature.PASSIVE}),
    "handshake_stats": frozenset({Feature.PASSIVE}),
    "shared_flows": frozenset({Feature.SYNC}),
    "shared_losses": frozenset({Feature.SYNC}),
    "nat_backends": frozenset({Feature.NAT}),
    "nat_direct": frozenset({Feature.NAT_DIRECT}),
    "nat_index": frozenset({Feature.NAT}),
    "client_ways": frozenset({Feature.NAT}),
    "nic_stats": frozenset({Feature.NICS}),
    "tunnel_sources": frozenset({Feature.DECAP}),
    "unwrapped_packets": frozenset({Feature.DECAP}),
}
"""The maps that take room, and the features that need them: they are there only with all of these."""


@dataclass(frozen=True, slots=True)
class MapSpec:
    """A map to create. A map of maps says in `inner` what it holds; `filled`: made with one at 0."""

    name: str
    kind: MapType
    key: np.dtype[Any]
    value: np.dtype[Any]
    max_entries: int
    flags: int = 0
    inner: MapSpec | None = None
    filled: bool = False

    def create(self) -> BpfMap:
        """Create the map in the kernel, not pinned. An inner map that it is `filled` with is empty."""
        inner = self.inner.create() if self.inner else None
        made = BpfMap.create(
            self.kind,
            self.name,
            key_size=self.sizes[0],
            value_size=self.sizes[1],
            max_entries=self.max_entries,
            flags=self.flags,
            inner=inner,
        )
        if inner is not None and self.filled:
            made.update(0, inner.fd)
        return made

    def open_in(self, folder: Path) -> BpfMap | None:
        """Open the map pinned in `folder`, None where there is none."""
        try:
            return BpfMap.open(folder / self.name)
        except FileNotFoundError:
            return None

    def fits(self, found: BpfMap) -> bool:
        """Whether an open map is what this asks for."""
        info = found.info
        return (info.type, info.key_size, info.value_size, info.max_entries) == (
            self.kind,
            *self.sizes,
            self.max_entries,
        )

    @property
    def sizes(self) -> tuple[int, int]:
        """The sizes of a key and a value to the kernel, which knows of no values in a ring."""
        return (0, 0) if self.kind is MapType.RINGBUF else (self.key.itemsize, self.value.itemsize)

    @property
    def needs(self) -> Features:
        """The features that the map is for: it exists only with all of them."""
        return OPTIONAL.get(self.name, frozenset())

    @property
    def layout(self) -> MapLayout:
        """How keys and values are laid out: of a map of maps, those of the inner maps."""
        held = self.inner or self
        return MapLayout(VERSIONS[self.name], held.key, held.value)


VIP_TABLE = MapSpec("vip_table", MapType.ARRAY, U32, layout.VIP_TABLE, 1, BPF_F_MMAPABLE)
"""The inner maps of vip_tables, which are mapped to be changed in place."""


def map_specs(capacity: Capacity, features: Features = frozenset()) -> tuple[MapSpec, ...]:
    """Return the maps there are with these features; the names are the pins' names."""
    specs = (
        *_vip_specs(capacity),
        *_backend_specs(capacity),
        *_flow_specs(capacity),
        *_guard_specs(capacity),
        *_handshake_specs(capacity),
        *_shared_specs(),
        *_tunnel_specs(),
        *_look_specs(),
    )
    return tuple(spec for spec in specs if spec.needs <= features)


def map_layouts(capacity: Capacity) -> dict[str, MapLayout]:
    """Return the layouts of all maps that there can be, by name."""
    return {spec.name: spec.layout for spec in map_specs(capacity, frozenset(Feature))}


def _vip_specs(capacity: Capacity) -> tuple[MapSpec, ...]:
    return (
        _swapped("vip_index", _element("vip_index", layout.vip_index(vip_groups(capacity)))),
        _swapped("vip_index6", _element("vip_index6", layout.vip6_index(vip_groups6(capacity)))),
        _swapped("vip_prefixes", _trie("vip_prefixes", layout.PREFIX4, capacity)),
        _swapped("vip_prefixes6", _trie("vip_prefixes6", layout.PREFIX6, capacity)),
        MapSpec(
            "vip_tables",
            MapType.ARRAY_OF_MAPS,
            U32,
            U32,
            capacity.vips,
            inner=VIP_TABLE,
        ),
        _array("table_prints", layout.TABLE_PRINT, capacity.vips),
        _array("vip_stats", layout.VIP_COUNTERS, capacity.vips, MapType.PERCPU_ARRAY),
        MapSpec("reason_stats", MapType.PERCPU_ARRAY, U32, U64, REASON_ROOM),
        _array("nic_stats", layout.NIC_COUNTERS, layout.NIC_PLACES, MapType.PERCPU_ARRAY),
    )


def _backend_specs(capacity: Capacity) -> tuple[MapSpec, ...]:
    ids = backend_slots(capacity)
    return (
        _array("backends", layout.BACKEND, ids),
        _array("backend_stats", layout.BACKEND_COUNTERS, ids, MapType.PERCPU_ARRAY),
        _array("backend_loads", layout.BACKEND_LOAD, ids),
        _array("backend_doubts", layout.BACKEND_DOUBT, ids),
        _array("second_stats", layout.SECOND_COUNTERS, ids, MapType.PERCPU_ARRAY),
        MapSpec("vip_strays", MapType.ARRAY, U32, U64, capacity.vips),
        MapSpec("quic_servers", MapType.HASH, layout.QUIC_KEY, U32, ids, BPF_F_NO_PREALLOC),
        MapSpec("nat_backends", MapType.HASH, layout.NAT_KEY, U32, nat_places(capacity), BPF_F_NO_PREALLOC),
        MapSpec("nat_index", MapType.ARRAY, U32, layout.NAT_GROUP, nat_groups(capacity), BPF_F_MMAPABLE),
        _array("client_ways", layout.CLIENT_WAY, 2),
        MapSpec("nat_direct", MapType.LPM_TRIE, layout.NAT_DIRECT_KEY, U32, nat_places(capacity), BPF_F_NO_PREALLOC),
        MapSpec("tx_ports", MapType.DEVMAP_HASH, U32, U32, TX_PORTS),
    )


def _flow_specs(capacity: Capacity) -> tuple[MapSpec, ...]:
    on_probation = max(capacity.flows // 4, 1)
    lines = capacity.flows // layout.FLOW_WAYS + 1
    return (
        MapSpec("flow_lines", MapType.ARRAY, U32, layout.FLOW_LINE, lines, BPF_F_MMAPABLE),
        MapSpec("flow_lines6", MapType.ARRAY, U32, layout.FLOW6_LINE, lines, BPF_F_MMAPABLE),
        _lru("flows", layout.FLOW_KEY, layout.FLOW, capacity.flows),
        _lru("flows6", layout.FLOW6_KEY, layout.FLOW, capacity.flows),
        _lru("probation", layout.FLOW_KEY, layout.FLOW, on_probation),
        _lru("probation6", layout.FLOW6_KEY, layout.FLOW, on_probation),
        _lru("fragments", layout.FRAGMENT_KEY, layout.FRAGMENT, FRAGMENTS),
    )


def _guard_specs(capacity: Capacity) -> tuple[MapSpec, ...]:
    return (
        _array("vip_guards", layout.VIP_GUARD, capacity.vips),
        _array("vip_buckets", layout.BUCKET, capacity.vips),
        _lru("source_buckets", layout.SOURCE_KEY, layout.BUCKET, SOURCE_BUCKETS),
        _swapped("access4", _element("access4", layout.ACCESS4)),
        _swapped("access6", _element("access6", layout.ACCESS6)),
        MapSpec("answer_budget", MapType.PERCPU_ARRAY, U32, U64, 1),
    )


def _handshake_specs(capacity: Capacity) -> tuple[MapSpec, ...]:
    ids = backend_slots(capacity)
    return (
        MapSpec("handshake_shares", MapType.ARRAY, U32, U32, capacity.vips),
        MapSpec("handshakes", MapType.ARRAY, U32, layout.HANDSHAKE, layout.HANDSHAKES, BPF_F_MMAPABLE),
        MapSpec("handshake_stats", MapType.ARRAY, U32, layout.HANDSHAKE_COUNTERS, ids, BPF_F_MMAPABLE),
    )


def _shared_specs() -> tuple[MapSpec, ...]:
    return (
        MapSpec("shared_flows", MapType.RINGBUF, U32, layout.SHARED_FLOW, layout.SHARED_FLOWS_BYTES),
        MapSpec("shared_losses", MapType.PERCPU_ARRAY, U32, U64, 1),
    )


def _tunnel_specs() -> tuple[MapSpec, ...]:
    entries = layout.TUNNEL_SOURCES
    return (
        MapSpec("tunnel_sources", MapType.LPM_TRIE, layout.TUNNEL_KEY, U32, entries, BPF_F_NO_PREALLOC),
        MapSpec("unwrapped_packets", MapType.PERCPU_ARRAY, U32, U64, 1),
    )


def _look_specs() -> tuple[MapSpec, ...]:
    return (
        _element("explain_decision", layout.DECISION),
        _array("capture_decision", layout.DECISION, 1, MapType.PERCPU_ARRAY),
        _element("capture_filter", layout.CAPTURE_FILTER),
        MapSpec("capture_events", MapType.PERF_EVENT_ARRAY, U32, U32, CPUS),
    )


def _array(name: str, value: np.dtype[np.void], entries: int, kind: MapType = MapType.ARRAY) -> MapSpec:
    return MapSpec(name, kind, U32, value, entries)


def _lru(name: str, key: np.dtype[np.void], value: np.dtype[np.void], entries: int) -> MapSpec:
    return MapSpec(name, MapType.LRU_HASH, key, value, entries)


def _element(name: str, value: np.dtype[np.void]) -> MapSpec:
    return MapSpec(name, MapType.ARRAY, U32, value, 1)


def _trie(name: str, key: np.dtype[np.void], capacity: Capacity) -> MapSpec:
    """Return a trie with room for a prefix of each VIP. The kernel makes none with preallocated elements."""
    return MapSpec(name, MapType.LPM_TRIE, key, layout.VIP_RULES_VALUE, capacity.vips, BPF_F_NO_PREALLOC)


def _swapped(name: str, inner: MapSpec) -> MapSpec:
    return MapSpec(name, MapType.ARRAY_OF_MAPS, U32, U32, 1, inner=inner, filled=True)


MAP_NAMES = tuple(spec.name for spec in map_specs(Capacity(), frozenset(Feature)))
"""All that there can be."""
