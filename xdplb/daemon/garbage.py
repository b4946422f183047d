# SPDX-License-Identifier: Apache-2.0
"""Python's collection of cyclic garbage, kept from stopping the daemon.

A full collection looks at every object, and no thread runs meanwhile: a tenth of a second with 20,000 backends, at any
moment. Nearly all garbage here is freed without it: by reference counts, or while it is young. So what a start has made
is put aside for good, and there is a full collection only if memory has grown a lot. (With 20,000 backends it would
find 3000 objects of 335,000 at the start, less than a megabyte, and take 0.14 s.)
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
from pathlib import Path
from typing import Self

__all__ = ["Garbage"]

_NEVER = 1 << 30
_LOOK_SECONDS = 10.0
_GROWTH = 1.25
_LEAST_GROWTH_BYTES = 64 << 20
_GIVEN_BACK_BYTES = 8 << 20

_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None)
"""glibc's; another C library has none."""


class Garbage:
    """In the block, full collections happen in `watch`, and at no other time; none looks at what is there before."""

    def __init__(self) -> None:
        self._at_last = self._kept = 0
        self._before = gc.get_threshold()

    def __enter__(self) -> Self:
        young, middle, _ = self._before
        gc.set_threshold(young, middle, _NEVER)
        self._put_aside()
        gc.enable()  # `xdplb up` has it off until here: nearly all that a start makes lives on
        return self

    def __exit__(self, *_: object) -> None:
        gc.set_threshold(*self._before)
        gc.unfreeze()

    async def watch(self) -> None:
        """Forever: collect when memory has grown by a quarter, and by 64 MiB at least, since the last time.

        What malloc has kept of large requests is given back to the kernel before, and when memory has grown by less.
        """
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if _resident_bytes() > self._kept + _GIVEN_BACK_BYTES:
                await asyncio.to_thread(_give_back)
                self._kept = _resident_bytes()
            if _resident_bytes() > max(_GROWTH * self._at_last, self._at_last + _LEAST_GROWTH_BYTES):
                self._collect()

    def _collect(self) -> None:
        gc.collect()
        self._put_aside()

    def _put_aside(self) -> None:
        gc.freeze()  # it is not looked at any more; it is still freed when nothing refers to it
        self._at_last = _resident_bytes()


def _give_back() -> None:
    """Give free pages back to the kernel, which malloc keeps: some milliseconds, in which Python goes on."""
    if _TRIM is not None:
        _TRIM(0)


def _resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
