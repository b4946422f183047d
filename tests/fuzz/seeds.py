# SPDX-License-Identifier: Apache-2.0
"""Runs that once differed: what the program or the model got wrong must stay right. CI runs them first.

A seed means the same packets only as long as worlds.py, frames.py and disturb.py are what they were: what must be kept
for good gets a named packet in tests/fixtures, too.
"""

from __future__ import annotations

from tests.fuzz.comparison import Run

__all__ = ["SEEDS"]

SEEDS: tuple[Run, ...] = (
    # The weight of a backend that may not be sent to was taken for one that may: lc, wlc and p2c chose it.
    Run("choosing", 0, 1000),
    Run("choosing", 5, 1500),
)
