"""What is pinned under a pin dir: the names, and `meta`, which says what the other pins were made for."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Self

import numpy as np
from numpy.typing import NDArray

from . import layout
from .features import Features, feature_bits, features_of_bits
from .maps import BpfMap, MapType
from .plane import Capacity

__all__ = [
    "DECAP",
    "META",
    "PROGRAM",
    "PROGRAM_EXPLAIN",
    "PROGRAM_NEXT",
    "Meta",
    "link_name",
    "linked_interface",
]

DECAP = "decap"  # the folder, and the program, of the backends' side
PROGRAM = "program"
PROGRAM_NEXT = "program_next"  # compiled and not yet on every NIC
PROGRAM_EXPLAIN = "program_explain"  # says what the program would do
META = "meta"
LINK_PREFIX = "link_"


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
        self._writing = Lock()  # the program that explains is made in a thread of its own

    @classmethod
    def create(cls, folder: Path, capacity: Capacity, features: Features = frozenset()) -> Self:
        """Pin a new one, for no program yet."""
        made = BpfMap.create(MapType.ARRAY, META, value_size=layout.META.itemsize)
        record = np.zeros(1, layout.META)
        record["layout_version"] = layout.LAYOUT_VERSION
        record["vips"], record["backends"], record["flows"] = capacity.vips, capacity.backends, capacity.flows
        record["features"] = feature_bits(features)
        made.update(0, record)
        made.pin(folder / META)
        return cls(made)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the one pinned in `folder`, of whatever layout it is."""
        return cls(BpfMap.open(folder / META))

    @property
    def layout_version(self) -> int:
        """The version of layout.h that the maps follow; of a meta of another one, only this can be read."""
        return int.from_bytes(self._map.read(0)[:4], "little")

    @property
    def capacity(self) -> Capacity:
        """How much the maps hold."""
        record = self._record()
        return Capacity(int(record["vips"][0]), int(record["backends"][0]), int(record["flows"][0]))

    @property
    def features(self) -> Features:
        """What the pinned program is compiled for, and its maps are there for."""
        return features_of_bits(int(self._record()["features"][0]))

    @property
    def program_hash(self) -> int:
        """The hash of the source of the pinned program, 0 where none was loaded yet."""
        return int(self._record()["program_hash"][0])

    @property
    def explain_hash(self) -> int:
        """The same of the program that explains."""
        return int(self._record()["explain_hash"][0])

    def set_program(self, program_hash: int, features: Features) -> None:
        """Note what the pinned program was made from and for, in one write."""
        with self._writing:
            record = self._record()
            record["program_hash"], record["features"] = program_hash, feature_bits(features)
            self._map.update(0, record)

    def set_explain_hash(self, value: int) -> None:
        """Note what the program that explains was made from."""
        with self._writing:
            record = self._record()
            record["explain_hash"] = value
            self._map.update(0, record)

    def _record(self) -> NDArray[np.void]:
        record: NDArray[np.void] = np.frombuffer(self._map.read(0), layout.META).copy()
        return record
