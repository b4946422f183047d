# SPDX-License-Identifier: Apache-2.0
"""The daemon's log is set up here: to stderr, with a limit for each kind of line, and beside the work."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TextIO

from .log_limit import LogLimit
from .log_line import JournalFormatter, JsonFormatter, LineFormatter, LogFormat
from .log_writer import LogWriter

__all__ = ["LogFormat", "is_log_for_programs", "log_beside", "log_to_stderr"]

_log = logging.getLogger("xdplb")


def log_to_stderr(log_format: LogFormat = LogFormat.TEXT) -> None:
    """Log to stderr, with a limit for each kind of line. What has been set up already stays as it is.

    The journal adds the time and the name of the service, and gets the severity of each line.
    """
    if _writers():
        return
    target = logging.StreamHandler(sys.stderr)
    target.setFormatter(_formatter(log_format, in_journal=_is_journal(sys.stderr)))
    writer = LogWriter(target)
    writer.setFormatter(target.formatter)
    limit = LogLimit(writer)
    writer.addFilter(limit)
    atexit.register(limit.flush)
    logging.basicConfig(handlers=[writer], level=logging.INFO)
    # The start and the stop are logged elsewhere, and a warning is about a client.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    logging.getLogger("asyncio").addFilter(_is_about_us)
    _log_what_python_prints()


def is_log_for_programs() -> bool:
    """Return whether each line of stderr has a form that a program reads: an error in other words would be lost."""
    return any(isinstance(writer.formatter, JsonFormatter | JournalFormatter) for writer in _writers())


def _log_what_python_prints() -> None:
    """Have warnings, and errors that nobody caught, in the log: Python prints them in a form of its own."""
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    sys.unraisablehook = _unraisable


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    _log.critical("ended by an error that nobody expected: %s", error, exc_info=(kind, error, trace))


def _uncaught_in_thread(told: threading.ExceptHookArgs) -> None:
    if told.exc_value is not None and not issubclass(told.exc_type, SystemExit):
        name = told.thread.name if told.thread is not None else "a thread"
        trace = (told.exc_type, told.exc_value, told.exc_traceback)
        _log.error("%s ended by an error that nobody expected: %s", name, told.exc_value, exc_info=trace)


def _unraisable(told: Any) -> None:  # sys.UnraisableHookArgs is there for type checkers only
    error = told.exc_value
    _log.error("%s %r: %s", told.err_msg or "an error was ignored in", told.object, error, exc_info=error)


def _is_about_us(record: logging.LogRecord) -> bool:
    """Whether a line of asyncio is about more than a client that went away while it was answered."""
    return record.msg not in ("socket.send() raised exception.", "SSL connection is closed")


def _formatter(log_format: LogFormat, *, in_journal: bool) -> logging.Formatter:
    layout = "%(levelname)s %(message)s" if in_journal else "%(asctime)s %(levelname)s %(message)s"
    lines = JsonFormatter() if log_format is LogFormat.JSON else LineFormatter(layout)
    return JournalFormatter(lines) if in_journal else lines


def _is_journal(stream: TextIO) -> bool:
    """Return whether the stream is the one that systemd has connected to the journal: systemd.exec(5).

    A process whose stderr goes elsewhere may have inherited the variable.
    """
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


@contextmanager
def log_beside() -> Iterator[None]:
    """While the block runs, write the log in a thread, so that nothing waits for whoever reads it."""
    writers = _writers()
    if not writers:
        yield
        return
    with writers[0].beside():
        yield


def _writers() -> list[LogWriter]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, LogWriter)]
