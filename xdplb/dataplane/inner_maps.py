# SPDX-License-Identifier: Apache-2.0
"""Reads the inner maps of maps of maps, and swaps them whole under traffic."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Mapping
from threading import Thread

import numpy as np
from numpy.typing import NDArray

from .map_specs import U32, MapSpec
from .maps import BpfMap, MapType

__all__ = [
    "inner_keys",
    "open_inner",
    "put_inner_maps",
    "put_without_waiting",
    "read_element",
    "read_trie",
    "swap_element",
    "swap_trie",
]

_NO_BATCHES = {524, errno.EINVAL, errno.EOPNOTSUPP}  # 524 is ENOTSUPP, of the kernel alone
"""What kernels before 5.19 answer where batches of a map of maps are asked."""

CLONE_FS = 0x00000200
_LOOK_SECONDS = 0.0001


def inner_keys(outer: BpfMap) -> list[int]:
    """Return the keys of an array of maps that have one, in order."""
    try:
        keys: list[int] = np.sort(outer.read_all()[0].view(np.uint32).reshape(-1)).tolist()
    except OSError as error:
        if error.errno not in _NO_BATCHES:
            raise
        keys = [key for key in range(outer.info.max_entries) if outer.lookup(key) is not None]
    return keys


def read_element(outer: BpfMap, key: int) -> bytes | None:
    """Return the one value of the inner array at `key`, None where there is none."""
    inner = open_inner(outer, key)
    if inner is None:
        return None
    with inner:
        return inner.read(0)


def read_trie(outer: BpfMap) -> list[tuple[bytes, bytes]]:
    """Return keys and values of the inner trie."""
    inner = open_inner(outer, 0)
    if inner is None:
        return []
    with inner:
        return list(inner.items())


def swap_element(outer: BpfMap, key: int, name: str, value: NDArray[np.void], *, wait: bool = True) -> None:
    """Put a new array of one element at `key`, and wait until no packet uses the old one, some 15 ms.

    Without `wait` return once packets find the new one: those under way may have found the old one just before.
    """
    with MapSpec(name, MapType.ARRAY, U32, value.dtype, 1).create() as inner:
        inner.update(0, value)
        _put(outer, key, inner, wait=wait)


def swap_trie(outer: BpfMap, spec: MapSpec, entries: Mapping[bytes, NDArray[np.void]], *, wait: bool = True) -> None:
    """Put a new trie with these keys and values in place of the one there; `wait` as in `swap_element`."""
    with spec.create() as inner:
        for key, value in entries.items():
            inner.update(key, value)
        _put(outer, 0, inner, wait=wait)


def _put(outer: BpfMap, key: int, inner: BpfMap, *, wait: bool) -> None:
    if wait:
        outer.update(key, inner.fd)
    else:
        put_without_waiting(outer, {key: inner})


def put_inner_maps(outer: BpfMap, inner_maps: Mapping[int, BpfMap]) -> None:
    """Put all in one batch if the kernel can: it waits for a grace period for every single update."""
    keys = np.array(list(inner_maps), np.uint32)
    fds = np.array([inner.fd.fileno() for inner in inner_maps.values()], np.uint32)
    try:
        outer.update_batch(keys, fds)
    except OSError as error:
        if error.errno not in _NO_BATCHES:
            raise
        for key, inner in inner_maps.items():
            outer.update(key, inner.fd)


def put_without_waiting(outer: BpfMap, inner_maps: Mapping[int, BpfMap]) -> None:
    """Put inner maps, and return once packets find them.

    That is at once, but the call goes on until no packet uses what was there before, some 15 ms: a thread waits for it.
    """
    failed: list[OSError] = []

    def put() -> None:
        # With folders of its own, so that this thread keeps nobody from entering another namespace meanwhile.
        ctypes.CDLL(None).unshare(CLONE_FS)
        try:
            put_inner_maps(outer, inner_maps)
        except OSError as error:
            failed.append(error)

    last = list(inner_maps)[-1]
    last_id = inner_maps[last].info.id.to_bytes(4, "little")
    waiting = Thread(target=put, name="xdplb-new-maps", daemon=True)
    waiting.start()
    while waiting.is_alive() and outer.lookup(last) != last_id:
        waiting.join(_LOOK_SECONDS)
    if outer.lookup(last) != last_id:
        waiting.join()
    if failed:
        raise failed[0]


def open_inner(outer: BpfMap, key: int) -> BpfMap | None:
    """Open the inner map at `key`, None where there is none. A map of maps hands out ids."""
    found = outer.lookup(key)
    return None if found is None else BpfMap.by_id(int.from_bytes(found, "little"))
