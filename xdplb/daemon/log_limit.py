# SPDX-License-Identifier: Apache-2.0
"""Keeps one kind of line from filling the log: the first ones are written, then one that says how many more came."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass

__all__ = ["DEFAULT_LINES", "LogLimit"]

DEFAULT_LINES = 50
"""How many lines of a kind are written within a period, if the record does not say."""
_PERIOD_SECONDS = 10.0
_SUMMARY = "sums_up"


@dataclass(slots=True)
class _Period:
    """What came of one kind since `began`. `last` is the last of the records that were not written."""

    began: float
    written: int = 0
    left_out: int = 0
    last: logging.LogRecord | None = None


class LogLimit(logging.Filter):
    """A filter of `handler`. It may be used in any thread.

    The kind of a record is its attribute `kind`, and the number of lines within a period its attribute `lines`, as
    events have them. Other records, also those of libraries, are of one kind if the same line of code logs them. When
    the period is over, the last record that was left out is written with the number of the others.
    """

    def __init__(
        self,
        handler: logging.Handler,
        *,
        period_seconds: float = _PERIOD_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._handler, self._seconds, self._clock = handler, period_seconds, clock
        self._periods: dict[Hashable, _Period] = {}
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to write this record now."""
        if getattr(record, _SUMMARY, False):
            return True
        kind = getattr(record, "kind", None) or (record.name, record.pathname, record.lineno)
        with self._lock:
            period = self._periods.get(kind)
            over = period if period is not None and self._is_over(period) else None
            if period is None or over is not None:
                period = self._periods[kind] = _Period(self._clock())
            is_written = period.written < getattr(record, "lines", DEFAULT_LINES)
            if is_written:
                period.written += 1
            else:
                period.left_out += 1
                period.last = record
                self._set_timer()
        if over is not None:
            self._sum_up(over)
        return is_written

    def flush(self) -> None:
        """Write now how many were left out."""
        with self._lock:
            periods = list(self._periods.values())
            self._periods.clear()
        for period in periods:
            self._sum_up(period)

    def _is_over(self, period: _Period) -> bool:
        return self._clock() - period.began >= self._seconds

    def _set_timer(self) -> None:
        """Come back when the period that began first is over. Called with the lock held."""
        if self._timer is not None:
            return
        first = min(period.began for period in self._periods.values() if period.last is not None)
        self._timer = threading.Timer(max(0.0, first + self._seconds - self._clock()), self._time_is_over)
        self._timer.daemon = True
        try:
            self._timer.start()
        except RuntimeError:  # no more threads: the next record of the kind brings the number
            self._timer = None

    def _time_is_over(self) -> None:
        with self._lock:
            self._timer = None
            over = {kind: period for kind, period in self._periods.items() if self._is_over(period)}
            for kind in over:
                del self._periods[kind]
            if any(period.last is not None for period in self._periods.values()):
                self._set_timer()
        for period in over.values():
            self._sum_up(period)

    def _sum_up(self, period: _Period) -> None:
        last = period.last
        if last is None:
            return
        more = f" … and {period.left_out - 1} more of this kind in {self._seconds:g} s" if period.left_out > 1 else ""
        summary = logging.makeLogRecord(
            {
                "name": last.name,
                "levelno": last.levelno,
                "levelname": last.levelname,
                "event": getattr(last, "event", None),
                "msg": last.getMessage() + more,
                _SUMMARY: True,
            }
        )
        with suppress(Exception):  # the log is not worth an error of its own
            self._handler.handle(summary)
