# SPDX-License-Identifier: Apache-2.0
"""The program against the reference model, on random packets; `scripts/fuzz` does the same for longer.

Compared for each packet: verdict and every byte; every few hundred packets: all records, fragments, buckets, loads and
counters. A failure says profile, seed and packet: `scripts/fuzz --profile P --seed N --packets 5000` runs it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Protocol

import pytest

from tests.fuzz.affinity import on_one_cpu
from tests.fuzz.comparison import Run, compare
from tests.fuzz.kernel import Kernel
from tests.fuzz.profiles import PROFILES
from tests.fuzz.seeds import SEEDS
from xdplb.dataplane.reasons import REASONS

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

PACKETS = 5000
RUNS = {
    "everything": [*range(12), 128],
    "nothing": range(2),
    "families": range(3),
    "choosing": range(3),
    "guarding": range(4),
    "sampling": range(3),
    "second": range(3),
    "sharing": range(3),
    "nat": range(5),
    "nat-direct": range(2),
    "unwrapping": range(3),
    "capturing": range(1),
}
"""The seeds of worlds of PACKETS packets for each profile: together over 100,000. In 128 a fragment comes that would
write into the TCP header of the first one, which is rare.
"""

NOT_REACHED = {"drop_no_headroom"}
"""A test run has room in front of every frame: the fixture `no-headroom` takes it away."""


class Kernels(Protocol):
    def __call__(self, profile: str) -> Kernel: ...


@pytest.fixture(scope="module")
def kernels(pin_dir: Path) -> Kernels:
    """The program of a profile, compiled once."""
    return cache(lambda profile: Kernel(pin_dir / f"profile_{profile}", PROFILES[profile]))


@pytest.fixture(autouse=True)
def _one_cpu() -> Iterator[None]:
    with on_one_cpu():
        yield


@pytest.mark.parametrize("run", SEEDS, ids=str)
def test_what_once_differed_agrees(kernels: Kernels, run: Run) -> None:
    compare(kernels(run.profile), run)


@pytest.mark.parametrize("profile", ["everything", "nothing"])
def test_what_is_explained_is_what_the_model_says(kernels: Kernels, profile: str) -> None:
    compare(kernels(profile), Run(profile, 1000, 1500), explained=0.1)


@pytest.mark.parametrize("profile", PROFILES)
def test_agrees_with_the_reference(kernels: Kernels, profile: str) -> None:
    reached = set()
    for seed in RUNS[profile]:
        counts = compare(kernels(profile), Run(profile, seed, PACKETS)).counts
        reached |= {name for kind, name, _ in counts if kind == "reason"}
    if profile == "everything":
        assert reached == {reason.name for reason in REASONS} - NOT_REACHED
