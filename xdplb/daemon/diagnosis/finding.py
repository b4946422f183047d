# SPDX-License-Identifier: Apache-2.0
"""The result of one check of the doctor."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "Level", "fail", "ok", "warn"]


class Level(StrEnum):
    """Whether xdplb works with it: yes, yes with a limitation, no."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was checked, what was found, and how to fix it (empty if there is nothing to fix)."""

    level: Level
    check: str
    detail: str
    fix: str = ""


def ok(check: str, detail: str) -> Finding:
    """Return the finding that all is well."""
    return Finding(Level.OK, check, detail)


def warn(check: str, detail: str, fix: str) -> Finding:
    """Return the finding that it works, but with a limitation."""
    return Finding(Level.WARN, check, detail, fix)


def fail(check: str, detail: str, fix: str) -> Finding:
    """Return the finding that it does not work."""
    return Finding(Level.FAIL, check, detail, fix)
