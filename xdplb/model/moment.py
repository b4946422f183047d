"""A moment in the past, as people write it: how long ago, a time of day, or a date with or without a time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from xdplb.model.errors import InvalidError
from xdplb.model.printable import quoted

__all__ = ["MOMENT_PATTERN", "parse_moment"]

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
        longest = int((now - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
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


def _read(text: str) -> datetime:
    return datetime.fromisoformat(re.sub(r"(\.[0-9]{6})[0-9]+", r"\1", text)).astimezone(UTC)
