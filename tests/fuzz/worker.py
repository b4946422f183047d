# SPDX-License-Identifier: Apache-2.0
"""A process that runs what `scripts/fuzz` hands out, with kernels of its own."""

from __future__ import annotations

from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

from tests.fuzz.affinity import bind
from tests.fuzz.both import Difference
from tests.fuzz.comparison import Run, compare
from tests.fuzz.kernel import Kernel
from tests.fuzz.profiles import PROFILES

__all__ = ["begin", "run_once"]

_kernels: dict[str, Kernel] = {}
_folder = Path()


def begin(number: Synchronized[int], folder: Path) -> None:
    """Give this process a CPU and a folder of its own."""
    global _folder  # noqa: PLW0603 - a process of the pool has nothing else that lasts
    with number.get_lock():
        mine = number.value
        number.value += 1
    bind(mine)
    _folder = folder / str(mine)
    _folder.mkdir()


def run_once(run: Run) -> str | None:
    """Return what differed in a run; looked at closely where the clock lets it happen again."""
    if run.profile not in _kernels:
        _kernels[run.profile] = Kernel(_folder / run.profile, PROFILES[run.profile])
    try:
        compare(_kernels[run.profile], run)
    except Difference as first:
        try:
            compare(_kernels[run.profile], run, closely=True)
        except Difference as second:
            return _text(second)
        return _text(first)
    return None


def _text(difference: Difference) -> str:
    return "\n".join(["DIFFERENCE", str(difference), *difference.__notes__])
