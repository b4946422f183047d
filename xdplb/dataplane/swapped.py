# SPDX-License-Identifier: Apache-2.0
"""Maps of maps that hold one map, which is swapped whole, with a digest of what was put into each.

What another process has changed shows by the digest, so that nothing has to be decoded or kept to be compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from .inner_maps import open_inner, read_element, read_trie, swap_element, swap_trie
from .map_specs import MapSpec
from .maps import BpfMap

__all__ = ["Swapped"]

_KEYS_A_LOOK = 128  # a trie is read key by key: 2 ms
_LOW64 = (1 << 64) - 1


class Swapped:
    """Reads and swaps what these maps hold, by the maps' names."""

    def __init__(self) -> None:
        self._written: dict[str, tuple[int, int]] = {}
        """By name: the id of the map of maps, since one that a feature needs may be made again, and the digest."""

    def read_element(self, outer: BpfMap, name: str) -> bytes:
        """Return the one value of the array; what it is now counts as written."""
        value = read_element(outer, 0) or b""
        self._written[name] = outer.info.id, _digest(value)
        return value

    def read_trie(self, outer: BpfMap, name: str) -> list[tuple[bytes, bytes]]:
        """Return keys and values of the trie; what it has now counts as written."""
        entries = read_trie(outer)
        self._written[name] = outer.info.id, _digest_of_all(entries)
        return entries

    def swap_element(self, outer: BpfMap, name: str, value: NDArray[np.void], *, wait: bool = True) -> None:
        """Put a new array with this value in place of the one there; `wait` as in inner_maps.py."""
        swap_element(outer, 0, name, value, wait=wait)
        self._written[name] = outer.info.id, _digest(value.tobytes())

    def swap_trie(
        self, outer: BpfMap, name: str, spec: MapSpec, entries: Mapping[bytes, NDArray[np.void]], *, wait: bool = True
    ) -> None:
        """Put a new trie with these keys and values in place of the one there; `wait` as in inner_maps.py."""
        swap_trie(outer, spec, entries, wait=wait)
        self._written[name] = outer.info.id, _digest_of_all((key, value.tobytes()) for key, value in entries.items())

    def is_element_as_written(self, outer: BpfMap, name: str) -> bool:
        """Return whether the array has what was put into it; True if nothing was."""
        written = self._written.get(name)
        return written is None or written[0] != outer.info.id or _digest(read_element(outer, 0) or b"") == written[1]

    def look_at_trie(self, outer: BpfMap, name: str) -> Iterator[bool]:
        """Read some of the trie at each step; yield False until its end, then whether it is not as it was written."""
        written, inner, digest = self._written.get(name), open_inner(outer, 0), 0
        if inner is not None:
            with inner:
                for number, (key, value) in enumerate(inner.items(), 1):
                    digest = digest + _digest(key + value) & _LOW64
                    if number % _KEYS_A_LOOK == 0:
                        yield False
        is_told = written is not None and written[0] == outer.info.id
        # If it was swapped meanwhile, this was the old one.
        yield is_told and written is self._written.get(name) and written is not None and digest != written[1]


def _digest(value: bytes) -> int:
    return int.from_bytes(blake2b(value, digest_size=8).digest(), "little")


def _digest_of_all(entries: Iterable[tuple[bytes, bytes]]) -> int:
    """Return a digest that does not depend on the order, which is the kernel's."""
    return sum(_digest(key + value) for key, value in entries) & _LOW64
