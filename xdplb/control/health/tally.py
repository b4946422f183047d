# SPDX-License-Identifier: Apache-2.0
"""The rule that turns the results of checks into up and down. Pure, but for the time of a result.

A backend of unknown health comes up at the first pass (as in HAProxy: a new backend waits for one result, not for
`rise`) and goes down after `fall` failures in a row. After that it takes `rise` passes in a row to come up and `fall`
failures in a row to go down. With several checks, each has this rule: one that is down is enough to be down, and all
must be up to be up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from xdplb.control.health.probes.result import ProbeResult
from xdplb.model.backend import Health
from xdplb.model.health import HealthCheck

__all__ = ["MOST_RECENT", "CheckTally", "Recent", "health_of", "health_of_all", "is_between", "tallied"]

MOST_RECENT = 10
"""How many results of a check are kept."""

Recent = tuple[datetime, bool | None, str, float]
"""A result that is kept: when it came, whether it passed, why, and how many seconds it took.

It is a plain tuple, which the garbage collector need not look at again: there are ten for each of thousands of checks.
"""


@dataclass(frozen=True, slots=True)
class CheckTally:
    """The results of one check: the last one, and how many passed and failed, in total and in a row.

    `streak` is positive for passes in a row, negative for failures. `verdict` is the health that these results alone
    show. `recent` are the last results, the latest one first.
    """

    last_run: datetime | None = None
    last: ProbeResult | None = None
    streak: int = 0
    passes: int = 0
    failures: int = 0
    verdict: Health = Health.UNKNOWN
    recent: tuple[Recent, ...] = ()


def tallied(check: HealthCheck, tally: CheckTally, result: ProbeResult) -> CheckTally:
    """Return the tally with one more result. A probe that this host could not run changes no count."""
    now = datetime.now(UTC)
    streak, passes, failures, verdict = tally.streak, tally.passes, tally.failures, tally.verdict
    recent = ((now, result.passed, result.reason, result.seconds), *tally.recent[: MOST_RECENT - 1])
    if result.passed is None:
        return CheckTally(now, result, streak, passes, failures, verdict, recent)
    if result.passed:
        streak, passes = max(streak, 0) + 1, passes + 1
    else:
        streak, failures = min(streak, 0) - 1, failures + 1
    if verdict is not (Health.UP if result.passed else Health.DOWN):
        verdict = _after(check, verdict, streak)
    return CheckTally(now, result, streak, passes, failures, verdict, recent)


def health_of(check: HealthCheck, health: Health, tally: CheckTally) -> Health:
    """Return the health of a backend with this one check that had `health`, after the last result in `tally`."""
    return _after(check, health, tally.streak)


def health_of_all(
    checks: Sequence[HealthCheck], health: Health, tallies: Sequence[CheckTally]
) -> tuple[Health, int | None]:
    """Return the health of a backend with these checks that had `health`, and the place of the one that fails.

    One that fails is enough to be down. To be up, all must pass: those of a backend that is down have passed `rise`
    times at least, even if that was before this daemon began to check it.
    """
    for place, tally in enumerate(tallies):
        if tally.verdict is Health.DOWN:
            return Health.DOWN, place
    if any(tally.verdict is Health.UNKNOWN for tally in tallies):
        return health, None
    if health is Health.DOWN and any(tally.passes < check.rise for check, tally in zip(checks, tallies, strict=True)):
        return health, None
    return Health.UP, None


def is_between(check: HealthCheck, tally: CheckTally) -> bool:
    """Return whether the last results are neither enough to be up nor enough to be down."""
    return -check.fall < tally.streak < check.rise


def _after(check: HealthCheck, health: Health, streak: int) -> Health:
    if streak >= (1 if health is Health.UNKNOWN else check.rise):
        return Health.UP
    return Health.DOWN if -streak >= check.fall else health
