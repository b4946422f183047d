# SPDX-License-Identifier: Apache-2.0
"""Probes at a backend's own address beside its check by the VIP's way: only for the words of what fails there."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import replace

from xdplb.control.health.health_source import CheckTarget, Probing
from xdplb.control.health.probes.result import OnResult, ProbeResult
from xdplb.control.health.vip_way import words

__all__ = ["Beside"]

_LOOK_SECONDS = 3.0


class Beside:
    """What is found at a backend's own address while its check by the VIP's way fails.

    `begin` begins a probe there. `retell` is called with other words for the last failure, once that has found them.
    """

    __slots__ = ("_begin", "_found", "_looked", "_probing", "_retell", "_target")

    def __init__(
        self,
        target: CheckTarget,
        begin: Callable[[CheckTarget, OnResult], Probing | None],
        retell: Callable[[str], None],
    ) -> None:
        self._target, self._begin, self._retell = target, begin, retell
        self._found: ProbeResult | None = None
        """What the last probe found, since the check fails."""
        self._looked = -math.inf
        self._probing: Probing | None = None

    def explained(self, result: ProbeResult) -> ProbeResult:
        """Return a result of the check, with the reason in these words if it failed."""
        if result.passed is not False:
            self._found = None
            return result
        return replace(result, reason=words(self._target, result, self._found))

    def look(self, failed: ProbeResult, failures: int, now: float) -> None:
        """Probe the backend's own address too, if it is time: the check has failed for so many times in a row.

        At the first failure, when the backend goes down, and every few seconds after that: a host that has booted
        answers at its own address again, and may have lost the VIP.
        """
        is_time = failures in {1, self._target.check.fall} or now - self._looked >= _LOOK_SECONDS
        if self._probing is not None or not is_time:
            return
        self._looked = now

        def on_result(result: ProbeResult) -> None:
            before = self._found
            self._probing, self._found = None, result
            if before is None or _kind(before) != _kind(result):
                self._retell(words(self._target, failed, result))

        with contextlib.suppress(Exception):  # it is only for the words
            self._probing = self._begin(self._target, on_result)

    def cut(self) -> None:
        """End a probe that is under way."""
        if self._probing is not None:
            self._probing.cut()
            self._probing = None


def _kind(result: ProbeResult) -> tuple[bool | None, bool]:
    """Return what the words depend on."""
    return result.passed, result.heard
