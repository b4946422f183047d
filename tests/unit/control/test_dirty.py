# SPDX-License-Identifier: Apache-2.0
"""What must be planned again."""

from __future__ import annotations

from xdplb.control.writing.dirty import Dirty


def test_with_everything_dirty_each_backend_is_looked_at() -> None:
    dirty = Dirty(everything=False)
    dirty.touch(3, [7])
    dirty.touch(3, [8])
    dirty.touch(4)
    assert (dirty.only, dirty.seen) == (frozenset({3, 4}), {3: frozenset({7, 8}), 4: frozenset()})
    dirty.everything = True
    assert (dirty.only, dirty.seen) == (None, {})


def test_what_was_observed_of_a_vip_adds_up() -> None:
    dirty = Dirty(everything=False)
    for ids in ([7], [], [8]):
        other = Dirty(everything=False)
        other.touch(3, ids)
        dirty.add(other)
    assert (dirty.only, dirty.seen) == (frozenset({3}), {3: frozenset({7, 8})})
