# SPDX-License-Identifier: Apache-2.0
"""Writing metrics in Prometheus' text format.

There may be hundreds of thousands of samples, and checks go on meanwhile, so each costs little: an object for a sample
and one for its labels, as the library has them, would take five times as long as writing the line, and the library's
own encoder fifty times. So a sample is a text and a number, and lines are written and joined many at a time.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

__all__ = [
    "MEDIA_TYPE",
    "NO_LABELS",
    "Family",
    "Histogram",
    "Observed",
    "Sample",
    "compressed",
    "encode",
    "labels_text",
]

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
NO_LABELS = ""

SAMPLES_AT_ONCE = 2000
"""About a millisecond's work: other threads can have the interpreter after each."""

_IN_VALUES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_IN_HELP = str.maketrans({"\\": r"\\", "\n": r"\n"})
_FAST = 1
"""The level of compression: a twentieth of the length in a fifth of the time that the best one would take."""

_AS_GZIP = 16 + zlib.MAX_WBITS

Sample = tuple[str, float]
"""The text of its labels, and its value. A counter is an int: as a float, a large one would be rounded."""


def labels_text(**labels: str) -> str:
    """Return labels as they are written in a line, without the braces: more can be added behind a comma."""
    return ",".join([f'{name}="{value.translate(_IN_VALUES)}"' for name, value in labels.items()])


@dataclass(frozen=True, slots=True)
class Family:
    """A metric; `name` includes `_total`. Its samples may be generated while they are read, and are read once."""

    name: str
    kind: str
    documentation: str
    samples: Iterable[Sample]

    def lines(self) -> Iterator[str]:
        """Yield the line of each sample."""
        name = self.name
        return (f"{name}{{{labels}}} {value}\n" if labels else f"{name} {value}\n" for labels, value in self.samples)


@dataclass(frozen=True, slots=True)
class Observed:
    """What a histogram has for some labels: how many in each bucket, the last one without a bound, and their sum."""

    labels: str
    counts: Sequence[int]
    sum: float


@dataclass(frozen=True, slots=True)
class Histogram:
    """A histogram with these bounds, of which the last bucket has none.

    All buckets are written, also empty ones: Prometheus adds up those of several backends bound by bound.
    """

    name: str
    documentation: str
    bounds: Sequence[float]
    observed: Iterable[Observed]

    kind = "histogram"

    def lines(self) -> Iterator[str]:
        """Yield the line of each sample."""
        bounds = [*(f"{bound:.9g}" for bound in self.bounds), "+Inf"]
        for each in self.observed:
            labels, total = each.labels, 0
            before = f"{self.name}_bucket{{{labels}," if labels else f"{self.name}_bucket{{"
            behind = f"{{{labels}}}" if labels else ""
            for bound, count in zip(bounds, each.counts, strict=True):
                total += count
                yield f'{before}le="{bound}"}} {total}\n'
            yield f"{self.name}_sum{behind} {each.sum}\n"
            yield f"{self.name}_count{behind} {total}\n"


def encode(families: Iterable[Family | Histogram]) -> Iterator[bytes]:
    """Yield the text of these metrics, in pieces."""
    for family in families:
        name = family.name
        yield f"# HELP {name} {family.documentation.translate(_IN_HELP)}\n# TYPE {name} {family.kind}\n".encode()
        lines = family.lines()
        while piece := "".join(islice(lines, SAMPLES_AT_ONCE)):
            yield piece.encode()


def compressed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the gzip file of these pieces, in pieces. Other threads have the interpreter while one is compressed."""
    packing = zlib.compressobj(_FAST, wbits=_AS_GZIP)
    for piece in pieces:
        yield packing.compress(piece)
    yield packing.flush()
