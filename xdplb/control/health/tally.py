"""The rule that turns the results of checks into up and down. Pure, but for the time of a result.

A backend of unknown health comes up at the first pass (as in HAProxy: a new backend waits for one result, not for
`rise`) and goes down after `fall` failures in a row. After that it takes `rise` passes in a row to come up and `fall`
failures in a row to go down.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from xdplb.control.health.probes.result import ProbeResult
from xdplb.model.backend import Health
from xdplb.model.health import HealthCheck

__all__ = ["CheckTally", "health_of", "tallied"]


@dataclass(frozen=True, slots=True)
class CheckTally:
    """The results of one check: the last one, and how many passed and failed, in total and in a row.

    `streak` is positive for passes in a row, negative for failures.
    """

    last_run: datetime | None = None
    last: ProbeResult | None = None
    streak: int = 0
    passes: int = 0
    failures: int = 0


def tallied(tally: CheckTally, result: ProbeResult) -> CheckTally:
    """Return the tally with one more result. A probe that this host could not run changes no count."""
    now = datetime.now(UTC)
    if result.passed is None:
        return CheckTally(now, result, tally.streak, tally.passes, tally.failures)
    if result.passed:
        return CheckTally(now, result, max(tally.streak, 0) + 1, tally.passes + 1, tally.failures)
    return CheckTally(now, result, min(tally.streak, 0) - 1, tally.passes, tally.failures + 1)


def health_of(check: HealthCheck, health: Health, tally: CheckTally) -> Health:
    """Return the health of a backend that had `health`, after the last result in `tally`."""
    if tally.streak >= (1 if health is Health.UNKNOWN else check.rise):
        return Health.UP
    return Health.DOWN if -tally.streak >= check.fall else health
