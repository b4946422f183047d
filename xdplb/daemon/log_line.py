"""How a line of the log is made: in one line, whatever is in it."""

from __future__ import annotations

import logging
from typing import Any

from xdplb.model.printable import printable

__all__ = ["LONGEST_LINE", "LineFormatter"]

LONGEST_LINE = 8000
"""Characters of one message that are logged. The journal splits lines of more than 48 KB."""


class LineFormatter(logging.Formatter):
    """Formats each message in one line, whatever is in it; the lines of a traceback below it are indented.

    So no word of a request, of a backend or of a library can pass for a line of the log.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (a method of logging)
        """Return the line."""
        record.message = printable(record.message, LONGEST_LINE)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 (a method of logging)
        """Return the traceback."""
        return "\n".join(f"    {printable(line, LONGEST_LINE)}" for line in super().formatException(ei).split("\n"))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 (a method of logging)
        """Return the stack."""
        return "\n".join(f"    {printable(line, LONGEST_LINE)}" for line in stack_info.split("\n"))
