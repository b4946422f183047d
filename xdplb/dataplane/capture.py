"""Captured packets, as they come through a perf buffer of libbpf."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from ctypes import CFUNCTYPE, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from types import TracebackType
from typing import Self

from . import layout
from .explained import CapturedFrame, CapturedPacket
from .libbpf import call, library
from .look_codec import event_of, frame_of, packet_of
from .maps import BpfMap

__all__ = ["CaptureReader"]

PAGES = 64  # of 4 KB, for each CPU

_Sample = CFUNCTYPE(None, c_void_p, c_int, c_void_p, c_uint32)
_Lost = CFUNCTYPE(None, c_void_p, c_int, c_uint64)


class CaptureReader:
    """Reads what the program hands out, from when it is made on. Not for two threads at once."""

    def __init__(self, events: BpfMap, snap_bytes: int) -> None:
        self.lost = 0
        self._snap_bytes = snap_bytes
        self._coming: dict[int, CapturedFrame] = {}  # of each CPU, the frame whose fate is to follow
        self._packets: list[CapturedPacket] = []
        self._callbacks = (_Sample(self._take), _Lost(self._miss))  # libbpf calls them as long as the buffer lives
        create = library().perf_buffer__new
        create.restype = c_void_p
        create.argtypes = [c_int, c_size_t, _Sample, _Lost, c_void_p, c_void_p]
        self._buffer: int | None = create(events.fd.fileno(), PAGES, *self._callbacks, None, None)
        if not self._buffer:
            number = ctypes.get_errno()
            raise OSError(number, f"perf_buffer__new: {os.strerror(number)}")

    def poll(self, seconds: float) -> list[CapturedPacket]:
        """Return the packets captured since the last time, after this long at most."""
        with suppress(InterruptedError):  # by a signal to the process: there is a next time
            call("perf_buffer__poll", c_void_p(self._buffer), c_int(round(seconds * 1000)))
        packets, self._packets = self._packets, []
        return packets

    def close(self) -> None:
        """Free the buffer; again is no error."""
        buffer, self._buffer = self._buffer, None
        if buffer:
            library().perf_buffer__free(c_void_p(buffer))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _take(self, _context: int | None, cpu: int, data: int, size: int) -> None:
        sample = ctypes.string_at(data, size)
        event = event_of(sample)
        if event["direction"] == layout.CAPTURE_IN:
            self._coming[cpu] = frame_of(event, sample, self._snap_bytes)
            return
        came = self._coming.pop(cpu, None)
        if came is not None and came.time == event["id"]:  # else the other half was lost
            self._packets.append(packet_of(came, event, sample, self._snap_bytes))

    def _miss(self, _context: int | None, _cpu: int, count: int) -> None:
        self.lost += count
