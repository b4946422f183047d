# SPDX-License-Identifier: Apache-2.0
"""How a line of the log is made: in one line, whatever is in it, as text or as JSON."""

from __future__ import annotations

import json
import logging
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from xdplb.model.moment import moment_of_ns, moment_text
from xdplb.model.printable import printable

if TYPE_CHECKING:
    from xdplb.control.events import Event

__all__ = ["LONGEST_LINE", "JournalFormatter", "JsonFormatter", "LineFormatter", "LogFormat"]

LONGEST_LINE = 8000
"""Characters of one message that are logged. The journal splits lines of more than 48 KB."""

_LONGEST_JSON = 40_000
_SHORT_MESSAGE = 3000
"""Characters of a message if the line is too long with more: each may take 12 in ASCII."""

_ABOUT = ("vip", "backend", "actor")
"""Fields that many events have: they stand beside `data`, as in the events that are kept."""

_PRIORITIES = ((50, 2), (40, 3), (30, 4), (25, 5), (20, 6), (0, 7))
"""From which level of Python's logging on a line has which severity of syslog."""

_WORDS = {2: "critical", 3: "error", 4: "warning", 5: "notice", 6: "info", 7: "debug"}


class LogFormat(StrEnum):
    """How lines are written."""

    TEXT = "text"
    JSON = "json"


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


class JsonFormatter(logging.Formatter):
    """Formats each record as a JSON object in one line of ASCII; that of an event has its kind and its fields, too."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        message = record.getMessage()
        line: dict[str, object] = {
            "time": moment_text(moment_of_ns(int(record.created * 1e9)), "milliseconds"),
            "level": _WORDS[_priority(record.levelno)],
            "message": message[:LONGEST_LINE],
        }
        event = getattr(record, "event", None)
        line |= {"logger": record.name} if event is None else _fields(event)
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        text = json.dumps(line, default=str)
        if len(text) > _LONGEST_JSON:
            line["message"] = message[:_SHORT_MESSAGE]
            text = json.dumps({name: line[name] for name in ("time", "level", "message", "kind") if name in line})
        return text


def _fields(event: Event) -> dict[str, object]:
    """Return what a line has of an event. Its own fields stand apart: some are called as those of all lines are."""
    data = event.data()
    return {"kind": event.KIND, **{name: data.pop(name, None) for name in _ABOUT}, "data": data}


class JournalFormatter(logging.Formatter):
    """Puts the severity before each line that `lines` makes, as `<4>`, by which `journalctl -p` filters (sd-daemon(3)).

    The journal takes each line of a traceback for a message of its own.
    """

    def __init__(self, lines: logging.Formatter) -> None:
        super().__init__()
        self._lines = lines

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines."""
        before = f"<{_priority(record.levelno)}>"
        return "\n".join(before + line for line in self._lines.format(record).split("\n"))


def _priority(level: int) -> int:
    return next(priority for least, priority in _PRIORITIES if level >= least)
