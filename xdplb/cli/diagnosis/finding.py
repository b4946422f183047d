"""What one look found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "Level", "fail", "ok", "warn"]


class Level(StrEnum):
    """Whether xdplb works with it: yes, yes but, no."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what is so, and what to do about it (empty when nothing is to do)."""

    level: Level
    check: str
    detail: str
    fix: str = ""


def ok(check: str, detail: str) -> Finding:
    """Return the finding that all is well."""
    return Finding(Level.OK, check, detail)


def warn(check: str, detail: str, fix: str) -> Finding:
    """Return the finding that it works, with a limit that one should know."""
    return Finding(Level.WARN, check, detail, fix)


def fail(check: str, detail: str, fix: str) -> Finding:
    """Return the finding that it does not work."""
    return Finding(Level.FAIL, check, detail, fix)
