"""What must be planned again."""

from __future__ import annotations

import pytest

from xdplb.control.writing.dirty import Dirty


def test_with_everything_dirty_each_backend_is_looked_at() -> None:
    dirty = Dirty(everything=False)
    dirty.touch(3, [7])
    dirty.touch(3, [8])
    dirty.touch(4)
    assert (dirty.only, dirty.seen) == (frozenset({3, 4}), {3: frozenset({7, 8}), 4: frozenset()})
    dirty.everything = True
    assert (dirty.only, dirty.seen) == (None, {})


@pytest.mark.parametrize("order", [(None, [7]), ([7], None)])
def test_a_vip_of_which_any_backend_may_differ_stays_one(order: tuple[list[int] | None, ...]) -> None:
    dirty = Dirty(everything=False)
    for ids in order:
        other = Dirty(everything=False)
        other.touch(3, ids)
        dirty.add(other)
    assert (dirty.only, dirty.seen) == (frozenset({3}), {})
