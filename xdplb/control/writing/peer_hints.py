# SPDX-License-Identifier: Apache-2.0
"""Hints about backends: what flips here is told to the peers, and what flips there is checked here at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence

from xdplb.control.health.health_source import HealthSource
from xdplb.model.address import IPAddress
from xdplb.model.backend import Health
from xdplb.model.key import VipKey
from xdplb.peers.hints import Hint

__all__ = ["PeerHints"]

_MANY_VIPS = 16
"""A backend that flips in more VIPs than that is told of once, for all of them."""
_AGAIN_SECONDS = 1.0
"""How often at most a backend is checked because of hints: of several peers, or of one that flaps."""
_MOST_REMEMBERED = 10_000

BackendsOther = Callable[[IPAddress, str, Health], Collection[int]]
"""Returns the ids of the backends at an address, of a VIP or of all, whose health is another one."""


class PeerHints:
    """Makes hints and acts on them. Used in the event loop. It never changes the health of a backend."""

    def __init__(self, checker: HealthSource | None, others: BackendsOther, clock: Callable[[], float]) -> None:
        self._checker, self._others, self._clock = checker, others, clock
        self._checked: dict[tuple[IPAddress, str], float] = {}

    @staticmethod
    def of(flipped: Iterable[tuple[VipKey, IPAddress]], health: Health) -> list[Hint]:
        """Return what the peers are told of these backends, which have this health now."""
        if health is Health.UNKNOWN:
            return []
        vips: defaultdict[IPAddress, list[VipKey]] = defaultdict(list)
        for key, address in flipped:
            vips[address].append(key)
        return [
            Hint(vip, address, is_up=health is Health.UP)
            for address, keys in vips.items()
            for vip in (map(str, keys) if len(keys) <= _MANY_VIPS else ("",))
        ]

    def take(self, hints: Sequence[Hint]) -> None:
        """Check at once what peers saw flip, unless it is known here already."""
        if self._checker is None:
            return
        now = self._clock()
        if len(self._checked) > _MOST_REMEMBERED:
            self._checked.clear()
        for hint in hints:
            ids = self._others(hint.backend, hint.vip, Health.UP if hint.is_up else Health.DOWN)
            key = hint.backend, hint.vip
            if not ids or now - self._checked.get(key, -_AGAIN_SECONDS) < _AGAIN_SECONDS:
                continue
            self._checked[key] = now
            if hint.is_up:
                self._checker.recheck(ids)
            else:
                self._checker.hurry(ids)
