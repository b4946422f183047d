# SPDX-License-Identifier: Apache-2.0
"""The backends that flap: the one place that holds them. Nothing of it is stored: a restart begins anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from types import MappingProxyType

from xdplb.control.health.flapping import Flapping, fallen
from xdplb.model.hold import Hold

__all__ = ["FlapBook"]

_NONE: Mapping[int, Hold] = MappingProxyType({})


class FlapBook:
    """Which backends are held down, by id. Used in the event loop; `holds` may be read in any thread."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._flapping: dict[int, Flapping] = {}
        self.holds: Mapping[int, Hold] = _NONE
        """Those that are held. Replaced as a whole, and empty but for flapping backends."""

    def __bool__(self) -> bool:
        """Whether any backend has gone down."""
        return bool(self._flapping)

    def fell(self, backend_ids: Iterable[int]) -> dict[int, Hold]:
        """Note that these backends, which were up, went down; return those that are held from now on."""
        now, new = self._now(), dict[int, Hold]()
        holds: dict[int, Hold] = {}
        # By identity, with what has it: a host that dies is a backend of a thousand VIPs, and all fell together before.
        alike: dict[int, tuple[Flapping | None, Flapping]] = {}
        for number in backend_ids:
            before = self._flapping.get(number)
            if id(before) not in alike:
                alike[id(before)] = before, fallen(before, now)
            _, found = alike[id(before)]
            self._flapping[number] = found
            if found.hold is not None and found.hold.until > now:
                holds[number] = found.hold
                if number not in self.holds:
                    new[number] = found.hold
        if holds:
            self.holds = {**self.holds, **holds}
        return new

    def over(self) -> list[int]:
        """Forget the holds that are over, and return whose they were."""
        now = self._now()
        found = [number for number, hold in self.holds.items() if hold.until <= now]
        if found:
            self.holds = {number: hold for number, hold in self.holds.items() if hold.until > now} or _NONE
        return found

    def forget(self, backend_ids: Iterable[int]) -> list[int]:
        """Forget that these backends flapped, and return those that were held."""
        held = []
        for number in backend_ids:
            self._flapping.pop(number, None)
            if number in self.holds:
                held.append(number)
        if held:
            self.holds = {number: hold for number, hold in self.holds.items() if number not in held} or _NONE
        return held
