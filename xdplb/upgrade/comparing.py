# SPDX-License-Identifier: Apache-2.0
"""Tries two programs on the same frames, and finds what they do differently."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from xdplb.dataplane.shadow import Limits, PacketResult, Rows, Shadow, Side

from .frames import Sample
from .naming import in_words
from .sampling import Samples

__all__ = ["Difference", "Tried", "differences"]

_ATTEMPTS = 3
"""A difference counts if it is there each time. Once may be chance: a record that was too old for one program, and a
microsecond earlier not for the other.
"""


@dataclass(frozen=True, slots=True)
class Difference:
    """A frame that becomes something else with the new program."""

    sample: Sample
    old: PacketResult
    new: PacketResult

    def __str__(self) -> str:
        old, new = in_words(self.old), in_words(self.new)
        if old == new:
            new = _changed_bytes(self.old.frame, self.new.frame)
        return f"{self.sample.words}: old {old}; new {new}"


@dataclass(frozen=True, slots=True)
class Tried:
    """How many frames were tried, and where the programs differ."""

    frames: int
    differences: Sequence[Difference]


class _Pair:
    """Both programs, with maps of their own."""

    def __init__(self, name: str, old: Side, new: Side, opened: ExitStack) -> None:
        rows = Rows()
        self.old, self.new = (opened.enter_context(Shadow(name, side, rows)) for side in (old, new))
        with ThreadPoolExecutor(2) as threads:  # the kernel verifies both at the same time
            for loading in [threads.submit(each.load) for each in (self.old, self.new)]:
                loading.result()

    def differing(self, samples: Samples, ifindexes: Sequence[int]) -> dict[int, Difference]:
        """Try all frames, by turns as they came in by each of these NICs; return differences by the frame's place."""
        with _on_one_cpu():
            found = self._tried(samples.ordinary, ifindexes, 0)
            for program in (self.old, self.new):
                program.limit(Limits.TIGHT)
            return found | self._tried(samples.limited, ifindexes, len(samples.ordinary))

    def _tried(self, samples: Sequence[Sample], ifindexes: Sequence[int], first: int) -> dict[int, Difference]:
        found = {}
        for place, sample in enumerate(samples, first):
            ifindex = ifindexes[place % len(ifindexes)]
            old, new = self.old.run(sample.frame, ifindex), self.new.run(sample.frame, ifindex)
            if old != new:
                found[place] = Difference(sample, old, new)
        return found


def differences(name: str, old: Side, new: Side, samples: Samples, ifindexes: Sequence[int]) -> Tried:
    """Return where the programs differ, whenever they are tried."""
    certain: dict[int, Difference] = {}
    for attempt in range(_ATTEMPTS):
        with ExitStack() as opened:
            found = _Pair(name, old, new, opened).differing(samples, ifindexes)
        certain = (
            found if attempt == 0 else {place: each for place, each in found.items() if certain.get(place) == each}
        )
        if not certain:
            break
    return Tried(len(samples.ordinary) + len(samples.limited), list(certain.values()))


def _changed_bytes(old: bytes, new: bytes) -> str:
    places = [place for place, (one, other) in enumerate(zip(old, new, strict=False)) if one != other]
    shown = ", ".join(f"byte {place} is {new[place]:#04x} and was {old[place]:#04x}" for place in places[:4])
    return f"the same, but {shown}" + (f" and {len(places) - 4} more" if len(places) > 4 else "")


@contextmanager
def _on_one_cpu() -> Iterator[None]:
    """Keep this thread on one CPU: rr and wrr have a turn for each."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
