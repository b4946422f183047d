# SPDX-License-Identifier: Apache-2.0
"""Adds to counters that packets count in, without losing a count.

User space can only overwrite the value of a per-CPU map, and what a packet counted between its reading and its writing
would be lost. So a program of a few instructions adds, atomically, to the counters of the CPU that it runs on: it is
never run in the middle of a packet on that CPU, and a packet that comes in the middle of it comes before or after the
one instruction that adds. In the same run it notes in a map that this key is done: a process that is killed at any time
goes on where it was.
"""

from __future__ import annotations

import struct
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from .libbpf import XDP_PASS, load_xdp, prog_test_run
from .maps import BpfMap

__all__ = ["CounterMover"]

R0, R1, R2, R3, R6, R7, R8, R9, FP = 0, 1, 2, 3, 6, 7, 8, 9, 10
KEY_AT, AMOUNTS_AT = 0, 8  # in the packet that the program is run on
LOOKUP = 1  # BPF_FUNC_map_lookup_elem
MIN_FRAME = 16


class CounterMover:
    """Adds to the values of one per-CPU map, once for each key: `moved`, an array of u32, says which are done."""

    def __init__(self, counters: BpfMap, moved: BpfMap) -> None:
        self._fields = counters.info.value_size // 8
        self._program = load_xdp("move_counters", _program(counters, moved, self._fields))

    def add(self, key: int, amounts: NDArray[np.uint64]) -> None:
        """Add one amount to each field of `key`; nothing where that was done before."""
        packet = struct.pack("=II", key, 0) + amounts.astype("<u8").tobytes()
        prog_test_run(self._program, packet.ljust(MIN_FRAME, b"\0"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._program.close()


def _instruction(code: int, to: int = 0, source: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    return struct.pack("=BBhi", code, to | source << 4, offset, immediate)


def _lookup(found: BpfMap) -> list[bytes]:
    """Look up the key on the stack: r0 is its value, or 0."""
    return [
        _instruction(0x18, R1, 1, 0, found.fd.fileno()),  # r1 = map
        _instruction(0),
        _instruction(0xBF, R2, FP),  # r2 = fp - 4
        _instruction(0x07, R2, immediate=-4),
        _instruction(0x85, immediate=LOOKUP),
    ]


def _program(counters: BpfMap, moved: BpfMap, fields: int) -> bytes:
    adding = [
        part
        for field in range(fields)
        for part in (
            _instruction(0x79, R3, R6, AMOUNTS_AT + 8 * field),  # r3 = amount
            _instruction(0xDB, R0, R3, 8 * field),  # lock *(u64 *)(r0 + ...) += r3
        )
    ]
    found_new = [
        *_lookup(counters),
        _instruction(0x15, R0, offset=1 + len(adding)),  # no such key: out
        _instruction(0x62, R9, immediate=1),  # it is done
        *adding,
    ]
    not_moved = [
        _instruction(0x61, R3, R0),  # r3 = whether it is done
        _instruction(0x55, R3, offset=1 + len(found_new)),  # out
        _instruction(0xBF, R9, R0),
        *found_new,
    ]
    body = [
        _instruction(0x61, R8, R6, KEY_AT),  # the key, onto the stack
        _instruction(0x63, FP, R8, -4),
        *_lookup(moved),
        _instruction(0x15, R0, offset=len(not_moved)),  # out
        *not_moved,
    ]
    return b"".join(
        [
            _instruction(0x61, R6, R1, 0),  # r6 = data, r7 = data_end
            _instruction(0x61, R7, R1, 4),
            _instruction(0xBF, R2, R6),
            _instruction(0x07, R2, immediate=max(AMOUNTS_AT + 8 * fields, MIN_FRAME)),
            _instruction(0x2D, R2, R7, len(body)),  # r2 > r7: out
            *body,
            _instruction(0xB7, R0, immediate=XDP_PASS),
            _instruction(0x95),
        ]
    )
