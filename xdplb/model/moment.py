# SPDX-License-Identifier: Apache-2.0
"""Moments: as people write those of the past, as numbers since 1970, and as they are shown.

People write how long ago it is, a time of day, or a date with or without a time.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from xdplb.model.errors import InvalidError
from xdplb.model.printable import quoted

__all__ = ["MOMENT_PATTERN", "moment_of_ns", "moment_of_seconds", "moment_text", "ns_of_moment", "parse_moment"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_AGO = re.compile(r"([1-9][0-9]{0,8})([smhd])")
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?"
_DAY = re.compile(_TIME)
_ZONE = r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
_DATE = re.compile(rf"([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})(?:[T ]({_TIME})({_ZONE})?)?")

MOMENT_PATTERN = f"^(?:{_AGO.pattern}|{_DAY.pattern}|{_DATE.pattern})$"

_HINT = "write it like 1h (an hour ago), 03:12, 2026-11-28, or 2026-11-28T03:12:00Z; in UTC, if no zone is given"


def parse_moment(text: str, now: datetime, pointer: str) -> datetime:
    """Return the moment in `text`, in UTC; a time of day is the last one before `now`. InvalidError at `pointer`."""
    if (ago := _AGO.fullmatch(text)) is not None:
        seconds = int(ago[1]) * _UNITS[ago[2]]
        longest = int((now - _EPOCH).total_seconds())
        return now - timedelta(seconds=min(seconds, longest))
    if _DAY.fullmatch(text):
        today = _read(f"{now.date()}T{text}+00:00")
        return today if today <= now else today - timedelta(days=1)
    if (date := _DATE.fullmatch(text)) is not None:
        day, time, zone = date.groups()
        try:
            return _read(f"{day}T{time or '00:00'}{(zone or 'Z').replace('Z', '+00:00')}")
        except (ValueError, OverflowError):
            raise InvalidError.field(pointer, f"{quoted(text, 60)} is not a date that exists", hint=_HINT) from None
    raise InvalidError.field(pointer, f"{quoted(text, 60)} is not a moment", hint=_HINT)


def moment_of_ns(ns: int) -> datetime:
    """Return the moment `ns` nanoseconds after 1970 began, to the microsecond."""
    return _EPOCH + timedelta(microseconds=ns // 1000)


def ns_of_moment(moment: datetime) -> int:
    """Return how many nanoseconds after 1970 began a moment is: the reverse of `moment_of_ns`."""
    return int((moment - _EPOCH) / timedelta(microseconds=1)) * 1000


def moment_of_seconds(seconds: float) -> datetime:
    """Return the moment `seconds` after 1970 began, to the second."""
    return _EPOCH + timedelta(seconds=int(seconds))


def moment_text(moment: datetime, timespec: str = "seconds") -> str:
    """Return a moment of UTC as RFC 3339 has it, such as 2026-11-28T03:12:00Z; `timespec` as `isoformat` has it."""
    return moment.isoformat(timespec=timespec).replace("+00:00", "Z")


def _read(text: str) -> datetime:
    return datetime.fromisoformat(re.sub(r"(\.[0-9]{6})[0-9]+", r"\1", text)).astimezone(UTC)
