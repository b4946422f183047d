# SPDX-License-Identifier: Apache-2.0
"""Waiting for what is to come. For what runs in an event loop there is `until` of fakes.py."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

__all__ = ["PATIENCE", "until"]

PATIENCE = float(os.environ.get("XDPLB_TEST_PATIENCE", "1"))
"""How many times as long as usual tests wait: more for an emulated CPU."""


def until(holds: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait until this is true, and return it; fail if it takes longer than `seconds`."""
    end = time.monotonic() + seconds * PATIENCE
    while not (found := holds()):
        assert time.monotonic() < end, f"not so after {seconds} s"
        time.sleep(0.05)
    return found
