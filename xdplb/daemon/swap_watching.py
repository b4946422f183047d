# SPDX-License-Identifier: Apache-2.0
"""Watches a program that was swapped in: first before anything else happens, then in a thread of its own.

The control loop may be busy with its start for longer than a bad program may stay.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from xdplb.control.events import ProgramKept, ProgramRolledBack, Say, SwapNotWatched
from xdplb.dataplane.plane import DataPlane, SwapState
from xdplb.model.errors import XdplbError

from .systemd import asking_for_time

__all__ = ["watched"]

_STEP_SECONDS = 0.1


@contextmanager
def watched(plane: DataPlane, say: Say) -> Iterator[None]:
    """Watch the program, first before the block begins, then as long as it runs; `say` is called in any thread."""
    if plane.rolled_back is not None:
        say(ProgramRolledBack(plane.rolled_back))
    with asking_for_time():
        goes_on = _watch_alone(plane, say)
    if not goes_on:
        yield
        return
    stopping = Event()
    thread = Thread(target=_watch, args=(plane, say, stopping), name="swap watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def _watch_alone(plane: DataPlane, say: Say) -> bool:
    """Watch the program as long as nothing else should happen; return whether it is to be watched on."""
    while (state := _look(plane, say)) is not None and state.alone:
        time.sleep(_STEP_SECONDS)
    return state is not None


def _watch(plane: DataPlane, say: Say, stopping: Event) -> None:
    while _look(plane, say) is not None and not stopping.wait(_STEP_SECONDS):
        pass


def _look(plane: DataPlane, say: Say) -> SwapState | None:
    """Judge the program; say what came out at the end. Return how it is, None if it is not watched any more."""
    try:
        state = plane.watch_swap()
    except XdplbError as error:
        say(SwapNotWatched(str(error)))
        return None
    if state is None or not state.is_over:
        return state
    if state.worse is not None:
        say(ProgramRolledBack(state.worse))
    else:
        say(ProgramKept(round(state.after.seconds, 1), state.after.total, state.before.total))
    return None
