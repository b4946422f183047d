# SPDX-License-Identifier: Apache-2.0
"""The metrics of a process that Prometheus' own libraries have, under their names."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

from .exposition import NO_LABELS, Family

__all__ = ["of_process"]

_STAT = Path("/proc/self/stat")
_STATM = Path("/proc/self/statm")
_FDS = Path("/proc/self/fd")
_START_FIELD = 19
"""Where the start is behind the name in `/proc/self/stat`, in clock ticks since the boot: see proc(5)."""


def _started() -> float:
    ticks = int(_STAT.read_text().rpartition(")")[2].split()[_START_FIELD])
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")


_STARTED = _started()
"""Read once: the wall clock may be set later, and the start of a process does not change."""


def of_process() -> Iterator[Family]:
    """Yield what the kernel says of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    yield _gauge("process_start_time_seconds", "When the process started, in seconds since 1970.", _STARTED)
    yield Family(
        "process_cpu_seconds_total",
        "counter",
        "CPU time that all threads of the daemon have used.",
        [(NO_LABELS, used.ru_utime + used.ru_stime)],
    )
    pages = int(_STATM.read_text().split()[1])
    yield _gauge("process_resident_memory_bytes", "Memory in use.", pages * resource.getpagesize())
    yield _gauge("process_open_fds", "Open file descriptors.", sum(1 for _ in _FDS.iterdir()))
    yield _gauge("process_max_fds", "How many may be open.", resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _gauge(name: str, words: str, value: float) -> Family:
    return Family(name, "gauge", words, [(NO_LABELS, value)])
