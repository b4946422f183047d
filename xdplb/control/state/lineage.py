# SPDX-License-Identifier: Apache-2.0
"""How a state and the store that it may be a copy of belong together. Pure.

A state in a store has a *lineage*, an id that it got when it was first written, and each change of it a generation and
a digest. Each balancer knows the last ones of those that it has had. So it knows an older point of its own lineage,
to which a store was restored, from a state that has gone another way.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

from xdplb.control.state.entries import Json
from xdplb.control.state.store_copy import StoreCopy
from xdplb.control.state.written import SCHEMA

__all__ = ["Verdict", "judged"]


class Verdict(Enum):
    """What to do with what is found in the store."""

    SAME = auto()
    """It is what is here."""
    TAKE = auto()
    """It is newer, or there is nothing here: take it."""
    WRITE = auto()
    """It is empty, or an older point of the same lineage: write what is here into it."""
    LEAVE = auto()
    """Both are empty: whoever makes the first change writes the first head."""
    DIVERGED = auto()
    """It has gone another way than what is here: take it, and tell what is lost."""
    FOREIGN = auto()
    """What is here has VIPs, and was never in this store or any other: nobody knows which of the two is wanted."""
    NEWER = auto()
    """A newer version has written it, in a way that this one does not know."""


def judged(copy: StoreCopy, past: Mapping[int, str], head: Json | None, *, is_empty: bool) -> Verdict:
    """Return what to do with a store that has this head, None if it has none.

    `copy` is what the state here is a copy of, `past` the digests of that lineage by generation, as far as they are
    known, and `is_empty` whether the state here has no VIPs.
    """
    if head is None:
        return Verdict.LEAVE if is_empty and not copy.lineage else Verdict.WRITE
    if head["schema"] > SCHEMA:
        return Verdict.NEWER
    if not copy.lineage:
        return Verdict.TAKE if is_empty else Verdict.FOREIGN
    return _of_one_lineage(copy, past, head) if head["instance"] == copy.lineage else Verdict.DIVERGED


def _of_one_lineage(copy: StoreCopy, past: Mapping[int, str], head: Json) -> Verdict:
    if head["generation"] > copy.generation:
        return Verdict.TAKE
    if head["generation"] == copy.generation:
        return Verdict.SAME if head["digest"] == copy.head["digest"] else Verdict.DIVERGED
    return Verdict.WRITE if past.get(head["generation"]) == head["digest"] else Verdict.DIVERGED
