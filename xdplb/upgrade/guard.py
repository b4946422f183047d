"""The guard of the daemon's programs: compares a new one with the old one, and judges what it does afterwards."""

from __future__ import annotations

import logging
import socket
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from xdplb.dataplane.features import Features
from xdplb.dataplane.pinned_reader import PinnedReader
from xdplb.dataplane.shadow import Side, recorded_keys
from xdplb.dataplane.spans import Span
from xdplb.model.errors import ConflictError

from . import intended, judging
from .comparing import Difference, Tried, differences
from .naming import result
from .passed import Passed
from .sampling import samples

__all__ = ["Guard"]

_log = logging.getLogger(__name__)

WATCH_SECONDS = 5.0
_PASSED = 500
_SHOWN = 5
"""Packets of one kind of difference that are listed."""
_LOOPBACK = 1


class Guard:
    """Refuses a program that does something else with a packet than the one in use, unless `accept_differences`."""

    def __init__(self, interfaces: Sequence[str], *, accept_differences: bool = False) -> None:
        self.takes_refused = accept_differences
        self.watch_seconds = WATCH_SECONDS
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
        passed = self._passed.take(_PASSED) if self._passed is not None else []
        tried_with = samples(PinnedReader(old.folder), recorded_keys(new), passed, differing, new.code.text_hash)
        tried = differences(name, old, new, tried_with, _ifindexes(self._interfaces))
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

    def worse(self, before: Span, after: Span) -> str | None:
        """Return what became worse with the new program, None if nothing did as far as can be told yet."""
        return judging.worse(before, after)

    def _listed(self, tried: Tried) -> int:
        """Log what differs; return how many differences are not intended."""
        kinds: dict[tuple[str, str], list[Difference]] = defaultdict(list)
        for each in tried.differences:
            meant = next((one for one in intended.INTENDED if one.covers(each)), None)
            if meant is None:
                kinds[result(each.old), result(each.new)].append(each)
            else:
                _log.info("an intended difference (%s): %s", meant.why, each)
        for (old, new), found in sorted(kinds.items(), key=lambda kind: -len(kind[1])):
            for each in found[:_SHOWN]:
                _log.warning("the new program differs: %s", each)
            if len(found) > _SHOWN:
                _log.warning("the new program differs for %d more from %s to %s", len(found) - _SHOWN, old, new)
        return sum(map(len, kinds.values()))


def _ifindexes(interfaces: Sequence[str]) -> list[int]:
    """Return those of the NICs that there are, else that of the loopback."""
    there = {name: index for index, name in socket.if_nameindex()}
    return [there[name] for name in interfaces if name in there] or [_LOOPBACK]
