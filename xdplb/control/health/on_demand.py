# SPDX-License-Identifier: Apache-2.0
"""Probes that somebody asks for: all checks of some backends, once and now, with their steps. No tally changes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from xdplb.control.health.health_source import CheckTarget, HealthSource
from xdplb.control.health.probes.aim import Step, Steps
from xdplb.control.health.probes.result import ProbeResult
from xdplb.model.errors import ConflictError, InvalidError

__all__ = ["MOST_PROBES", "OnDemand", "Probed"]

MOST_PROBES = 256
"""How many probes one request may ask for."""
_MOST_AT_ONCE = 32
_MOST_REQUESTS = 4


@dataclass(frozen=True, slots=True)
class Probed:
    """What one probe found of a target, and its steps in their order."""

    target: CheckTarget
    result: ProbeResult
    steps: tuple[Step, ...]


class OnDemand:
    """Runs probes that are asked for, in the event loop of the checks: so many at once that these do not suffer."""

    def __init__(self, checker: HealthSource | None) -> None:
        self._checker = checker
        self._requests = 0

    async def probe(self, backend_ids: Sequence[int]) -> list[list[Probed]]:
        """Run all checks of each of these backends once; return what they found, in the order of the checks.

        Raises InvalidError if those would be too many probes, ConflictError if too many others ask for some.
        """
        checker = self._checker
        targets = [checker.targets_of(number) if checker is not None else () for number in backend_ids]
        if (count := sum(map(len, targets))) > MOST_PROBES:
            raise InvalidError(
                f"these backends have {count} checks, and at most {MOST_PROBES} are run at once for one request",
                hint="ask for one backend, by its address",
            )
        if self._requests >= _MOST_REQUESTS:
            raise ConflictError(
                f"{self._requests} other requests have probes run at this moment", hint="try again in a moment"
            )
        self._requests += 1
        room = asyncio.Semaphore(_MOST_AT_ONCE)
        try:
            async with asyncio.TaskGroup() as group:
                running = [
                    [group.create_task(self._one(room, number, target)) for target in wanted]
                    for number, wanted in zip(backend_ids, targets, strict=True)
                ]
        finally:
            self._requests -= 1
        return [[task.result() for task in tasks] for tasks in running]

    async def _one(self, room: asyncio.Semaphore, backend_id: int, target: CheckTarget) -> Probed:
        assert self._checker is not None
        async with room:
            found: asyncio.Future[ProbeResult] = asyncio.get_running_loop().create_future()
            steps = Steps()

            def on_result(result: ProbeResult) -> None:
                if not found.done():  # nobody may wait for it any more
                    found.set_result(result)

            probing = self._checker.probe(backend_id, target, steps, on_result)
            try:
                result = await found
            except asyncio.CancelledError:
                if probing is not None:
                    probing.cut()
                raise
        return Probed(target, result, tuple(steps.done))
