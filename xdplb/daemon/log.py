"""The daemon's log."""

from __future__ import annotations

import logging
import os
import sys

__all__ = ["log_to_stderr"]


def log_to_stderr() -> None:
    """Log to stderr. The journal adds the time and the name of the service itself."""
    in_journal = "JOURNAL_STREAM" in os.environ
    layout = "%(levelname)s %(message)s" if in_journal else "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=layout)
    # The start and the stop are logged elsewhere, and a warning is about a client, which could fill the log with them.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
