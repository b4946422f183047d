# SPDX-License-Identifier: Apache-2.0
"""A drain that is over, whose certificate the daemon has not finished yet."""

from __future__ import annotations

from typing import Any

import pytest

from xdplb.cli.drain_wait import Settling


def status(outcome: str | None) -> Any:
    return {"certificate": None if outcome is None else {"outcome": outcome}}


def test_it_waits_until_all_certificates_say_how_it_ended() -> None:
    settling = Settling()
    assert not settling.is_done([status("drained"), status("draining")], 60)
    assert settling.is_done([status("drained"), status("cut"), status(None)], 60)


def test_it_does_not_wait_past_the_timeout() -> None:
    assert Settling().is_done([status("draining")], 1)


def test_it_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("xdplb.cli.drain_wait.time.monotonic", lambda: now[0])
    settling = Settling()
    assert not settling.is_done([status("draining")], 60)
    now[0] = 3.5
    assert settling.is_done([status("draining")], 56)
