# SPDX-License-Identifier: Apache-2.0
"""Moments as numbers and as texts."""

from __future__ import annotations

from datetime import UTC, datetime

from xdplb.model.moment import moment_of_ns, moment_of_seconds, moment_text, ns_of_moment

_MOMENT = datetime(2026, 11, 28, 3, 12, 0, 250_000, UTC)


def test_a_moment_is_the_same_as_a_number() -> None:
    ns = 1_795_835_520_250_000_000
    assert ns_of_moment(_MOMENT) == ns
    assert moment_of_ns(ns + 999) == _MOMENT
    assert moment_of_seconds(ns / 1e9) == _MOMENT.replace(microsecond=0)


def test_a_moment_is_shown_as_the_api_shows_it() -> None:
    assert moment_text(_MOMENT) == "2026-11-28T03:12:00Z"
    assert moment_text(_MOMENT, "milliseconds") == "2026-11-28T03:12:00.250Z"
