# SPDX-License-Identifier: Apache-2.0
"""The lines of records of open flows (bpf/lib/flow_line.h), read and written like a hash table of the kernel.

The map is an array that is mapped into this process. A place is emptied by one store of 8 bytes to its last word, which
a program sees as a whole. Between the comparison of the key and that store another flow may take the place, if its
record was silent for longer than its VIP's idle timeout: that flow is then without a record, as if it were evicted.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from . import layout
from .maps import BpfMap

__all__ = ["FlowLines", "line_numbers"]

_MIX_A, _MIX_B, _MIX_C = (np.uint64(number) for number in (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B, 0x243F6A8885A308D3))
_KEY_MASK = np.uint64((1 << layout.FLOW_KEY_BITS) - 1)
_BUSY = np.uint64(layout.FLOW_BUSY)
_CHUNK = 4096


class FlowLines:
    """The lines of one IP version, open as long as the block runs. Keys and values are those of `flows` or `flows6`.

    `line` is the layout of a line, the present one of its size if it is not given.
    """

    def __init__(self, lines: BpfMap, line: np.dtype[np.void] | None = None) -> None:
        if line is None:
            known = (layout.FLOW_LINE, layout.FLOW6_LINE)
            line = next(each for each in known if each.itemsize == lines.info.value_size)
        place, (ways,) = line["places"].base, line["places"].shape
        self._words = place.itemsize // 8
        self._key_words = place["addresses"].itemsize // 8 + 1
        self._value = slice(self._key_words, self._key_words + place["flow"].itemsize // 8)
        self._count = lines.info.max_entries
        self._memory = lines.mapped(writable=True)
        words = np.frombuffer(self._memory, np.uint64, self._count * ways * self._words)
        self._places = words.reshape(self._count, ways, self._words)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        del self._places
        self._memory.close()

    def read_all(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return all keys and values, each of shape (n, bytes)."""
        last = self._places[:, :, self._key_words - 1]
        found = self._places[(last != 0) & (last & _BUSY == 0)]
        last = found[:, self._key_words - 1]  # again: a place may have changed hands
        found = found[(last != 0) & (last & _BUSY == 0)]
        return _bytes(self._keys_of(found)), _bytes(found[:, self._value])

    def lookup(self, key: bytes) -> bytes | None:
        """Return the value of a key, None where there is none."""
        wanted = np.frombuffer(key, np.uint64)
        places = self._places[line_numbers(wanted[None, :], self._count)[0]]
        here = np.flatnonzero((self._keys_of(places) == wanted).all(axis=1))
        if not len(here):
            return None
        value: bytes = places[here[0], self._value].tobytes()
        return value

    def have(self, keys: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which of these keys have a place."""
        wanted = np.ascontiguousarray(keys).view(np.uint64).reshape(-1, self._key_words)
        places = self._places[line_numbers(wanted, self._count)]
        there: NDArray[np.bool_] = (self._keys_of(places) == wanted[:, None, :]).all(axis=2).any(axis=1)
        return there

    def delete_batch(self, keys: NDArray[Any]) -> None:
        """Empty the places of these keys; those without one are no error."""
        wanted = np.ascontiguousarray(keys).view(np.uint64).reshape(-1, self._key_words)
        for start in range(0, len(wanted), _CHUNK):
            part = wanted[start : start + _CHUNK]
            numbers = line_numbers(part, self._count)
            places = self._places[numbers]
            line, way = np.nonzero((self._keys_of(places) == part[:, None, :]).all(axis=2))
            self._places[numbers[line], way, self._key_words - 1] = 0

    def _keys_of(self, places: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Return the keys in places, shape (…, words), without what else is in their last word."""
        keys = places[..., : self._key_words].copy()
        keys[..., -1] &= _KEY_MASK
        return keys


def line_numbers(keys: NDArray[np.uint64], lines: int) -> NDArray[np.intp]:
    """Return which of the lines these keys belong to, shape (n, words): the hash of bpf/lib/flow_line.h."""
    addresses, ports = keys[:, 0], keys[:, -1]
    if keys.shape[1] > 2:
        upper, lower = (keys[:, place] ^ keys[:, place + 2] * _MIX_B for place in (0, 1))
        addresses = upper * _MIX_C + lower
    hashed = addresses * _MIX_A ^ ports * _MIX_B
    hashed ^= hashed >> np.uint64(29)
    hashed *= _MIX_C
    numbers: NDArray[np.intp] = ((hashed >> np.uint64(32)) * np.uint64(lines) >> np.uint64(32)).astype(np.intp)
    return numbers


def _bytes(words: NDArray[np.uint64]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(words).view(np.uint8).reshape(len(words), words.shape[1] * 8)
