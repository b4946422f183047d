"""Watches a program that was swapped in, in a thread of its own: the control loop may be busy with its start."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from xdplb.control.events import ProgramKept, ProgramRolledBack, Say, SwapNotWatched
from xdplb.dataplane.plane import DataPlane, SwapState
from xdplb.model.errors import XdplbError

__all__ = ["watched"]

_STEP_SECONDS = 0.1


@contextmanager
def watched(plane: DataPlane, say: Say) -> Iterator[None]:
    """Watch the program as long as it needs to be, at most until the block ends; `say` is called in that thread."""
    if _is_over(plane, say):
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


def _watch(plane: DataPlane, say: Say, stopping: Event) -> None:
    while not stopping.wait(_STEP_SECONDS) and not _is_over(plane, say):
        pass


def _is_over(plane: DataPlane, say: Say) -> bool:
    """Judge the program once; return whether that was the last time, and say what came out."""
    try:
        state = plane.watch_swap()
    except XdplbError as error:
        say(SwapNotWatched(str(error)))
        return True
    if state is not None and state.is_over:
        say(_said(state))
    return state is None or state.is_over


def _said(state: SwapState) -> ProgramKept | ProgramRolledBack:
    if state.worse is not None:
        return ProgramRolledBack(state.worse)
    return ProgramKept(round(state.after.seconds, 1), state.after.total, state.before.total)
