# SPDX-License-Identifier: Apache-2.0
"""Threads that keep what the daemon has given up are named; those that are just ending are none."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from tests.stopwatch import Stopwatch
from xdplb.daemon import privileges
from xdplb.daemon.privileges import privileged_threads

ALL, KEPT = "000001ffffffffff", "0000000000203000"


def _thread(tasks: Path, number: int, name: str, capabilities: str) -> Path:
    task = tasks / str(number)
    task.mkdir()
    (task / "status").write_text(f"Name:\t{name}\nCapPrm:\t{capabilities}\nCapEff:\t{capabilities}\n")
    (task / "comm").write_text(f"{name}\n")
    return task


def test_a_thread_that_may_do_more_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileges, "_ENDING_SECONDS", 0.05)
    _thread(tmp_path, 1, "xdplb", KEPT)
    _thread(tmp_path, 2, "blas", ALL)
    assert privileged_threads(tmp_path) == ["blas"]


def test_a_thread_that_was_joined_and_is_still_listed_is_waited_for(tmp_path: Path) -> None:
    _thread(tmp_path, 1, "xdplb", KEPT)
    ending = _thread(tmp_path, 2, "asking-for-time", ALL)
    timer = threading.Timer(0.05, lambda: shutil.rmtree(ending))
    timer.start()
    assert privileged_threads(tmp_path) == []
    timer.join()


def test_a_thread_that_ends_while_it_is_looked_at_is_none(tmp_path: Path) -> None:
    (tmp_path / "3").mkdir()  # its files are gone already
    watch = Stopwatch()
    assert privileged_threads(tmp_path) == []
    assert watch.unhindered < 0.4
