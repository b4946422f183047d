# SPDX-License-Identifier: Apache-2.0
"""The history: takes events from any thread without a wait, keeps them, and finds them again.

One thread writes and reads the file. Events come by a queue, and are written some at a time: a kill of the process
loses what came in the last tenth of a second, except changes, which the state has kept with them (see `told`).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Empty, SimpleQueue

from xdplb.control.events import (
    ChangeMade,
    DaemonStarted,
    DaemonStopped,
    Event,
    Events,
    EventsKeptAgain,
    EventsLost,
    EventsNotKept,
)
from xdplb.control.history.file import HistoryFile
from xdplb.control.history.kept_event import KeptEvent, kept_event_of
from xdplb.control.history.wanted import Page, Wanted
from xdplb.control.state.told import Told
from xdplb.model.errors import PlatformError

__all__ = ["History", "Kept", "Retention"]

_log = logging.getLogger(__name__)

_GATHER_SECONDS = 0.05
_A_BATCH = 200
_MOST_WAITING = 20_000
_MOST_WAITING_BYTES = 32 << 20
_RETRY_SECONDS = 5.0
_IDLE_SECONDS = 1.0
_TIDY_SECONDS = 30.0
_TIDY_EVENTS = 1000
_A_PART = 500
_LAST_SECONDS = 5.0
_LONG_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Retention:
    """How many events are kept, and for how many days: the oldest go first."""

    rows: int = 100_000
    days: float = 30.0


@dataclass(frozen=True, slots=True)
class Kept:
    """How it stands: the events kept now, how many came and were dropped since the start, and how many wait.

    `error` says why none can be kept now, empty if they can.
    """

    rows: int
    came: int
    dropped: int
    error: str
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class _Question:
    """A page that somebody waits for."""

    wanted: Wanted
    answer: Future[Page]


class History:
    """The events of a daemon, in the file at `path`, or in memory only if that is None.

    It keeps what `events` says from the moment that it is made. `now` is a clock that nobody sets, by which events
    grow old.
    """

    def __init__(
        self,
        path: Path | None,
        events: Events,
        retention: Retention = Retention(),
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._file, self.events, self._retention, self._now = HistoryFile(path), events, retention, now
        self._queue: SimpleQueue[tuple[int, Event] | _Question | None] = SimpleQueue()
        self._hurry = threading.Event()
        self._waiting: deque[KeptEvent] = deque()
        self._waiting_bytes = 0
        self._thread: threading.Thread | None = None
        self._readers: list[Callable[[], None]] = []
        self._error, self._retry_at, self._tidy_at, self._untidy = "", 0.0, 0.0, 0
        self._taken = self._dropped = self._refused = self._dropped_told = 0
        self._generation = 0
        self.kept_generation = 0
        """The last change whose event is on the disk for good."""
        self.last_run = "none"
        """How the daemon before this one ended."""
        self.is_ending = False
        """Whether readers are to end, since the daemon stops."""
        events.listen(self._take)

    @property
    def kept(self) -> Kept:
        """How it stands now."""
        refused = self._refused
        waiting = self._queue.qsize() + len(self._waiting)
        return Kept(self._file.rows, self._taken + refused, self._dropped + refused, self._error, waiting)

    @staticmethod
    def moment() -> datetime:
        """Return the present time of the clock by which events have their times."""
        return datetime.now(UTC)

    def _take(self, event: Event) -> None:
        """Take an event, in the thread in which it happens."""
        if self._queue.qsize() >= _MOST_WAITING:
            self._refused += 1
        else:
            self._queue.put((event.happened or time.time_ns(), event))

    def told(self, event: ChangeMade) -> Told:
        """Return what the state is to keep of a change's event, for a `start` after this process was killed."""
        return Told(event.generation, lambda: _text_of(event), self.kept_generation)

    def start(self, unkept: Iterable[str] = ()) -> None:
        """Open the file and begin to keep events. `unkept` are texts of events that may not be in it yet."""
        events = [KeptEvent.of_text(text) for text in unkept if text]
        self._attempt(lambda: self._file.append_missing(events))
        self.last_run = self._how_it_ended()
        self._thread = threading.Thread(target=self._run, name="xdplb-events", daemon=True)
        self._thread.start()

    def _how_it_ended(self) -> str:
        """Return how the daemon before this one ended, as DaemonStarted has it."""
        try:
            last = self._file.last_kind([DaemonStarted.KIND, DaemonStopped.KIND])
        except (sqlite3.Error, OSError):
            return "none"
        return {None: "none", DaemonStopped.KIND: "stopped"}.get(last, "killed")

    def stop(self) -> None:
        """Keep what has been said until now, and close the file. What is said later is only logged."""
        self.end_readers()
        if self._thread is not None:
            self._queue.put(None)
            self._hurry.set()
            self._thread.join(_LAST_SECONDS)  # a disk that hangs holds no stop up

    def end_readers(self) -> None:
        """Tell all who follow the events that no more will come, and answer nobody any more: what waits may be long."""
        self.is_ending = True
        self._tell_readers()

    def follow(self, on_more: Callable[[], None]) -> Callable[[], None]:
        """Call `on_more`, in another thread, whenever there are more events; return what ends that."""
        self._readers = [*self._readers, on_more]

        def end() -> None:
            self._readers = [reader for reader in self._readers if reader is not on_more]

        return end

    async def read(self, wanted: Wanted) -> Page:
        """Return the events that are wanted, also those said just now. PlatformError if they cannot be read."""
        question = _Question(wanted, Future())
        if self.is_ending or self._thread is None:
            raise PlatformError("the daemon is stopping", hint="ask again when it runs")
        self._queue.put(question)
        self._hurry.set()
        return await asyncio.wrap_future(question.answer)

    def _run(self) -> None:
        questions: list[_Question] = []
        while self._gather(questions):
            self._write()
            for question in questions:
                self._answer(question)
            questions.clear()
            self._tidy()
        self._retry_at = 0.0
        self._write()
        self._attempt(self._file.sync)
        self._file.close()
        while not self._queue.empty():
            if isinstance(item := self._queue.get(), _Question):
                item.answer.cancel()

    def _gather(self, questions: list[_Question]) -> bool:
        """Wait for something to do, and take what has come soon after; return whether to go on."""
        try:
            item = self._queue.get(timeout=_IDLE_SECONDS)
        except Empty:
            return True
        if isinstance(item, tuple):
            self._hurry.wait(_GATHER_SECONDS)
        self._hurry.clear()
        for number in itertools.count(1):
            if item is None:
                return False
            if isinstance(item, _Question):
                questions.append(item)
            else:
                self._note(*item)
            if number >= _A_BATCH or self._queue.empty():
                break
            item = self._queue.get_nowait()
        return True

    def _note(self, at: int, event: Event) -> None:
        self._taken += 1
        if len(self._waiting) >= _MOST_WAITING or self._waiting_bytes >= _MOST_WAITING_BYTES:
            self._dropped += 1
            return
        try:
            kept = kept_event_of(event, at)
            self._waiting.append(kept)
            self._waiting_bytes += len(kept.body)
        except Exception:
            self._dropped += 1
            _log.exception("an event of the kind %s could not be kept", event.KIND)
        if isinstance(event, ChangeMade):
            self._generation = event.generation

    def _write(self) -> None:
        """Write what waits, if the file takes it."""
        if self._waiting and time.monotonic() >= self._retry_at:
            self._attempt(self._write_all)

    def _write_all(self) -> None:
        while self._waiting:
            batch = list(self._waiting)[:_A_BATCH]
            self._file.append(batch)
            for kept in batch:
                self._waiting.popleft()
                self._waiting_bytes -= len(kept.body)
            self._untidy += len(batch)
        self._tell_readers()

    def _answer(self, question: _Question) -> None:
        if not question.answer.set_running_or_notify_cancel():
            return
        if self.is_ending:
            question.answer.set_exception(PlatformError("the daemon is stopping", hint="ask again when it runs"))
            return
        began = time.thread_time()
        try:
            self._attempt(lambda: None)  # it may have to be opened again
            question.answer.set_result(self._file.read(question.wanted))
        except (sqlite3.Error, OSError) as error:
            self._put_aside(error)
            question.answer.set_exception(
                PlatformError(f"the events cannot be read: {error}", hint="see the log, which has them, too")
            )
        except BaseException as error:
            question.answer.set_exception(error)
        if (spent := time.thread_time() - began) > _LONG_SECONDS and not self.is_ending:
            time.sleep(spent)  # whoever asks without end gets half of a core, as from the API

    def _tidy(self) -> None:
        """Let old events go, and bring what was written to the disk, from time to time."""
        now = time.monotonic()
        if now < self._tidy_at and self._untidy < min(_TIDY_EVENTS, self._retention.rows // 20):
            return
        self._tidy_at, self._untidy, generation = now + _TIDY_SECONDS, 0, self._generation
        self._attempt(self._prune)
        if self._attempt(self._file.sync) and not self._waiting:
            self.kept_generation = generation

    def _prune(self) -> None:
        oldest = self._now() - timedelta(days=self._retention.days)
        before = int(oldest.timestamp()) * 1_000_000_000
        if self._file.prune(self._retention.rows, before, _A_PART):
            self._tidy_at = 0.0  # go on soon, and let others have their turn meanwhile
            self._hurry.set()

    def _attempt(self, work: Callable[[], object]) -> bool:
        """Do something with the file, which is opened if need be; return whether it went well, and say if not."""
        try:
            lost = self._file.open()
            done = work()
        except (sqlite3.Error, OSError) as error:
            if self._put_aside(error):
                return False
            self._retry_at = time.monotonic() + _RETRY_SECONDS
            if not self._error:
                self._error = str(error) or repr(error)
                self.events.say(EventsNotKept(f"{self._file.path}: {self._error}"))
            return False
        if lost:
            self.events.say(EventsLost(lost))
        all_dropped = self._dropped + self._refused
        if not self._waiting and (self._error or all_dropped != self._dropped_told):
            dropped, self._dropped_told = all_dropped - self._dropped_told, all_dropped
            self._error, self._retry_at = "", 0.0
            self.events.say(EventsKeptAgain(dropped))
        return done is not False

    def _put_aside(self, error: sqlite3.Error | OSError) -> bool:
        """Put the file aside if the error says that it is damaged, so that the next attempt begins another one."""
        if lost := self._file.put_aside(error):
            self.events.say(EventsLost(lost))
        return bool(lost)

    def _tell_readers(self) -> None:
        for reader in self._readers:
            reader()


def _text_of(event: ChangeMade) -> str:
    """Return the text that `start` takes; empty if it cannot be made: that is no reason to refuse a change."""
    try:
        return kept_event_of(event, event.at).text()
    except Exception:
        _log.exception("the event of generation %d could not be kept", event.generation)
        return ""
