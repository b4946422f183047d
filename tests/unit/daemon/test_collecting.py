"""Full collections do not walk through the state again and again: they would stop the event loop."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from unittest.mock import patch

import pytest

from xdplb.daemon.collecting import ShortCollections, set_aside


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.mark.parametrize(
    ("generation", "seconds", "aside"), [(2, 0.1, True), (2, 0.001, False), (1, 0.1, False)], ids=str
)
def test_what_survives_a_long_full_collection_is_set_aside(generation: int, seconds: float, aside: bool) -> None:
    short = ShortCollections()
    with patch("xdplb.daemon.collecting.time.perf_counter", side_effect=[7.0, 7.0 + seconds]):
        short("start", {"generation": generation})
        short("stop", {"generation": generation})
    assert (gc.get_freeze_count() > 0) is aside


def test_the_state_at_the_start_is_set_aside() -> None:
    state = [[number] for number in range(1000)]
    set_aside()
    assert gc.get_freeze_count() > len(state)
