# SPDX-License-Identifier: Apache-2.0
"""Since when VIPs record every flow: after the idle timeout, each open connection has a record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from xdplb.control.state.snapshot import BoundVip
from xdplb.control.state.touched import Touched
from xdplb.model.vip import VipKey

__all__ = ["Tracked"]

_ALWAYS = datetime.min.replace(tzinfo=UTC)


class Tracked:
    """Kept in memory: after a restart, the time begins again."""

    def __init__(self) -> None:
        self._since: dict[int, datetime] = {}

    def start_with(self, vips: Mapping[VipKey, BoundVip], now: datetime) -> None:
        """Note the VIPs that are there at the start."""
        self._since = {vip.id: now for vip in vips.values() if vip.vip.tracks_always}

    def note(self, changes: Iterable[Touched], now: datetime) -> None:
        """Note the VIPs that a change touches; a new one has no connection without a record."""
        for each in changes:
            if each.before is not None and (each.after is None or not each.after.vip.tracks_always):
                self._since.pop(each.before.id, None)
            elif each.after is not None and each.after.vip.tracks_always:
                self._since.setdefault(each.after.id, _ALWAYS if each.before is None else now)

    def is_complete(self, vip_id: int, idle_seconds: float, now: datetime) -> bool:
        """Return whether each open connection of a VIP has been recorded, if no record was evicted."""
        since = self._since.get(vip_id)
        return since is not None and (now - since).total_seconds() > idle_seconds
