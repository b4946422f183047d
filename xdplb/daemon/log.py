"""The daemon's log is set up here: to stderr, with a limit for each kind of line, and beside the work."""

from __future__ import annotations

import atexit
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from .log_limit import LogLimit
from .log_line import LineFormatter
from .log_writer import LogWriter

__all__ = ["log_beside", "log_to_stderr"]


def log_to_stderr() -> None:
    """Log to stderr, with a limit for each kind of line. The journal adds the time and the name of the service."""
    if _writers():
        return
    in_journal = "JOURNAL_STREAM" in os.environ
    layout = "%(levelname)s %(message)s" if in_journal else "%(asctime)s %(levelname)s %(message)s"
    target = logging.StreamHandler(sys.stderr)
    target.setFormatter(LineFormatter(layout))
    writer = LogWriter(target)
    limit = LogLimit(writer)
    writer.addFilter(limit)
    atexit.register(limit.flush)
    logging.basicConfig(handlers=[writer], level=logging.INFO)
    # The start and the stop are logged elsewhere, and a warning is about a client.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)


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
