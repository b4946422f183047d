# SPDX-License-Identifier: Apache-2.0
"""What all events have: a kind, a level, a log line, and their fields as JSON; and how they are said."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum, IntEnum
from typing import ClassVar

from xdplb.control.events.actor import Actor
from xdplb.control.state.certificate import Certificate
from xdplb.model.printable import quoted, word

__all__ = ["NOTICE", "AboutVips", "Event", "Events", "Level", "Say"]

log = logging.getLogger(__name__)

NOTICE = 25
"""The log level for what is normal and worth knowing. Python's logging has none between INFO and WARNING."""
logging.addLevelName(NOTICE, "NOTICE")


class Level(IntEnum):
    """How serious an event is: syslog's severities (RFC 5424), which `journalctl -p` filters by. Smaller is worse."""

    CRITICAL = 2
    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6
    DEBUG = 7

    @property
    def word(self) -> str:
        """Its name as it is shown, such as `warning`."""
        return self.name.lower()

    @property
    def logged_as(self) -> int:
        """The level of Python's logging."""
        return NOTICE if self is Level.NOTICE else int(getattr(logging, self.name))


@dataclass(frozen=True, slots=True)
class Event:
    """An event. Its log line is `TITLE`, then its fields as `name=value`, except those that are None.

    `KIND` is its name for machines, which never changes. No more than `LINES` of one kind are written to the log in
    10 s; then one more says how many came. Fields with `repr=False` are neither in the line nor in `data`.
    """

    KIND: ClassVar[str]
    TITLE: ClassVar[str]
    LEVEL: ClassVar[Level] = Level.INFO
    LINES: ClassVar[int] = 50

    def __str__(self) -> str:
        return self.line()

    @property
    def level(self) -> Level:
        """How serious it is. Some kinds decide by their fields."""
        return self.LEVEL

    @property
    def happened(self) -> int | None:
        """When it happened, in ns since 1970, if that is known better than by when it is said."""
        return None

    def subjects(self) -> Sequence[tuple[str, str | None]]:
        """Return the VIPs that it is about, each with a backend or None, if its fields do not say it."""
        return ()

    def line(self) -> str:
        """Return the log line."""
        shown = ((one.name, getattr(self, one.name)) for one in fields(self) if one.repr)
        pairs = " ".join(f"{name}={_shown(name, value)}" for name, value in shown if value is not None)
        return f"{self.TITLE}: {pairs}" if pairs else self.TITLE

    def data(self) -> dict[str, object]:
        """Return its fields as a JSON object."""
        return {one.name: _json(getattr(self, one.name)) for one in fields(self) if one.repr}


class AboutVips:
    """What events have that are found by the VIPs of an address. To be named before Event among the bases."""

    __slots__ = ()
    vips: tuple[str, ...]

    def subjects(self) -> Sequence[tuple[str, str | None]]:
        """Return the VIPs."""
        return [(vip, None) for vip in self.vips]


_LONGEST_TEXT = 2000
"""Characters of one text in the data: others choose how long it is."""

_SENTENCES = frozenset({"reason", "error"})
"""Fields that hold a sentence, and are always quoted. Of the others, only what is not one plain word is."""


def _shown(name: str, value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return quoted(str(value)) if name in _SENTENCES else word(str(value))


def _json(value: object) -> object:
    """Return a value of a field as JSON has it."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str):
        return value if len(value) <= _LONGEST_TEXT else f"{value[:_LONGEST_TEXT]}…"
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(name): _json(each) for name, each in value.items()}
    if isinstance(value, Sequence):
        return [_json(each) for each in value]
    return value.data() if isinstance(value, Actor | Certificate) else str(value)


Say = Callable[[Event], None]
"""Takes an event. It may be called in any thread."""


class Events:
    """Sends events to the log and to the listeners."""

    def __init__(self) -> None:
        self._listeners: list[Say] = []

    def listen(self, listener: Say) -> None:
        """Call `listener` with every event from now on, in the thread in which it happens."""
        self._listeners.append(listener)

    def say(self, event: Event, *, trace: BaseException | None = None) -> None:
        """Write the event's log line, with the traceback of `trace` if given, and call the listeners."""
        about = {"kind": event.KIND, "lines": event.LINES, "event": event}
        # The line is made when it is written, which is not in the control loop: a thousand backends may fail at once.
        log.log(event.level.logged_as, "%s", event, exc_info=trace, extra=about)
        for listener in self._listeners:
            listener(event)
