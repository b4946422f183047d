"""The maps pinned under a pin dir: what they are, making them, and whether those found there can be adopted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from xdplb.model.errors import ConflictError

from . import layout, vip_index
from .maps import BpfMap, MapType
from .plane import Capacity
from .source import backend_slots, vip_groups

__all__ = [
    "DECAP",
    "MAP_NAMES",
    "META",
    "PROGRAM",
    "PROGRAM_NEXT",
    "MapSpec",
    "Maps",
    "Meta",
    "link_name",
    "linked_interface",
    "map_specs",
    "new_inner",
]

DECAP = "decap"  # the folder, and the program, of the backends' side
PROGRAM = "program"
PROGRAM_NEXT = "program_next"  # compiled and not yet on every NIC
META = "meta"
LINK_PREFIX = "link_"
TX_PORTS = 64
REASON_ROOM = 64  # more than there are, so that a new reason does not make the pinned map unusable


@dataclass(frozen=True, slots=True)
class MapSpec:
    """A map to create; `inner_size` is the value size of the one-element arrays a map of maps holds."""

    name: str
    kind: MapType
    key_size: int
    value_size: int
    max_entries: int
    inner_size: int = 0

    def create(self) -> BpfMap:
        """Create the map in the kernel, not pinned."""
        inner = new_inner(self.name, self.inner_size) if self.inner_size else None
        return BpfMap.create(
            self.kind,
            self.name,
            key_size=self.key_size,
            value_size=self.value_size,
            max_entries=self.max_entries,
            inner=inner,
        )

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
            self.key_size,
            self.value_size,
            self.max_entries,
        )


def new_inner(name: str, size: int) -> BpfMap:
    """Create an array of one element of `size` bytes, as the maps of maps hold."""
    return BpfMap.create(MapType.ARRAY, name, value_size=size)


def map_specs(capacity: Capacity) -> tuple[MapSpec, ...]:
    """Return the maps of the packet path (bpf/lib/maps.h); the names are the pins' names."""

    def array(name: str, value: np.dtype[np.void], entries: int, kind: MapType = MapType.ARRAY) -> MapSpec:
        return MapSpec(name, kind, 4, value.itemsize, entries)

    index_size = layout.vip_index(vip_groups(capacity)).itemsize
    per_cpu = MapType.PERCPU_ARRAY
    ids = backend_slots(capacity)
    return (
        MapSpec("vip_index", MapType.ARRAY_OF_MAPS, 4, 4, 1, index_size),
        MapSpec("vip_tables", MapType.ARRAY_OF_MAPS, 4, 4, capacity.vips, layout.VIP_TABLE.itemsize),
        array("backends", layout.BACKEND, ids),
        MapSpec("flows", MapType.LRU_HASH, layout.FLOW_KEY.itemsize, layout.FLOW.itemsize, capacity.flows),
        array("backend_stats", layout.BACKEND_COUNTERS, ids, per_cpu),
        array("vip_stats", layout.VIP_COUNTERS, capacity.vips, per_cpu),
        MapSpec("reason_stats", per_cpu, 4, 8, REASON_ROOM),
        MapSpec("tx_ports", MapType.DEVMAP_HASH, 4, 4, TX_PORTS),
    )


MAP_NAMES = tuple(spec.name for spec in map_specs(Capacity()))


def link_name(interface: str) -> str:
    """Return the name of a NIC's link pin: a bpffs takes no dots, and no NIC has a colon in its name."""
    return LINK_PREFIX + interface.replace(".", ":")


def linked_interface(name: str) -> str | None:
    """Return the NIC of a link pin, None for another pin."""
    return name.removeprefix(LINK_PREFIX).replace(":", ".") if name.startswith(LINK_PREFIX) else None


class Meta:
    """The pinned map that says what the other pins of a folder were made for."""

    def __init__(self, found: BpfMap) -> None:
        self._map = found

    @classmethod
    def create(cls, folder: Path, capacity: Capacity) -> Self:
        """Pin a new one, for no program yet."""
        made = BpfMap.create(MapType.ARRAY, META, value_size=layout.META.itemsize)
        record = np.zeros(1, layout.META)
        record[0] = (layout.LAYOUT_VERSION, capacity.vips, capacity.backends, capacity.flows, 0)
        made.update(0, record)
        made.pin(folder / META)
        return cls(made)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the one pinned in `folder`."""
        return cls(BpfMap.open(folder / META))

    @property
    def layout_version(self) -> int:
        """The version of layout.h that the maps follow."""
        return int(self._record()["layout_version"][0])

    @property
    def capacity(self) -> Capacity:
        """How much the maps hold."""
        record = self._record()
        return Capacity(int(record["vips"][0]), int(record["backends"][0]), int(record["flows"][0]))

    @property
    def program_hash(self) -> int:
        """The hash of the source of the pinned program, 0 where none was loaded yet."""
        return int(self._record()["program_hash"][0])

    def set_program_hash(self, value: int) -> None:
        """Note what the pinned program was made from."""
        record = self._record()
        record["program_hash"] = value
        self._map.update(0, record)

    def _record(self) -> NDArray[np.void]:
        record: NDArray[np.void] = np.frombuffer(self._map.read(0), layout.META).copy()
        return record


@dataclass(frozen=True, slots=True)
class Maps:
    """All maps of one data plane, open."""

    pin_dir: Path
    capacity: Capacity
    vip_index: BpfMap
    vip_tables: BpfMap
    backends: BpfMap
    flows: BpfMap
    backend_stats: BpfMap
    vip_stats: BpfMap
    reason_stats: BpfMap
    tx_ports: BpfMap
    meta: Meta

    @classmethod
    def create(cls, pin_dir: Path, capacity: Capacity) -> Self:
        """Create and pin all maps, with an empty VIP index; `meta` last, so that it says that all are there."""
        maps: dict[str, BpfMap] = {}
        for spec in map_specs(capacity):
            maps[spec.name] = spec.create()
            maps[spec.name].pin(pin_dir / spec.name)
        empty = vip_index.build([], vip_groups(capacity))
        with new_inner("vip_index", empty.nbytes) as inner:
            inner.update(0, empty)
            maps["vip_index"].update(0, inner.fd)
        meta = Meta.create(pin_dir, capacity)
        return cls(pin_dir, capacity, **maps, meta=meta)

    @classmethod
    def adopt(cls, pin_dir: Path, wanted: Capacity | None) -> Self:
        """Open the maps found pinned. ConflictError, naming what differs, if they are not of this layout and size."""
        meta = Meta.open(pin_dir)
        found = meta.capacity
        differences = _differences(meta, wanted)
        maps: dict[str, BpfMap] = {}
        if not differences:
            for spec in map_specs(found):
                found_map = spec.open_in(pin_dir)
                if found_map is None:
                    differences.append(f"the map {spec.name} is gone")
                elif not spec.fits(found_map):
                    differences.append(f"the map {spec.name} is of another kind or size")
                else:
                    maps[spec.name] = found_map
        if differences:
            raise ConflictError(
                f"the maps pinned in {pin_dir} cannot be adopted: {', '.join(differences)}",
                hint="`xdplb down --all` first, which ends what they carry, or start with the capacities they have",
            )
        return cls(pin_dir, found, **maps, meta=meta)


def _differences(meta: Meta, wanted: Capacity | None) -> list[str]:
    if meta.layout_version != layout.LAYOUT_VERSION:
        return [f"their layout is version {meta.layout_version}, this xdplb has {layout.LAYOUT_VERSION}"]
    if wanted is None:
        return []
    found = meta.capacity
    pairs = (
        ("VIPs", found.vips, wanted.vips),
        ("backends", found.backends, wanted.backends),
        ("flows", found.flows, wanted.flows),
    )
    return [f"they hold {there} {what}, {asked} were asked for" for what, there, asked in pairs if there != asked]
