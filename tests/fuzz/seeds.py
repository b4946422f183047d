"""Runs that once differed: what the program or the model got wrong must stay right. CI runs them first."""

from __future__ import annotations

from tests.fuzz.comparison import Run

__all__ = ["SEEDS"]

SEEDS: tuple[Run, ...] = ()
