# SPDX-License-Identifier: Apache-2.0
"""Writing metrics in Prometheus' text format.

The library's own encoder takes 8 us per sample: seconds with tens of thousands of backends, during which health checks
would be late. Here labels are encoded once for all samples that share them, and samples are dropped as soon as they are
written: keeping hundreds of thousands would cause long pauses of the garbage collector.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import cast

from prometheus_client.core import Metric
from prometheus_client.samples import Sample

__all__ = ["MEDIA_TYPE", "Family", "Histogram", "Labels", "Observed", "encode"]

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SAMPLES_AT_ONCE = 2000
_IN_VALUES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_IN_HELP = str.maketrans({"\\": r"\\", "\n": r"\n"})


class Labels(dict[str, str]):
    """The labels of samples, which never change; `text` is their encoded form."""

    __slots__ = ("text",)

    def __init__(self, **labels: str) -> None:
        super().__init__(labels)
        pairs = ",".join([f'{name}="{value.translate(_IN_VALUES)}"' for name, value in labels.items()])
        self.text = f"{{{pairs}}}" if pairs else ""


class Family(Metric):
    """A metric whose samples are generated while they are read, and only once. `name` includes `_total`."""

    def __init__(self, name: str, kind: str, documentation: str, samples: Iterable[tuple[Labels, float]]) -> None:
        super().__init__(name.removesuffix("_total"), documentation, kind)
        self.full_name = name
        self.samples = (Sample(name, labels, value) for labels, value in samples)  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Observed:
    """What a histogram has for some labels: how many in each bucket, the last one without a bound, and their sum."""

    labels: Labels
    counts: Sequence[int]
    sum: float


class Histogram(Family):
    """A histogram with these bounds, of which the last bucket has none."""

    def __init__(self, name: str, documentation: str, bounds: Sequence[float], observed: Iterable[Observed]) -> None:
        super().__init__(name, "histogram", documentation, ())
        texts = [*(f"{bound:.9g}" for bound in bounds), "+Inf"]
        self.samples = (sample for each in observed for sample in _of_histogram(name, texts, each))  # type: ignore[assignment]


def _of_histogram(name: str, bounds: Sequence[str], observed: Observed) -> Iterator[Sample]:
    total = 0
    for bound, count in zip(bounds, observed.counts, strict=True):
        total += count
        yield Sample(f"{name}_bucket", Labels(**observed.labels, le=bound), total)
    yield Sample(f"{name}_sum", observed.labels, observed.sum)
    yield Sample(f"{name}_count", observed.labels, total)


def encode(families: Iterable[Family]) -> Iterator[str]:
    """Yield the text of these metrics, in pieces."""
    for family in families:
        name = family.full_name
        yield f"# HELP {name} {family.documentation.translate(_IN_HELP)}\n# TYPE {name} {family.type}\n"
        # Counters are written as integers: as floats, which the library uses, large ones would be rounded.
        lines = (f"{each.name}{cast('Labels', each.labels).text} {each.value}\n" for each in family.samples)
        while piece := "".join(islice(lines, _SAMPLES_AT_ONCE)):
            yield piece
