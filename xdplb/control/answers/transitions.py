# SPDX-License-Identifier: Apache-2.0
"""How often VIPs and backends have changed their state, for the metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from xdplb.control.events import ChangeMade, Event, Events, HealthChanged, VipStatusChanged
from xdplb.control.plan.desired_diff import DiffKind

__all__ = ["Transitions"]


class Transitions:
    """Counts changes of the status of VIPs and of the health of backends, as they are told by events.

    They are counted in the control loop, and may be looked up in any thread. What is removed is forgotten.
    """

    def __init__(self, events: Events) -> None:
        self._vips: Counter[str] = Counter()
        self._backends: dict[str, Counter[str]] = {}
        events.listen(self._hear)

    def of_vip(self, vip: str) -> int:
        """Return how often the status of a VIP, by its key, has changed since the daemon started."""
        return self._vips.get(vip, 0)

    def of_backends(self, vip: str) -> Mapping[str, int]:
        """Return how often the health of backends of a VIP has changed since the daemon started, by address.

        It changes meanwhile: look up in it, but do not iterate.
        """
        return self._backends.get(vip, {})

    def _hear(self, event: Event) -> None:
        if isinstance(event, HealthChanged):
            self._backends.setdefault(event.vip, Counter())[event.backend] += 1
        elif isinstance(event, VipStatusChanged):
            self._vips[event.vip] += event.was is not None and event.was != event.status
        elif isinstance(event, ChangeMade):
            self._forget_what_is_gone(event)

    def _forget_what_is_gone(self, made: ChangeMade) -> None:
        for change in made.impact.changes:
            if change.kind is DiffKind.VIP_REMOVED:
                self._vips.pop(str(change.vip), None)
                self._backends.pop(str(change.vip), None)
            elif change.kind is DiffKind.BACKEND_REMOVED:
                self._backends.get(str(change.vip), Counter()).pop(str(change.backend), None)
