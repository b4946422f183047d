# SPDX-License-Identifier: Apache-2.0
"""Rates from counters that were read twice: what `xdplb stats --rate` prints and `xdplb top` shows."""

from __future__ import annotations

from typing import Any

__all__ = ["rates"]


def rates(before: Any, now: Any, seconds: float) -> Any:
    """Return `now`, an answer of the API, with each counter as its increase per second since `before`.

    A counter that is new counts from 0. One that fell was started anew, as when its VIP was added again: it has no rate
    (None), since nobody knows what it counted before that.
    """
    if isinstance(now, dict):
        known = before if isinstance(before, dict) else {}
        return {name: rates(known.get(name), value, seconds) for name, value in now.items()}
    if isinstance(now, list):
        known = {_name(item): item for item in before or []}
        return [rates(known.get(_name(item)), item, seconds) for item in now]
    if not isinstance(now, int):
        return now
    rise = now - (before or 0)
    return round(rise / seconds, 3) if rise >= 0 else None


def _name(item: Any) -> Any:
    """Return what tells a VIP or a backend in an answer from the others."""
    return item.get("vip", item.get("backend")) if isinstance(item, dict) else item
