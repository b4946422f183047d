"""The daemon's log."""

from __future__ import annotations

import atexit
import logging
import os
import sys

from .log_limit import LogLimit

__all__ = ["log_to_stderr"]


def log_to_stderr() -> None:
    """Log to stderr, with a limit for each kind of line. The journal adds the time and the name of the service."""
    in_journal = "JOURNAL_STREAM" in os.environ
    layout = "%(levelname)s %(message)s" if in_journal else "%(asctime)s %(levelname)s %(message)s"
    handler = logging.StreamHandler(sys.stderr)
    limit = LogLimit(handler)
    handler.addFilter(limit)
    atexit.register(limit.flush)
    logging.basicConfig(handlers=[handler], level=logging.INFO, format=layout)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # we log the start and the stop ourselves
