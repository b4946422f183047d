# SPDX-License-Identifier: Apache-2.0
"""Reads what the program hands out for other balancers (bpf/lib/share_out.h), many at once.

A ring buffer of the kernel (BPF_MAP_TYPE_RINGBUF) is mapped into this process: a page with what the reader has read,
one with what was written, and the data, twice, one after the other, so that what goes over the end lies in one piece.
Each record has a head with its length, in which a bit says that it is still being written. All are of one length here,
so they are read as an array, and not by a call for each.
"""

from __future__ import annotations

import mmap
import os
import select
from contextlib import suppress
from threading import Lock
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from . import layout
from .maps import BpfMap

__all__ = ["SharedFlowReader"]

_BUSY, _DISCARDED = np.uint32(1 << 31), np.uint32(1 << 30)  # BPF_RINGBUF_BUSY_BIT, BPF_RINGBUF_DISCARD_BIT
_RECORD = np.dtype([("length", "<u4"), ("page", "<u4"), ("flow", layout.SHARED_FLOW)])


class SharedFlowReader:
    """Reads what is handed out from now on. There must be only one, and not for two threads at once."""

    def __init__(self, ring: BpfMap, losses: BpfMap) -> None:
        self._losses = losses
        self._size = ring.info.max_entries
        fd = ring.fd.fileno()
        self._read_memory = mmap.mmap(fd, mmap.PAGESIZE)
        self._memory = mmap.mmap(fd, mmap.PAGESIZE + 2 * self._size, prot=mmap.PROT_READ, offset=mmap.PAGESIZE)
        self._read_to = np.frombuffer(self._read_memory, np.uint64, 1)
        self._written_to = np.frombuffer(self._memory, np.uint64, 1)
        self._data = np.frombuffer(self._memory, np.uint8, 2 * self._size, mmap.PAGESIZE)
        self._barrier = Lock()
        self._woken = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._waiting = select.epoll()
        for each in (fd, self._woken):
            self._waiting.register(each, select.EPOLLIN)
        self._read_to[0] = self._written_to[0]  # what nobody has read before is not new
        self._lost_before = self._lost()

    def wait(self, seconds: float) -> bool:
        """Return whether there is anything, as soon as there is, after this long at most."""
        with suppress(InterruptedError):
            return bool(self._waiting.poll(seconds))
        return False

    def wake(self) -> None:
        """Let `wait` return now, and whenever it is called from now on; in any thread."""
        os.eventfd_write(self._woken, 1)

    def read(self) -> NDArray[np.void]:
        """Return what was handed out since the last time, of dtype layout.SHARED_FLOW, in order."""
        start, end = int(self._read_to[0]), int(self._written_to[0])
        first, count = start % self._size, (end - start) // _RECORD.itemsize
        records = self._data[first : first + count * _RECORD.itemsize].view(_RECORD)
        lengths = records["length"].copy()
        with self._barrier:  # what is read before it is read before what follows, whatever the CPU would like
            pass
        busy = np.flatnonzero(lengths & _BUSY)
        if len(busy):
            records, lengths = records[: busy[0]], lengths[: busy[0]]
        flows: NDArray[np.void] = records["flow"][lengths & _DISCARDED == 0]
        self._read_to[0] = start + len(records) * _RECORD.itemsize
        return flows

    def lost(self) -> int:
        """Return how many did not fit into the ring since this was opened."""
        return self._lost() - self._lost_before

    def close(self) -> None:
        """Read no more; closing it again is not an error."""
        self._waiting.close()
        woken, self._woken = self._woken, -1
        if woken >= 0:
            os.close(woken)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _lost(self) -> int:
        return int(np.frombuffer(self._losses.read(0), np.uint64).sum())
