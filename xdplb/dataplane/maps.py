# SPDX-License-Identifier: Apache-2.0
"""BPF maps for numpy: one element at a time or in batches, keys and values as arrays of a fixed dtype."""

from __future__ import annotations

import ctypes
import errno
import mmap
from collections.abc import Collection, Iterator
from ctypes import c_char, c_size_t, c_uint32, c_uint64
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .libbpf import NAME_BYTES, Fd, call, call_quickly, obj_get, obj_pin, possible_cpus

__all__ = ["BPF_NOEXIST", "BpfMap", "MapInfo", "MapType"]

Array = NDArray[Any]


class MapType(IntEnum):
    """enum bpf_map_type of the kernel, those in use here."""

    HASH = 1
    ARRAY = 2
    PROG_ARRAY = 3
    PERF_EVENT_ARRAY = 4
    PERCPU_ARRAY = 6
    LRU_HASH = 9
    LPM_TRIE = 11
    ARRAY_OF_MAPS = 12
    DEVMAP_HASH = 25
    RINGBUF = 27


BPF_NOEXIST = 1
PER_CPU = {MapType.PERCPU_ARRAY}
WAITING = {MapType.ARRAY_OF_MAPS, MapType.PROG_ARRAY}  # an update of these takes a grace period
FEW = 16  # up to one key of an array in this many is read by itself, above that a batch of all is faster
MIN_BATCH = 1024  # a batch must be able to hold the fullest bucket of a hash table


class _MapCreateOpts(ctypes.Structure):
    _fields_ = [
        ("sz", c_size_t),
        ("btf_fd", c_uint32),
        ("btf_key_type_id", c_uint32),
        ("btf_value_type_id", c_uint32),
        ("btf_vmlinux_value_type_id", c_uint32),
        ("inner_map_fd", c_uint32),
        ("map_flags", c_uint32),
        ("map_extra", c_uint64),
        ("numa_node", c_uint32),
        ("map_ifindex", c_uint32),
    ]


class _MapInfo(ctypes.Structure):
    _fields_ = [
        ("type", c_uint32),
        ("id", c_uint32),
        ("key_size", c_uint32),
        ("value_size", c_uint32),
        ("max_entries", c_uint32),
        ("map_flags", c_uint32),
        ("name", c_char * NAME_BYTES),
    ]


@dataclass(frozen=True, slots=True)
class MapInfo:
    """What the kernel says about a map; sizes in bytes, `flags` as it was created with."""

    type: int
    id: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int


class BpfMap:
    """An open map. Keys and values are anything with a buffer of the right size; sizes are checked."""

    def __init__(self, fd: Fd) -> None:
        self.fd = fd
        self.info = _read_info(fd)
        padded = -(-self.info.value_size // 8) * 8
        per_cpu = self.info.type in PER_CPU
        self.value_bytes = padded * possible_cpus() if per_cpu else self.info.value_size
        """Bytes of one value as the kernel hands it over: of all CPUs for a per-CPU map."""

    @classmethod
    def create(
        cls,
        kind: MapType,
        name: str,
        *,
        key_size: int = 4,
        value_size: int = 4,
        max_entries: int = 1,
        flags: int = 0,
        inner: BpfMap | None = None,
    ) -> Self:
        """Create a map; `inner` is the template of a map of maps. Names are cut to 15 characters."""
        options = _MapCreateOpts(sz=ctypes.sizeof(_MapCreateOpts), map_flags=flags)
        if inner is not None:
            options.inner_map_fd = inner.fd.fileno()
        text = name.encode()[: NAME_BYTES - 1]
        return cls(Fd(call("bpf_map_create", kind, text, key_size, value_size, max_entries, ctypes.byref(options))))

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a pinned map."""
        return cls(obj_get(path))

    @classmethod
    def by_id(cls, map_id: int) -> Self:
        """Open a map by its id, such as a map of maps holds."""
        return cls(Fd(call_quickly("bpf_map_get_fd_by_id", c_uint32(map_id))))

    def pin(self, path: Path) -> None:
        """Pin the map, so that it outlives the process."""
        obj_pin(self.fd, path)

    def mapped(self, *, writable: bool = False) -> mmap.mmap:
        """Map an array, made with BPF_F_MMAPABLE, into this process: its values, one after the other, in whole pages.

        The kernel rounds each up to a multiple of 8 bytes, so of more than one value their size must be one. It is
        unmapped when nothing of it is used any more.
        """
        size = -(-self.info.max_entries * self.info.value_size // mmap.PAGESIZE) * mmap.PAGESIZE
        return mmap.mmap(self.fd.fileno(), size, prot=mmap.PROT_READ | mmap.PROT_WRITE if writable else mmap.PROT_READ)

    def close(self) -> None:
        """Close the descriptor."""
        self.fd.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def read(self, key: int | Array | bytes) -> bytes:
        """Return a value that is always there, such as an array's."""
        value = self.lookup(key)
        if value is None:
            raise KeyError(key)
        return value

    def lookup(self, key: int | Array | bytes) -> bytes | None:
        """Return the value as bytes, None where the map has none."""
        value = ctypes.create_string_buffer(self.value_bytes)
        try:
            call_quickly("bpf_map_lookup_elem", self.fd.fileno(), self._key(key), value)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return value.raw

    def update(self, key: int | Array | bytes, value: int | Array | bytes | Fd, *, flags: int = 0) -> None:
        """Set one value; a descriptor for a map of maps or of programs. With BPF_NOEXIST, FileExistsError if one is."""
        if isinstance(value, Fd):
            value = value.fileno()
        data = _as_bytes(value, self.value_bytes)
        update = call if self.info.type in WAITING else call_quickly
        update("bpf_map_update_elem", self.fd.fileno(), self._key(key), data, c_uint64(flags))

    def delete(self, key: int | Array | bytes) -> bool:
        """Delete one entry; False where there was none."""
        try:
            call("bpf_map_delete_elem", self.fd.fileno(), self._key(key))
        except OSError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        return True

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield keys and values one by one, for a map that nobody changes and that takes no batches, such as a trie."""
        key: bytes | None = None
        following = ctypes.create_string_buffer(self.info.key_size)
        while True:
            try:
                call("bpf_map_get_next_key", self.fd.fileno(), key, following)
            except OSError as error:
                if error.errno == errno.ENOENT:
                    return
                raise
            key = following.raw
            yield key, self.read(key)

    def update_batch(self, keys: Array, values: Array) -> None:
        """Set `len(keys)` values in one call."""
        keys, values = np.ascontiguousarray(keys), np.ascontiguousarray(values)
        if keys.nbytes != len(keys) * self.info.key_size or values.nbytes != len(keys) * self.value_bytes:
            raise ValueError("keys or values are not of this map's size")
        if len(keys):
            count = c_uint32(len(keys))
            call("bpf_map_update_batch", self.fd.fileno(), _at(keys), _at(values), ctypes.byref(count), None)

    def delete_batch(self, keys: Array) -> None:
        """Delete these keys; those already gone are no error."""
        keys = np.ascontiguousarray(keys)
        if keys.nbytes != len(keys) * self.info.key_size:
            raise ValueError("keys are not of this map's size")
        start = 0
        while start < len(keys):
            count = c_uint32(len(keys) - start)
            try:
                call("bpf_map_delete_batch", self.fd.fileno(), _at(keys[start:]), ctypes.byref(count), None)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise
                count.value += 1  # the call stops at a key that is not there: go on behind it
            start += count.value

    def read_all(self) -> tuple[Array, Array]:
        """Return all keys and values, each of shape (n, size) and dtype uint8.

        In a hash table what is added or deleted meanwhile may be missing; nothing is read twice.
        """
        room = self.info.max_entries
        keys = np.empty((room, self.info.key_size), np.uint8)
        values = np.empty((room, self.value_bytes), np.uint8)
        position = ctypes.create_string_buffer(max(self.info.key_size, 4))
        filled, first, done = 0, True, False
        while not done:
            if len(keys) - filled < MIN_BATCH:
                keys, values = _longer(keys), _longer(values)
            count = c_uint32(len(keys) - filled)
            try:
                call(
                    "bpf_map_lookup_batch",
                    self.fd.fileno(),
                    None if first else position,
                    position,
                    _at(keys[filled:]),
                    _at(values[filled:]),
                    ctypes.byref(count),
                    None,
                )
            except OSError as error:
                if error.errno == errno.ENOSPC:  # a bucket that does not fit: more room, and again
                    keys, values = _longer(keys), _longer(values)
                elif error.errno == errno.ENOENT:
                    done = True
                else:
                    raise
            first = first and count.value == 0
            filled += count.value
        return keys[:filled], values[:filled]

    def read_some(self, keys: Collection[int]) -> Array:
        """Return the values of these keys of an array, shape (n, size) and dtype uint8."""
        if len(keys) * FEW > self.info.max_entries:
            return self.read_all()[1][list(keys)]
        raw = bytearray(b"".join(self.read(key) for key in keys))
        return np.frombuffer(raw, np.uint8).reshape(len(keys), self.value_bytes)

    def read_rows(self, first: int, count: int) -> Array:
        """Return the values of up to `count` keys of an array from `first` on, shape (n, size) and dtype uint8."""
        keys = np.empty((count, self.info.key_size), np.uint8)
        values = np.empty((count, self.value_bytes), np.uint8)
        before = None if first == 0 else (first - 1).to_bytes(self.info.key_size, "little")
        position = ctypes.create_string_buffer(max(self.info.key_size, 4))
        read = c_uint32(count)
        try:
            call(
                "bpf_map_lookup_batch",
                self.fd.fileno(),
                before,
                position,
                _at(keys),
                _at(values),
                ctypes.byref(read),
                None,
            )
        except OSError as error:
            if error.errno != errno.ENOENT:  # the end
                raise
        return values[: read.value]

    def _key(self, key: int | Array | bytes) -> bytes:
        return _as_bytes(key, self.info.key_size)


def _read_info(fd: Fd) -> MapInfo:
    info = _MapInfo()
    length = c_uint32(ctypes.sizeof(info))
    call_quickly("bpf_obj_get_info_by_fd", fd.fileno(), ctypes.byref(info), ctypes.byref(length))
    return MapInfo(info.type, info.id, info.key_size, info.value_size, info.max_entries, info.map_flags)


def _as_bytes(value: int | Array | bytes, size: int) -> bytes:
    if isinstance(value, int):
        return value.to_bytes(size, "little")
    data = value if isinstance(value, bytes) else value.tobytes()
    if len(data) != size:
        raise ValueError(f"{len(data)} bytes where the map takes {size}")
    return data


def _at(array: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _longer(array: Array) -> Array:
    longer = np.empty((len(array) + max(MIN_BATCH, len(array) // 4), array.shape[1]), np.uint8)
    longer[: len(array)] = array
    return longer
