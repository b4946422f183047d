# SPDX-License-Identifier: Apache-2.0
"""A host whose checks pass or fail as a test says, and what to check of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address

from xdplb.control.health.health_source import CheckTarget
from xdplb.control.health.probes.result import ProbeResult
from xdplb.model.backend import Health
from xdplb.model.health import HealthCheck

PASS = ProbeResult(passed=True, reason="ok", seconds=0.0)
FAIL = ProbeResult(passed=False, reason="no", seconds=0.0)
NO_RESULT = ProbeResult(passed=None, reason="?", seconds=0.0)
NOW = datetime(2030, 1, 1, tzinfo=UTC)
U, D, N = Health.UP, Health.DOWN, Health.UNKNOWN


class Host:
    """Answers every try as `passing` says, and counts."""

    def __init__(self, passing: bool = True) -> None:
        self.passing = passing
        self.tries: list[float] = []

    async def probe(self, check: HealthCheck, host: str, port: int) -> ProbeResult:
        self.tries.append(asyncio.get_running_loop().time())
        return PASS if self.passing else FAIL


def target(epoch: int = 0, **times: float) -> tuple[CheckTarget, ...]:
    check = replace(HealthCheck(interval_seconds=0.05, rise=2, fall=2), **times)  # type: ignore[arg-type]
    return (CheckTarget(epoch, IPv4Address("192.0.2.1"), 80, check),)
