# SPDX-License-Identifier: Apache-2.0
"""One CPU for a whole run: per-CPU maps are then one map, and the model knows which turn a rotation takes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["bind", "on_one_cpu"]


def bind(number: int) -> None:
    """Bind this process to one of its CPUs, counted round."""
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpus[number % len(cpus)]})


@contextmanager
def on_one_cpu() -> Iterator[None]:
    """Bind this process to its last CPU, for as long as this lasts."""
    before = os.sched_getaffinity(0)
    bind(-1)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
