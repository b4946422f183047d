# SPDX-License-Identifier: Apache-2.0
"""Writes the log beside the work: who does not read it, such as a paused terminal, holds nothing up but the log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread

__all__ = ["LogWriter"]

_MOST_LINES = 10_000
_LAST_SECONDS = 2.0


class LogWriter(logging.Handler):
    """Gives records to `target`: at once, or while `beside` is entered in a thread of its own."""

    def __init__(self, target: logging.Handler, most_lines: int = _MOST_LINES) -> None:
        super().__init__()
        self._target, self._most = target, most_lines
        self._queue: SimpleQueue[logging.LogRecord | None] | None = None
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, or let it be written soon. If too many wait to be written, it is lost, and counted."""
        if self._queue is None:
            self._target.handle(record)
            return
        if self._queue.qsize() < self._most:
            self._queue.put(record)
        else:
            self._lost += 1

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Write in a thread while the block runs; at its end, wait for what is left to be written, 2 s at most."""
        queue = self._queue = SimpleQueue()
        thread = Thread(target=self._write_all, args=[queue], name="xdplb-log", daemon=True)
        thread.start()
        try:
            yield
        finally:
            queue.put(None)
            thread.join(_LAST_SECONDS)
            if not thread.is_alive():
                self._queue = None

    def _write_all(self, queue: SimpleQueue[logging.LogRecord | None]) -> None:
        while (record := queue.get()) is not None:
            self._target.handle(record)
            if self._lost:
                lost, self._lost = self._lost, 0
                words = f"{lost} lines are missing here: nobody read the log, and too many were waiting"
                self._target.handle(logging.makeLogRecord({"levelno": 30, "levelname": "WARNING", "msg": words}))
