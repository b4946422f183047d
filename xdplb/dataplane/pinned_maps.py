"""The maps of one data plane: made, taken up where they are pinned, and more of them where features come."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from xdplb.model.errors import ConflictError

from . import access_index, layout
from .features import Features
from .inner_maps import swap_element
from .map_specs import OPTIONAL, MapSpec, map_specs
from .maps import BpfMap
from .pins import Meta
from .plane import Capacity

__all__ = ["Maps"]

_EMPTY = {"access4": access_index.build4, "access6": access_index.build6}
"""How to build what is empty but not all zeros."""


@dataclass(slots=True)
class Maps:
    """All maps of one data plane, open; those that no feature needs are None."""

    pin_dir: Path
    capacity: Capacity
    meta: Meta
    vip_index: BpfMap
    vip_prefixes: BpfMap
    vip_prefixes6: BpfMap
    vip_tables: BpfMap
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
    quic_servers: BpfMap
    tx_ports: BpfMap
    flows: BpfMap
    probation: BpfMap
    fragments: BpfMap
    flows6: BpfMap | None = None
    probation6: BpfMap | None = None
    vip_index6: BpfMap | None = None
    source_buckets: BpfMap | None = None
    access4: BpfMap | None = None
    access6: BpfMap | None = None

    @classmethod
    def create(cls, pin_dir: Path, capacity: Capacity, features: Features = frozenset()) -> Self:
        """Create and pin all maps, with no VIPs in them; `meta` last, so that it says that all are there."""
        maps = {spec.name: _make(pin_dir, spec) for spec in map_specs(capacity, features)}
        meta = Meta.create(pin_dir, capacity, features)
        return cls(pin_dir, capacity, meta, **maps)

    @classmethod
    def adopt(cls, pin_dir: Path, wanted: Capacity | None) -> Self:
        """Open the maps found pinned. ConflictError, naming what differs, if they are not of this layout and size."""
        meta = Meta.open(pin_dir)
        differences = _differences(meta, wanted)
        maps: dict[str, BpfMap] = {}
        if not differences:
            for spec in map_specs(meta.capacity, meta.features):
                found = spec.open_in(pin_dir)
                if found is None:
                    differences.append(f"the map {spec.name} is gone")
                elif not spec.fits(found):
                    differences.append(f"the map {spec.name} is of another kind or size")
                else:
                    maps[spec.name] = found
        if differences:
            raise ConflictError(
                f"the maps pinned in {pin_dir} cannot be adopted: {', '.join(differences)}",
                hint="`xdplb down --all` first, which ends what they carry, or start with the capacities they have",
            )
        return cls(pin_dir, meta.capacity, meta, **maps)

    def grow(self, features: Features, undo: ExitStack) -> None:
        """Create and pin the maps that these features need more; `undo` gets what takes them away again.

        What a process that died had begun to make is made anew: no program uses it.
        """
        for spec in map_specs(self.capacity, features):
            if getattr(self, spec.name) is None:
                (self.pin_dir / spec.name).unlink(missing_ok=True)
                setattr(self, spec.name, _make(self.pin_dir, spec))
                undo.callback(self._drop, spec.name)

    def shrink(self) -> None:
        """Take away the maps that the present program's features do not need."""
        for name in self._unneeded():
            self._drop(name)

    def _unneeded(self) -> Iterator[str]:
        features = self.meta.features
        return (name for name, needs in OPTIONAL.items() if not needs <= features)

    def _drop(self, name: str) -> None:
        setattr(self, name, None)
        (self.pin_dir / name).unlink(missing_ok=True)


def _make(pin_dir: Path, spec: MapSpec) -> BpfMap:
    """Create and pin a map; what is pinned is ready for use."""
    made = spec.create()
    if spec.name in _EMPTY:
        swap_element(made, 0, spec.name, _EMPTY[spec.name]({}))
    made.pin(pin_dir / spec.name)
    return made


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
