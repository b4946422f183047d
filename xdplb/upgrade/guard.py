# SPDX-License-Identifier: Apache-2.0
"""The guard of the daemon's programs: compares a new one with the old one, and judges what it does afterwards."""

from __future__ import annotations

import logging
import socket
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from xdplb.dataplane.features import Features
from xdplb.dataplane.pinned_reader import PinnedReader
from xdplb.dataplane.shadow import Side, bytes_of_copies, recorded_keys
from xdplb.dataplane.spans import Span
from xdplb.model.errors import ConflictError

from . import intended, judging
from .comparing import Difference, Tried, differences
from .naming import name_of
from .passed import Passed
from .sampling import samples

__all__ = ["Guard"]

_log = logging.getLogger(__name__)

WATCH_SECONDS, ALONE_SECONDS = 5.0, 2.0
_PASSED = 500
_SHOWN = 5
"""Packets of one kind of difference that are listed."""
_LOOPBACK = 1
_MOST_MEMORY = 0.5
"""The part of the memory available that copies of maps may take."""


class Guard:
    """Refuses a program that does something else with a packet than the one in use, unless `accept_differences`."""

    def __init__(self, interfaces: Sequence[str], *, accept_differences: bool = False) -> None:
        self.takes_refused = accept_differences
        self.watch_seconds, self.alone_seconds = WATCH_SECONDS, ALONE_SECONDS
        self._interfaces = interfaces
        self._passed: Passed | None = None

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Collect frames that come in, as long as the block runs."""
        with Passed(self._interfaces) as self._passed:
            yield
        self._passed = None

    def compare(self, name: str, old: Side, new: Side, differing: Features) -> None:
        """Try both programs on the same packets; ConflictError if they differ in what is not intended."""
        began = time.monotonic()
        needed, there = bytes_of_copies(old) + bytes_of_copies(new), _available_bytes()
        if needed > there * _MOST_MEMORY:
            _log.warning(
                "the new program is not compared with the one in use: that takes %d MB, and %d MB are available",
                needed >> 20,
                there >> 20,
            )
            return
        passed = self._passed.take(_PASSED) if self._passed is not None else []
        tried_with = samples(PinnedReader(old.folder), recorded_keys(new), passed, differing, new.code.text_hash)
        try:
            tried = differences(name, old, new, tried_with, _ifindexes(self._interfaces))
        except OSError as error:
            _log.warning("the new program cannot be compared with the one in use: %s", error)
            return
        unmeant = self._listed(tried)
        _log.info(
            "compared the new program with the old one: frames=%d, of which XDP passed %d just now and the others are "
            "made from VIPs, slots and flow records; differences=%d seconds=%.2f",
            tried.frames,
            len(passed),
            len(tried.differences),
            time.monotonic() - began,
        )
        if unmeant and not self.takes_refused:
            raise ConflictError(
                f"the new program differs from the one in use for {unmeant} of {tried.frames} packets that both were "
                "tried with: they are listed in the log; nothing was changed, and the one in use goes on",
                hint="go on with the version before; or, if this is meant, start with --accept-differences",
            )

    def worse(self, before: Span, after: Span, *, alone: bool) -> str | None:
        """Return what became worse with the new program, None if nothing did as far as can be told yet."""
        return judging.worse(before, after, alone=alone)

    def _listed(self, tried: Tried) -> int:
        """Log what differs; return how many differences are not intended."""
        kinds: dict[tuple[str, str], list[Difference]] = defaultdict(list)
        for each in tried.differences:
            meant = next((one for one in intended.INTENDED if one.covers(each)), None)
            if meant is None:
                kinds[name_of(each.old), name_of(each.new)].append(each)
            else:
                _log.info("an intended difference (%s): %s", meant.why, each)
        for (old, new), found in sorted(kinds.items(), key=lambda kind: -len(kind[1])):
            for each in found[:_SHOWN]:
                _log.warning("the new program differs: %s", each)
            if len(found) > _SHOWN:
                _log.warning("the new program differs for %d more from %s to %s", len(found) - _SHOWN, old, new)
        return sum(map(len, kinds.values()))


def _available_bytes() -> int:
    """Return the kernel's estimate of what can be had without swapping, see proc_meminfo(5)."""
    (line,) = (line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable:"))
    return int(line.split()[1]) << 10


def _ifindexes(interfaces: Sequence[str]) -> list[int]:
    """Return those of the NICs that there are, else that of the loopback."""
    there = {name: index for index, name in socket.if_nameindex()}
    return [there[name] for name in interfaces if name in there] or [_LOOPBACK]
