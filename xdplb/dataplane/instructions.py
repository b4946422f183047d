# SPDX-License-Identifier: Apache-2.0
"""The instructions of a program, apart from the maps that it was loaded with: it can be loaded again with others.

In a program that is to be loaded, an instruction of 16 bytes (BPF_LD | BPF_IMM | BPF_DW, its source BPF_PSEUDO_MAP_FD)
stands for each use of a map, and has the map's descriptor as its number.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .libbpf import Fd, load_xdp
from .maps import BpfMap

__all__ = ["Instructions", "split"]

_INSTRUCTION = np.dtype([("code", "u1"), ("registers", "u1"), ("offset", "<i2"), ("number", "<i4")])
_LOAD_64 = 0x18
_MAP_FD = 1  # BPF_PSEUDO_MAP_FD, in the source register: the upper half


@dataclass(frozen=True, slots=True)
class Instructions:
    """`code` as it would be loaded, but with places in `map_ids` where it has descriptors. The ids are the kernel's."""

    code: bytes
    map_ids: tuple[int, ...]

    def load(self, name: str, maps: Sequence[BpfMap]) -> Fd:
        """Load an XDP program of them with these maps, in the order of `map_ids`."""
        return load_xdp(name, self.using(maps))

    def using(self, maps: Sequence[BpfMap]) -> bytes:
        """Return the code as it is loaded with these maps, in the order of `map_ids`."""
        code = np.frombuffer(self.code, _INSTRUCTION).copy()
        uses = _uses_of_maps(code)
        descriptors = np.array([found.fd.fileno() for found in maps], np.int32)
        code["number"][uses] = descriptors[code["number"][uses]]
        return code.tobytes()


def split(loaded: bytes) -> Instructions:
    """Take a program as it was loaded apart, while the descriptors in it are open in this process."""
    code = np.frombuffer(loaded, _INSTRUCTION).copy()
    uses = _uses_of_maps(code)
    descriptors, places = np.unique(code["number"][uses], return_inverse=True)
    code["number"][uses] = places
    return Instructions(code.tobytes(), tuple(_map_id(number) for number in descriptors.tolist()))


def _uses_of_maps(code: NDArray[np.void]) -> NDArray[np.intp]:
    """Return where maps are used. The second half of an instruction of 16 bytes has the code 0."""
    return np.flatnonzero((code["code"] == _LOAD_64) & (code["registers"] >> 4 == _MAP_FD))


def _map_id(descriptor: int) -> int:
    return BpfMap(Fd(os.dup(descriptor))).info.id
