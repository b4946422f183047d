# SPDX-License-Identifier: Apache-2.0
"""Reads captured packets from a perf buffer of libbpf."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from ctypes import CFUNCTYPE, c_int, c_size_t, c_uint16, c_uint32, c_uint64, c_void_p
from types import TracebackType
from typing import Self

from . import layout
from .decision_codec import event_of, frame_of, packet_of
from .decisions import CapturedFrame, CapturedPacket
from .libbpf import call, library
from .maps import BpfMap

__all__ = ["CaptureReader"]

PAGES = 64  # of 4 KB, for each CPU
WAKE_BYTES = PAGES * 4096 // 4  # to wake the reader costs the packet's CPU many times what handing the packet out does

PERF_TYPE_SOFTWARE = 1
PERF_COUNT_SW_BPF_OUTPUT = 10
PERF_SAMPLE_RAW = 1 << 10
WATERMARK = 1 << 14  # the bit of perf_event_attr that makes its wake-up one by bytes
PERF_RECORD_LOST, PERF_RECORD_SAMPLE = 2, 9
GO_ON = -2  # LIBBPF_PERF_EVENT_CONT


class _EventAttr(ctypes.Structure):
    """struct perf_event_attr as its first version had it."""

    _fields_ = [
        ("type", c_uint32),
        ("size", c_uint32),
        ("config", c_uint64),
        ("sample_period", c_uint64),
        ("sample_type", c_uint64),
        ("read_format", c_uint64),
        ("flags", c_uint64),
        ("wakeup_watermark", c_uint32),
        ("bp_type", c_uint32),
        ("bp_addr", c_uint64),
    ]


class _Lost(ctypes.Structure):
    _fields_ = [("type", c_uint32), ("misc", c_uint16), ("bytes", c_uint16), ("id", c_uint64), ("lost", c_uint64)]


class _Sample(ctypes.Structure):
    """What stands in front of a sample's data, and in front of any record but for the last field."""

    _fields_ = [("type", c_uint32), ("misc", c_uint16), ("bytes", c_uint16), ("size", c_uint32)]


_Record = CFUNCTYPE(c_int, c_void_p, c_int, c_void_p)


class CaptureReader:
    """Reads the packets that the program hands out from now on. Not for two threads at once."""

    def __init__(self, events: BpfMap, snap_bytes: int) -> None:
        self.lost = 0
        self._snap_bytes = snap_bytes
        self._coming: dict[int, CapturedFrame] = {}  # of each CPU, the frame whose fate is to follow
        self._packets: list[CapturedPacket] = []
        self._callback = _Record(self._read)  # libbpf calls it as long as the buffer lives
        create = library().perf_buffer__new_raw
        create.restype = c_void_p
        create.argtypes = [c_int, c_size_t, c_void_p, _Record, c_void_p, c_void_p]
        attr = ctypes.byref(_attr())
        self._buffer: int | None = create(events.fd.fileno(), PAGES, attr, self._callback, None, None)
        if not self._buffer:
            number = ctypes.get_errno()
            raise OSError(number, f"perf_buffer__new_raw: {os.strerror(number)}")

    def poll(self, seconds: float) -> list[CapturedPacket]:
        """Return the packets captured since the last time, after this long; sooner only if there are many."""
        with suppress(InterruptedError):  # by a signal to the process: there is a next time
            call("perf_buffer__poll", c_void_p(self._buffer), c_int(round(seconds * 1000)))
        call("perf_buffer__consume", c_void_p(self._buffer))  # those too few to wake anybody
        packets, self._packets = self._packets, []
        return packets

    def close(self) -> None:
        """Free the buffer; closing it again is not an error."""
        buffer, self._buffer = self._buffer, None
        if buffer:
            library().perf_buffer__free(c_void_p(buffer))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _read(self, _context: int | None, cpu: int, record: int) -> int:
        head = _Sample.from_address(record)
        if head.type == PERF_RECORD_SAMPLE:
            self._take(cpu, ctypes.string_at(record + ctypes.sizeof(_Sample), head.size))
        elif head.type == PERF_RECORD_LOST:
            self.lost += _Lost.from_address(record).lost
        return GO_ON

    def _take(self, cpu: int, sample: bytes) -> None:
        event = event_of(sample)
        if event["direction"] == layout.CAPTURE_IN:
            self._coming[cpu] = frame_of(event, sample, self._snap_bytes)
            return
        came = self._coming.pop(cpu, None)
        if came is not None and came.time == event["id"]:  # else the other half was lost
            self._packets.append(packet_of(came, event, sample, self._snap_bytes))


def _attr() -> _EventAttr:
    return _EventAttr(
        type=PERF_TYPE_SOFTWARE,
        size=ctypes.sizeof(_EventAttr),
        config=PERF_COUNT_SW_BPF_OUTPUT,
        sample_period=1,
        sample_type=PERF_SAMPLE_RAW,
        flags=WATERMARK,
        wakeup_watermark=WAKE_BYTES,
    )
