"""Health checks: one asyncio task per backend, and the rule that turns results into up and down.

A backend of unknown health comes up at the first pass (as in HAProxy: a new backend waits for one result, not for
`rise`) and goes down after `fall` failures in a row. After that it takes `rise` passes in a row to come up and `fall`
failures in a row to go down.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import resource
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

from xdplb.control.events import CheckBroke, Events
from xdplb.control.health.probe import ProbeResult, probe
from xdplb.control.plan.sources import ANY_SOURCE, Source
from xdplb.model.address import IPAddress
from xdplb.model.backend import Health, KnownHealth
from xdplb.model.health import HealthCheck

__all__ = [
    "CheckTally",
    "CheckTarget",
    "Checker",
    "HealthSource",
    "OnFlip",
    "OnSilence",
    "Probe",
    "SourceOf",
    "health_of",
    "tallied",
]

OnFlip = Callable[[int, Health, str], None]
"""Called in the event loop with the target's id, its new health and the reason as a sentence."""

OnSilence = Callable[[IPAddress, bool], None]
"""Called in the event loop when a check of this address failed and nothing came back from it.

The second argument says whether the check had not failed right before.
"""

Probe = Callable[..., Awaitable[ProbeResult]]
"""`probe`, or a stand-in, which gets no `source` where any will do."""

SourceOf = Callable[[IPAddress], Source]
"""Returns where a check of this backend must leave from, asked before each probe."""

_FIRST_WITHIN_SECONDS = 1.0
_SOON_SECONDS = 0.1
_QUICK_SECONDS = 0.25
_LATE_SECONDS = 0.1
_MOST_WHEN_LATE = 128


@dataclass(frozen=True, slots=True)
class CheckTarget:
    """What to check. `epoch` distinguishes backends that had the same id one after the other."""

    epoch: int
    address: IPAddress
    port: int
    check: HealthCheck


@dataclass(frozen=True, slots=True)
class CheckTally:
    """The results of the checks of one target: the last one, and how many passed and failed, in total and in a row.

    `streak` is positive for passes in a row, negative for failures.
    """

    last_run: datetime | None = None
    last: ProbeResult | None = None
    streak: int = 0
    passes: int = 0
    failures: int = 0


class HealthSource(Protocol):
    """The source of health: `Checker`, or a fake in tests."""

    async def start(
        self,
        on_flip: OnFlip,
        events: Events,
        on_silence: OnSilence | None = None,
        source_of: SourceOf | None = None,
    ) -> None:
        """Start checking the watched targets."""
        ...

    async def stop(self) -> None:
        """End all checks."""
        ...

    def watch(self, targets: Mapping[int, CheckTarget], known: Mapping[int, KnownHealth]) -> None:
        """Replace the set of targets, by backend id. `known` is their health, now and as `on_flip` changes it."""
        ...

    def change(self, gone: Iterable[int], targets: Mapping[int, CheckTarget], known: Mapping[int, KnownHealth]) -> None:
        """Check no more the backends with the ids `gone`, and check `targets`, by backend id, beside all others."""
        ...

    def recheck(self, backend_ids: Iterable[int]) -> None:
        """Check those of these backends again at once whose last check failed: the way to them has changed."""
        ...

    def tally(self, backend_id: int) -> CheckTally | None:
        """Return the tally of this backend's checks, None if it is not watched."""
        ...

    def tallies(self) -> Mapping[int, CheckTally]:
        """Return the tallies of all checks, by backend id."""
        ...


def tallied(tally: CheckTally, result: ProbeResult) -> CheckTally:
    """Return the tally with one more result. A probe that this host could not run changes no count."""
    tally = replace(tally, last_run=datetime.now(UTC), last=result)
    if result.passed is None:
        return tally
    same = tally.streak > 0 if result.passed else tally.streak < 0
    step = 1 if result.passed else -1
    return replace(
        tally,
        streak=tally.streak + step if same else step,
        passes=tally.passes + (1 if result.passed else 0),
        failures=tally.failures + (0 if result.passed else 1),
    )


def health_of(check: HealthCheck, health: Health, tally: CheckTally) -> Health:
    """Return the health of a backend that had `health`, after the last result in `tally`."""
    if tally.streak >= (1 if health is Health.UNKNOWN else check.rise):
        return Health.UP
    return Health.DOWN if -tally.streak >= check.fall else health


class Checker:
    """Runs the checks of all backends, in the event loop in which it is started."""

    def __init__(self, probe: Probe = probe) -> None:
        self._probe = probe
        self._on_flip: OnFlip | None = None
        self._on_silence: OnSilence | None = None
        self._source_of: SourceOf | None = None
        self._events = Events()
        self._known: Mapping[int, KnownHealth] = {}
        self._targets: dict[int, CheckTarget] = {}
        self._tallies: dict[int, CheckTally] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._rechecked: dict[int, float] = {}
        self._few = asyncio.Semaphore(_MOST_WHEN_LATE)

    async def start(
        self,
        on_flip: OnFlip,
        events: Events,
        on_silence: OnSilence | None = None,
        source_of: SourceOf | None = None,
    ) -> None:
        """Start checking the watched targets; `on_flip` is called at every change of health."""
        _allow_many_sockets()
        self._on_flip, self._on_silence, self._events = on_flip, on_silence, events
        self._source_of = source_of
        for backend_id in self._targets:
            self._begin(backend_id)

    async def stop(self) -> None:
        """End all checks; return when none is running any more."""
        self._on_flip = self._on_silence = None
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def watch(self, targets: Mapping[int, CheckTarget], known: Mapping[int, KnownHealth]) -> None:
        """Replace the set of targets. An unchanged target keeps its task and tally; a changed one starts again."""
        self.change(self._targets.keys() - targets.keys(), targets, known)

    def change(self, gone: Iterable[int], targets: Mapping[int, CheckTarget], known: Mapping[int, KnownHealth]) -> None:
        """Check no more the backends with the ids `gone`, and check `targets`, by backend id, beside all others.

        An unchanged target keeps its task and tally; a changed one starts again.
        """
        self._known = known
        for backend_id in gone:
            self._end(backend_id)
        for backend_id, target in targets.items():
            before = self._targets.get(backend_id)
            if before is target or before == target:
                continue
            if before is not None:
                self._end(backend_id)
            self._targets[backend_id] = target
            self._tallies[backend_id] = CheckTally()
            if self._on_flip is not None:
                self._begin(backend_id)

    def tally(self, backend_id: int) -> CheckTally | None:
        """Return the tally of this backend's checks, None if it is not watched."""
        return self._tallies.get(backend_id)

    def tallies(self) -> Mapping[int, CheckTally]:
        """Return the tallies of all checks, by backend id."""
        return dict(self._tallies)

    def recheck(self, backend_ids: Iterable[int]) -> None:
        """Check those of these backends again at once whose last check failed: the way to them has changed.

        A check under way is given up, since its packets may have gone the old way. If it passes, the next ones follow
        quickly, so that the backend need not wait for `rise` intervals. While the way changes all the time, as when two
        hosts have the same address, checks still come to an end.
        """
        now = asyncio.get_running_loop().time()
        for backend_id in backend_ids:
            task, tally = self._tasks.get(backend_id), self._tallies.get(backend_id)
            if task is None or tally is None or tally.streak >= 0:
                continue
            patience = self._targets[backend_id].check.timeout_seconds + _FIRST_WITHIN_SECONDS
            if now - self._rechecked.get(backend_id, -math.inf) >= patience:
                self._rechecked[backend_id] = now
                task.cancel()
                self._begin(backend_id, within_seconds=_SOON_SECONDS, quick=True)

    def _begin(self, backend_id: int, *, within_seconds: float = _FIRST_WITHIN_SECONDS, quick: bool = False) -> None:
        target = self._targets[backend_id]
        self._tasks[backend_id] = asyncio.create_task(self._run(backend_id, target, within_seconds, quick=quick))

    def _end(self, backend_id: int) -> None:
        del self._targets[backend_id], self._tallies[backend_id]
        self._rechecked.pop(backend_id, None)
        task = self._tasks.pop(backend_id, None)
        if task is not None:
            task.cancel()

    async def _run(self, backend_id: int, target: CheckTarget, within_seconds: float, *, quick: bool) -> None:
        """Check forever. Times follow from the schedule, not from when a probe ended, so that they do not drift.

        While `quick`, the checks that pass are followed by the next one soon, until they are enough to come up.
        """
        check = target.check
        clock = asyncio.get_running_loop().time
        # Spreading load needs no cryptographic randomness.
        due = clock() + random.uniform(0, min(check.interval_seconds, within_seconds))  # noqa: S311
        while True:
            await asyncio.sleep(max(0.0, due - clock()))
            result = await self._try_in_time(target, late=clock() - due)
            tally = self._note(backend_id, target, result)
            quick = quick and 0 < tally.streak < check.rise
            pause = min(_QUICK_SECONDS, check.interval_seconds) if quick else check.interval_seconds
            due += pause * (1 + random.uniform(-check.jitter, check.jitter))  # noqa: S311
            due = max(due, clock())  # after a long stall, do not catch up on the missed checks

    async def _try_in_time(self, target: CheckTarget, *, late: float) -> ProbeResult:
        """Probe once; if this host is `late` (seconds), only together with few others.

        If all began whenever they are due, none would end within its timeout on a host that is too busy, and the work
        for them would keep it busy.
        """
        if late < _LATE_SECONDS:
            return await self._try(target)
        async with self._few:
            return await self._try(target)

    async def _try(self, target: CheckTarget) -> ProbeResult:
        """Probe once. An unexpected error says nothing about the backend, and must not end its checks."""
        try:
            source = ANY_SOURCE if self._source_of is None else self._source_of(target.address)
            probe = self._probe if source is ANY_SOURCE else partial(self._probe, source=source)
            return await probe(target.check, str(target.address), target.port)
        except Exception as error:
            self._events.say(CheckBroke(str(target.address), target.port, repr(error)), trace=error)
            return ProbeResult(None, f"this host could not run the check: {error!r}", 0.0)

    def _note(self, backend_id: int, target: CheckTarget, result: ProbeResult) -> CheckTally:
        before = self._tallies[backend_id]
        tally = self._tallies[backend_id] = tallied(before, result)
        known = self._known.get(backend_id)
        health = Health.UNKNOWN if known is None else known.health
        after = health_of(target.check, health, tally)
        if result.passed is False and not result.heard and self._on_silence is not None:
            self._on_silence(target.address, before.streak >= 0)
        if after is not health and self._on_flip is not None:
            self._on_flip(backend_id, after, result.reason)
        return tally


def _allow_many_sockets() -> None:
    """Raise the soft limit of open files to the hard limit: every probe in flight holds a socket."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
