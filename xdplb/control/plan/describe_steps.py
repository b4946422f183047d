"""What the steps of a plan do to traffic, as sentences for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from xdplb.balance.hashing import TABLE_SIZE
from xdplb.balance.slots import counts, unpack
from xdplb.control.plan.eligibility import Eligibility, Use
from xdplb.control.plan.steps import Step, WriteBackends, WriteTable
from xdplb.dataplane.features import Features
from xdplb.dataplane.plane import BackendEntry

__all__ = ["describe_features", "describe_steps"]

_USES = {
    Use.SERVING: "takes new connections",
    Use.KEEPING: "takes no new connections and keeps its open ones",
    Use.OUT: "is sent nothing",
}


def describe_features(lacking: Features) -> tuple[str, ...]:
    """Return a sentence about the program that a change needs, none where the one that runs will do."""
    if not lacking:
        return ()
    names = ", ".join(sorted(lacking))
    return (f"the program is compiled anew, with {names}, and swapped in; packets flow on meanwhile",)


def describe_steps(steps: Sequence[Step], eligibility: Mapping[int, Eligibility]) -> tuple[str, ...]:
    """Return a sentence for each table that changes and each backend that is written."""
    return tuple(_sentences(steps, eligibility))


def _sentences(steps: Sequence[Step], eligibility: Mapping[int, Eligibility]) -> Iterator[str]:
    for step in steps:
        if isinstance(step, WriteBackends):
            yield from (_backend_sentence(entry, eligibility[entry.id]) for entry in step.backends)
        elif isinstance(step, WriteTable):
            yield _table_sentence(step)


def _backend_sentence(entry: BackendEntry, standing: Eligibility) -> str:
    why = f": {standing.reason}" if standing.reason else ""
    return f"backend {entry.address} ({entry.forward}) {_USES[standing.use]}{why}"


def _table_sentence(step: WriteTable) -> str:
    before, after = unpack(step.before)[0], unpack(step.slots)[0]
    if not before.any() and not after.any():
        return f"packets to {step.key} are dropped until a backend can take them"
    if not before.any():
        return f"VIP {step.key}: {np.count_nonzero(after)} of {TABLE_SIZE} slots are given to backends"
    state = counts(step.slots)
    return (
        f"VIP {step.key}: {np.count_nonzero(before != after)} of {TABLE_SIZE} slots change hands, "
        f"and open connections stay where they are in {np.count_nonzero(step.moved)} of these; "
        f"then {state.steady} are steady, {state.moving} moving and {state.pinned} pinned"
    )
