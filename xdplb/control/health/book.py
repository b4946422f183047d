# SPDX-License-Identifier: Apache-2.0
"""The known health of each backend: the one place that holds it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime

from xdplb.model.advice import Advice
from xdplb.model.backend import Health, KnownHealth

__all__ = ["HealthBook"]


class HealthBook:
    """Health by backend id, and which of it is not saved yet. Used only in the event loop."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._known: dict[int, KnownHealth] = {}
        self._unsaved: set[int] = set()
        self.changes = 0
        """How often anything has changed, for whoever looks at all of it only then, in any thread."""

    @property
    def known(self) -> Mapping[int, KnownHealth]:
        """The health of all backends, as a live mapping: it changes as checks report."""
        return self._known

    def start_with(self, known: Mapping[int, KnownHealth]) -> None:
        """Start with the health in the store."""
        self._known = dict(known)

    def set(self, changed: Mapping[int, KnownHealth], gone: Collection[int] = ()) -> None:
        """Set these, which are already saved. First forget the health of the backends that had the ids `gone`."""
        for backend_id in gone:
            self._known.pop(backend_id, None)
            self._unsaved.discard(backend_id)
        self._known.update(changed)
        self.changes += 1

    def flip(self, backend_ids: Collection[int], health: Health, reason: str) -> None:
        """Set the health that one result of a check showed of these backends; it will be saved later.

        Those that had it already have it for another reason, since when they had it.
        """
        now, is_down = self._now(), health is Health.DOWN
        alike: defaultdict[tuple[bool, Advice | None], list[int]] = defaultdict(list)
        for number in backend_ids:
            known = self._known.get(number)
            if known is not None and known.health is health:
                self._known[number] = replace(known, reason=reason)
                continue
            was_up = is_down and known is not None and (known.health is Health.UP or known.was_up)
            alike[was_up, None if known is None else known.advice].append(number)
        for (was_up, advice), ids in alike.items():
            self._known.update(dict.fromkeys(ids, KnownHealth(health, reason, now, was_up, advice)))
        self._unsaved.update(backend_ids)
        self.changes += 1

    def advise(self, advice: Mapping[int, Advice]) -> None:
        """Set what the agents of these backends want; it will be saved later."""
        for number, each in advice.items():
            if (known := self._known.get(number)) is not None:
                self._known[number] = replace(known, advice=each)
                self._unsaved.add(number)

    def is_up(self, backend_id: int) -> bool:
        """Return whether a backend is up."""
        known = self._known.get(backend_id)
        return known is not None and known.health is Health.UP

    def of(self, backend_id: int) -> Health:
        """Return the health of a backend."""
        known = self._known.get(backend_id)
        return Health.UNKNOWN if known is None else known.health

    def take_unsaved(self) -> dict[int, KnownHealth]:
        """Return the health that is not saved yet, and count it as saved."""
        unsaved, self._unsaved = self._unsaved, set()
        return {backend_id: self._known[backend_id] for backend_id in unsaved if backend_id in self._known}

    def put_back(self, backend_ids: Collection[int]) -> None:
        """Count these as not saved again, after an error."""
        self._unsaved |= set(backend_ids)
