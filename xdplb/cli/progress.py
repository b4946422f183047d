# SPDX-License-Identifier: Apache-2.0
"""A line on stderr that says what takes so long, while it does. Only on a terminal that can erase it."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["erase_progress", "is_shown", "show_progress", "ticking"]

_SILENCE_SECONDS = 1.0
_TICK_SECONDS = 0.5
_ERASE = "\r\x1b[K"


class _Line:
    """The line: whether it is shown now, and whether somebody keeps it up to date."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_there = False
        self.ticks = False

    def show(self, text: str, end: str) -> None:
        width = shutil.get_terminal_size().columns - 1 - len(end)
        with self._lock:
            _write(_ERASE + (text if len(text) <= width else f"{text[: width - 1]}…") + end)
            self._is_there = True

    def erase(self) -> None:
        with self._lock:
            if self._is_there:
                _write(_ERASE)
                self._is_there = False


_line = _Line()


def is_shown() -> bool:
    """Return whether there is such a line at all: stderr is a terminal, and no dumb one."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def show_progress(text: str, end: str = "") -> None:
    """Show `text` in place of what the line has shown so far: as much of it as there is room for before its `end`."""
    if is_shown():
        _line.show(text, end)


def erase_progress() -> None:
    """Erase the line, so that something else can be printed."""
    _line.erase()


@contextmanager
def ticking(what: str | Callable[[], str]) -> Iterator[None]:
    """While the block runs, say `what` it does and for how long it has, from its first second on. The log goes on.

    Within another such block, it is the outer one that speaks.
    """
    if _line.ticks or not is_shown():
        yield
        return
    _line.ticks = True
    over = threading.Event()
    ticker = threading.Thread(target=_tick, args=[what, over], name="xdplb-progress", daemon=True)
    handlers = logging.getLogger().handlers
    for handler in handlers:
        handler.addFilter(_erased_before)
    ticker.start()
    try:
        yield
    finally:
        _line.ticks = False
        over.set()
        ticker.join()
        for handler in handlers:
            handler.removeFilter(_erased_before)
        erase_progress()


def _tick(what: str | Callable[[], str], over: threading.Event) -> None:
    began = time.monotonic()
    pause = _SILENCE_SECONDS
    while not over.wait(pause):
        pause = _TICK_SECONDS
        show_progress(what if isinstance(what, str) else what(), f": {time.monotonic() - began:.0f} s")


def _erased_before(_record: logging.LogRecord) -> bool:
    """Let a line of the log pass, once the progress is out of its way."""
    erase_progress()
    return True


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
