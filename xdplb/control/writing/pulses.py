# SPDX-License-Identifier: Apache-2.0
"""Whether the threads that the daemon consists of still do what they are given, by having each do next to nothing.

Each is asked to call a function as soon as it gets to it. One that has not done so for too long hangs: on a lock, in a
system call, in an endless loop. A thread that computes may take longer: it is known by the CPU time that it uses.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MAPS_THREAD", "Ask", "Hang", "Pulses"]

MAPS_THREAD = "maps thread"
"""The name of the thread that writes and reads the maps."""

Ask = Callable[[Callable[[], None]], object]
"""Has a thread call a function soon. It may be called in any thread, and raises RuntimeError once the thread ends."""

_WORKING_SHARE = 0.1
_WORKING_TIMES = 10
"""A thread that uses a tenth of a CPU is given ten times as long: tables of thousands of VIPs take a minute."""


@dataclass(frozen=True, slots=True)
class Hang:
    """A thread that hangs: its name, what that means, and for how many seconds it has been so."""

    thread: str
    meaning: str
    seconds: float

    def __str__(self) -> str:
        return f"the {self.thread} hangs, for {self.seconds:.0f} s now: {self.meaning}"


@dataclass(slots=True)
class _Pulse:
    ask: Ask
    meaning: str
    is_vital: bool
    asked: float | None = None
    native_id: int = 0
    used: float = 0.0


def thread_seconds(native_id: int) -> float:
    """Return how much CPU time a thread of this process has used, in seconds; 0 if there is no such thread."""
    try:
        return int(Path(f"/proc/self/task/{native_id}/schedstat").read_text("ascii").split()[0]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


class Pulses:
    """The threads that are watched. `clock` is monotonic, in seconds; `used` the CPU time of a thread by its id."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, used: Callable[[int], float] = thread_seconds
    ) -> None:
        self._clock, self._used = clock, used
        self._pulses: dict[str, _Pulse] = {}
        self._lock = threading.Lock()
        self.hangs: Mapping[str, Hang] = {}
        """Those that hang now, by name. Replaced as a whole."""

    @property
    def threads(self) -> tuple[str, ...]:
        """The names of those that are watched."""
        return tuple(self._pulses)

    def watch(self, thread: str, ask: Ask, meaning: str, *, vital: bool = True) -> None:
        """Watch a thread. `meaning` says what it means if it hangs; one that is not `vital` is no reason to restart."""
        self._pulses = {**self._pulses, thread: _Pulse(ask, meaning, vital)}

    def look(self, limit: float) -> bool:
        """Ask those that have answered, and note who has not for `limit` seconds; return whether no vital one hangs.

        To be called several times within `limit`, always from the same thread.
        """
        now, hangs = self._clock(), {}
        for thread, pulse in self._pulses.items():
            asked = pulse.asked
            if asked is None:
                self._ask(pulse, now)
            elif now - asked > limit * (_WORKING_TIMES if self._is_working(pulse, now - asked) else 1):
                hangs[thread] = Hang(thread, pulse.meaning, now - asked)
        self.hangs = hangs
        return not any(self._pulses[thread].is_vital for thread in hangs)

    def start_over(self) -> None:
        """Forget how long answers have been waited for: the whole process stood still, or nobody looked."""
        now = self._clock()
        for pulse in self._pulses.values():
            with self._lock:
                if pulse.asked is not None:
                    pulse.asked = now

    def _ask(self, pulse: _Pulse, now: float) -> None:
        def answered() -> None:
            with self._lock:
                pulse.asked, pulse.native_id = None, threading.get_native_id()

        pulse.used = self._used(pulse.native_id)
        with self._lock:
            pulse.asked = now
        try:
            pulse.ask(answered)
        except RuntimeError:  # it was told to end
            pulse.asked = None

    def _is_working(self, pulse: _Pulse, waited: float) -> bool:
        return self._used(pulse.native_id) - pulse.used > _WORKING_SHARE * waited
