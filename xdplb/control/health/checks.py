"""Health checks: one asyncio task a backend, and the rule that turns results into up and down.

From unknown, the first pass makes a backend up (as in HAProxy: a backend just added waits for one result, not for
`rise`), and `fall` failures in a row make it down. From then on it takes `rise` passes to come up and `fall` failures
to go down.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import resource
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from xdplb.control.health.probe import ProbeResult, probe
from xdplb.model.address import IPAddress
from xdplb.model.backend import Health
from xdplb.model.health import HealthCheck

__all__ = ["CheckTally", "CheckTarget", "Checker", "HealthSource", "OnFlip", "Probe", "tally"]

log = logging.getLogger(__name__)

OnFlip = Callable[[int, Health, str], None]
"""Called in the event loop with the target's id, its new health and the reason as a sentence."""

Probe = Callable[[HealthCheck, str, int], Awaitable[ProbeResult]]

_FIRST_WITHIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class CheckTarget:
    """What to check. `epoch` tells apart backends that were given the same id one after the other."""

    epoch: int
    address: IPAddress
    port: int
    check: HealthCheck


@dataclass(frozen=True, slots=True)
class CheckTally:
    """What the checks of one target say: its health, the latest result, and how many of its kind in a row."""

    health: Health
    last_run: datetime | None = None
    last: ProbeResult | None = None
    streak: int = 0
    passes: int = 0
    failures: int = 0


class HealthSource(Protocol):
    """Where health comes from: `Checker`, or a fake of it in tests."""

    async def start(self, on_flip: OnFlip) -> None:
        """Begin to check what is watched."""
        ...

    async def stop(self) -> None:
        """End all checks."""
        ...

    def watch(self, targets: Mapping[int, CheckTarget], last_known: Mapping[int, Health]) -> None:
        """Replace the set of targets, by backend id; a target that is new starts from its last known health."""
        ...

    def record(self, backend_id: int) -> CheckTally | None:
        """Return what the checks of this backend say, None when it is not watched."""
        ...

    def records(self) -> Mapping[int, CheckTally]:
        """Return what all checks say at this moment, by backend id."""
        ...


def tally(check: HealthCheck, record: CheckTally, result: ProbeResult) -> CheckTally:
    """Return the record after one more result. A try that this host could not make changes no count."""
    record = replace(record, last_run=datetime.now(UTC), last=result)
    if result.passed is None:
        return record
    same = record.streak > 0 if result.passed else record.streak < 0
    step = 1 if result.passed else -1
    streak = record.streak + step if same else step
    health = record.health
    if streak >= (1 if health is Health.UNKNOWN else check.rise):
        health = Health.UP
    elif -streak >= check.fall:
        health = Health.DOWN
    return replace(
        record,
        health=health,
        streak=streak,
        passes=record.passes + (1 if result.passed else 0),
        failures=record.failures + (0 if result.passed else 1),
    )


class Checker:
    """Runs the checks of all backends. Everything happens in the event loop it is started in."""

    def __init__(self, probe: Probe = probe) -> None:
        self._probe = probe
        self._on_flip: OnFlip | None = None
        self._targets: dict[int, CheckTarget] = {}
        self._records: dict[int, CheckTally] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def start(self, on_flip: OnFlip) -> None:
        """Begin to check what is watched; `on_flip` is called at every change of health."""
        _allow_many_sockets()
        self._on_flip = on_flip
        for backend_id in self._targets:
            self._begin(backend_id)

    async def stop(self) -> None:
        """End all checks; returns when none runs any more."""
        self._on_flip = None
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def watch(self, targets: Mapping[int, CheckTarget], last_known: Mapping[int, Health]) -> None:
        """Replace the set of targets. One that is unchanged goes on as it was; a new check keeps the health."""
        for backend_id in self._targets.keys() - targets.keys():
            self._end(backend_id)
        for backend_id, target in targets.items():
            before = self._targets.get(backend_id)
            if before is target or before == target:
                continue
            health = last_known.get(backend_id, Health.UNKNOWN)
            if before is not None:
                if before.epoch == target.epoch:
                    health = self._records[backend_id].health
                self._end(backend_id)
            self._targets[backend_id] = target
            self._records[backend_id] = CheckTally(health)
            if self._on_flip is not None:
                self._begin(backend_id)

    def record(self, backend_id: int) -> CheckTally | None:
        """Return what the checks of this backend say, None when it is not watched."""
        return self._records.get(backend_id)

    def records(self) -> Mapping[int, CheckTally]:
        """Return what all checks say at this moment, by backend id."""
        return dict(self._records)

    def _begin(self, backend_id: int) -> None:
        self._tasks[backend_id] = asyncio.create_task(self._run(backend_id, self._targets[backend_id]))

    def _end(self, backend_id: int) -> None:
        del self._targets[backend_id], self._records[backend_id]
        task = self._tasks.pop(backend_id, None)
        if task is not None:
            task.cancel()

    async def _run(self, backend_id: int, target: CheckTarget) -> None:
        """Check for ever. Times are kept from the plan, not from when a try ended, so that they do not drift."""
        check = target.check
        clock = asyncio.get_running_loop().time
        # Spreading load needs no cryptographic randomness.
        due = clock() + random.uniform(0, min(check.interval_seconds, _FIRST_WITHIN_SECONDS))  # noqa: S311
        while True:
            await asyncio.sleep(max(0.0, due - clock()))
            result = await self._try(target)
            self._note(backend_id, check, result)
            due += check.interval_seconds * (1 + random.uniform(-check.jitter, check.jitter))  # noqa: S311
            due = max(due, clock())

    async def _try(self, target: CheckTarget) -> ProbeResult:
        """Try once. What nobody expected says nothing of the backend, and must not end its checks."""
        try:
            return await self._probe(target.check, str(target.address), target.port)
        except Exception as error:
            log.exception("check failed to run: backend=%s port=%d", target.address, target.port)
            return ProbeResult(None, f"this host could not run the check: {error!r}", 0.0)

    def _note(self, backend_id: int, check: HealthCheck, result: ProbeResult) -> None:
        before = self._records[backend_id]
        after = tally(check, before, result)
        self._records[backend_id] = after
        if after.health is not before.health and self._on_flip is not None:
            self._on_flip(backend_id, after.health, result.reason)


def _allow_many_sockets() -> None:
    """Raise the soft limit of open files to the hard one: every check in flight holds a socket."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
