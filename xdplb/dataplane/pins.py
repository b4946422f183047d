# SPDX-License-Identifier: Apache-2.0
"""The pins of a pin dir: their names, and `meta`, which says what the other pins were made for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Self

import numpy as np
from numpy.typing import NDArray

from xdplb.model.errors import ConflictError

from . import layout, older_layouts
from .features import Features, feature_bits, features_of_bits
from .libbpf import Fd
from .map_layout import MapLayout, dump_layouts, load_layouts
from .maps import BpfMap, MapType
from .plane import Capacity
from .versions import DOWN_AND_UP

__all__ = [
    "CODE",
    "CODE_BEFORE",
    "CODE_NEXT",
    "DECAP",
    "INSTANCE",
    "META",
    "NEXT",
    "PROGRAM",
    "PROGRAM_BEFORE",
    "PROGRAM_EXPLAIN",
    "PROGRAM_NEXT",
    "WATCH",
    "Meta",
    "link_name",
    "linked_interface",
]

DECAP = "decap"  # the folder, and the program, of the backends' side
NEXT = "next"  # the folder of maps that are to take the place of those beside it, see takeover.py
PROGRAM = "program"
PROGRAM_NEXT = "program_next"  # compiled and not yet on every NIC
PROGRAM_BEFORE = "program_before"  # replaced a moment ago, and kept until the new one has shown that it is no worse
PROGRAM_EXPLAIN = "program_explain"  # says what the program would do
CODE = "program_code"  # of each of these, see program_code.py
CODE_NEXT = "program_code_next"
CODE_BEFORE = "program_code_before"
WATCH = "watch"  # what was counted before that, see swap_watch.py
META = "meta"
INSTANCE = "instance"  # says which state the maps belong to, see mark_map.py
LINK_PREFIX = "link_"


def link_name(interface: str) -> str:
    """Return the name of a NIC's link pin: a bpffs takes no dots, and no NIC has a colon in its name."""
    return LINK_PREFIX + interface.replace(".", ":")


def linked_interface(name: str) -> str | None:
    """Return the NIC of a link pin, None for another pin."""
    return name.removeprefix(LINK_PREFIX).replace(":", ".") if name.startswith(LINK_PREFIX) else None


class Meta:
    """The pinned map that says what the other pins of a folder were made for. One of an older layout is only read."""

    def __init__(self, found: BpfMap) -> None:
        self._map = found
        self._held = found.read(0)
        self._writing = Lock()  # the program that explains is made in a thread of its own

    @property
    def fd(self) -> Fd:
        """The descriptor of the map."""
        return self._map.fd

    @classmethod
    def create(
        cls,
        folder: Path,
        capacity: Capacity,
        features: Features,
        layouts: Mapping[str, MapLayout],
        *,
        program_hash: int = 0,
        state: int = 0,
    ) -> Self:
        """Create and pin a new one."""
        described = dump_layouts(layouts)
        made = BpfMap.create(MapType.ARRAY, META, value_size=layout.META.itemsize)
        value = np.zeros(1, layout.META)
        value["layout_version"] = layout.LAYOUT_VERSION
        value["vips"], value["backends"], value["flows"] = capacity.vips, capacity.backends, capacity.flows
        value["features"], value["program_hash"], value["state"] = feature_bits(features), program_hash, state
        value["layouts_bytes"] = len(described)
        value["layouts"][0, : len(described)] = np.frombuffer(described, np.uint8)
        made.update(0, value)
        made.pin(folder / META)
        return cls(made)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the one pinned in `folder`, of whatever layout it is."""
        return cls(BpfMap.open(folder / META))

    @property
    def layout_version(self) -> int:
        """The version of the layout of `meta` itself."""
        return int(self._value()["layout_version"][0])

    @property
    def capacity(self) -> Capacity:
        """How much the maps hold."""
        value = self._value()
        return Capacity(int(value["vips"][0]), int(value["backends"][0]), int(value["flows"][0]))

    @property
    def features(self) -> Features:
        """What the pinned program is compiled for, and its maps are there for."""
        return features_of_bits(int(self._value()["features"][0]))

    @property
    def program_hash(self) -> int:
        """The hash of the source of the pinned program, 0 where none was loaded yet."""
        return int(self._value()["program_hash"][0])

    @property
    def explain_hash(self) -> int:
        """The same of the program that explains."""
        return int(self._value()["explain_hash"][0])

    @property
    def refused_text(self) -> int:
        """The hash of the source of a program that was rolled back, whatever it was compiled for; 0 if none was."""
        return int(self._value()["refused_text"][0])

    @property
    def state(self) -> int:
        """How far these pins are with replacing others: META_* of layout, 0 if they do not."""
        return int(self._value()["state"][0])

    @property
    def layouts(self) -> dict[str, MapLayout]:
        """The layout of every map. ConflictError if `meta` has a version that this xdplb does not know."""
        version = self.layout_version
        if version == layout.LAYOUT_VERSION:
            value = self._value()
            return load_layouts(value["layouts"][0, : int(value["layouts_bytes"][0])].tobytes())
        if version == older_layouts.V3:
            return older_layouts.layouts_of_v3(self.capacity)
        known = f"{older_layouts.V3} to {layout.LAYOUT_VERSION}"
        raise ConflictError(
            f"the pinned maps have layout {version}, this xdplb knows {known}",
            hint=f"run the xdplb that made them, or {DOWN_AND_UP}",
        )

    def set_program(self, program_hash: int, features: Features) -> None:
        """Note what the pinned program was made from and for, in one write."""
        self._set(program_hash=program_hash, features=feature_bits(features))

    def set_explain_hash(self, value: int) -> None:
        """Note what the program that explains was made from."""
        self._set(explain_hash=value)

    def set_refused_text(self, value: int) -> None:
        """Note which source is not to be used again. One of an older layout has no place for it."""
        if self.layout_version == layout.LAYOUT_VERSION:
            self._set(refused_text=value)

    def set_state(self, state: int) -> None:
        """Note how far these pins are with replacing others."""
        self._set(state=state)

    def restore(self) -> bool:
        """Write it again if another process has changed it; return whether it had."""
        with self._writing:
            changed = self._map.read(0) != self._held
            if changed:
                self._map.update(0, self._held)
            return changed

    def _set(self, **fields: int) -> None:
        with self._writing:
            value = self._value()
            for name, number in fields.items():
                value[name] = number
            self._map.update(0, value)
            self._held = value.tobytes()

    def _value(self) -> NDArray[np.void]:
        """Return the value as it was written. Older layouts have only the first of its fields."""
        raw = self._held[: layout.META.itemsize].ljust(layout.META.itemsize, b"\0")
        value: NDArray[np.void] = np.frombuffer(raw, layout.META).copy()
        return value
