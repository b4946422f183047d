# SPDX-License-Identifier: Apache-2.0
"""How long something takes, apart from the time in which it waits for a CPU that others have.

A promise such as "within a second" is about what xdplb waits for: timers, answers, locks. On a machine where many
processes want the same two cores, any of them is late by seconds through no fault of its own. The kernel counts for
each thread how long it was ready to run and did not; that is taken off here, so that the limit stays as promised.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["Stopwatch"]

_Delays = dict[int, int]
"""By thread: for how many nanoseconds it has been ready to run and did not."""


class Stopwatch:
    """Counts from now on, for this process and all that it has started, or that these have started.

    What waits beside others counts as if it were waited for, so that on a busy machine too much may be taken off.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._delays, self._stolen = _delays(), _stolen()

    @property
    def seconds(self) -> float:
        """How many seconds it has taken until now. A promise that something takes at least so long is about these."""
        return time.monotonic() - self._began

    @property
    def unhindered(self) -> float:
        """How many seconds it would have taken with CPUs of its own: for what takes no longer than promised."""
        return self.seconds - self.hindered

    @property
    def hindered(self) -> float:
        """How many seconds were spent ready to run, but without a CPU."""
        delayed = sum(delay - self._delays.get(thread, 0) for thread, delay in _delays().items())
        return delayed / 1e9 + _stolen() - self._stolen


def _delays() -> _Delays:
    found = {}
    for process in _ours():
        with suppress(OSError):  # it has ended
            for thread in Path(f"/proc/{process}/task").iterdir():
                with suppress(OSError):
                    found[int(thread.name)] = int((thread / "schedstat").read_text(encoding="ascii").split()[1])
    return found


def _ours() -> set[int]:
    """Return this process and all that it has started, or that these have started."""
    started: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(stat.read_text(errors="replace").rpartition(")")[2].split()[1])
            started.setdefault(parent, []).append(int(stat.parent.name))
    ours, found = set(), [os.getpid()]
    while found:
        ours.add(process := found.pop())
        found += started.get(process, [])
    return ours


def _stolen() -> float:
    """Return for how many seconds the host of this machine has taken its CPUs away."""
    first = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0]
    return int(first.split()[8]) / os.sysconf("SC_CLK_TCK")
