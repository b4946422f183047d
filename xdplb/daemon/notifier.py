# SPDX-License-Identifier: Apache-2.0
"""Hands events on to commands and webhooks, in a thread of its own: nothing else waits for them.

Each target has a queue of its own, so one that hangs keeps only itself waiting. It gets its events one after the
other, in their order. If too many wait, the oldest are dropped: the newest say what is true now.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from xdplb.control.answers.views import NotifyView
from xdplb.control.events import Event, NotifyFailing, NotifyRefused, NotifyWorks, Say
from xdplb.control.health.commands import Command, CommandEnd, Commands
from xdplb.control.history.kept_event import KeptEvent, kept_event_of
from xdplb.model.errors import XdplbError

from .notify_file import OWN_KINDS, Target, read_notify_file
from .webhook import Posted, post

__all__ = ["Notifier", "notifying"]

_log = logging.getLogger("xdplb")

_MOST_TAKEN = 20_000
_MOST_WAITING = 1000
_GATHER_SECONDS = 0.05
_FIRST_RETRY_SECONDS = 1.0
_LONGEST_RETRY_SECONDS = 60.0
_KEEP_SECONDS = 900.0
"""After this time an event is given up: one that a webhook always fails on is not to hold up others for ever."""
_LAST_SECONDS = 2.0
_DEFAULT_USER = "nobody"


class _Item(NamedTuple):
    """An event that waits, since when by the monotonic clock, and its body."""

    event: KeptEvent
    since: float
    body: str


@dataclass
class _Count:
    sent: int = 0
    failed: int = 0
    dropped: int = 0


class _Worker:
    """A target with its queue. It works in one event loop."""

    def __init__(self, target: Target, node: str, commands: Commands | None, say: Say) -> None:
        self.target, self._node, self._commands, self._say = target, node, commands, say
        self._waiting: deque[_Item] = deque()
        self._more = asyncio.Event()
        self.count = _Count()
        self._is_failing = False
        self._dropped_before = 0
        self._current: _Item | None = None
        self._task = asyncio.get_running_loop().create_task(self._work())

    @property
    def waiting(self) -> int:
        """How many events wait, also the one that is being handed on."""
        return len(self._waiting) + (self._current is not None)

    def put(self, item: _Item) -> None:
        """Take an event."""
        if len(self._waiting) >= _MOST_WAITING:
            self._waiting.popleft()
            self.drop(f"events come faster than it takes them: {_MOST_WAITING} wait, and older ones are dropped")
        self._waiting.append(item)
        self._more.set()

    def drop(self, why: str) -> None:
        """Count an event that it does not get."""
        self.count.dropped += 1
        self._fails(why)

    def stop(self) -> None:
        """End it; a command that runs is killed at its end."""
        self._task.cancel()

    def _fails(self, why: str) -> None:
        if not self._is_failing:
            self._is_failing = True
            self._say(NotifyFailing(self.target.name, why))

    def _works(self) -> None:
        if self._is_failing and not self._waiting:
            dropped, self._dropped_before = self.count.dropped - self._dropped_before, self.count.dropped
            self._is_failing = False
            self._say(NotifyWorks(self.target.name, dropped))

    async def _work(self) -> None:
        while True:
            while not self._waiting:
                self._more.clear()
                await self._more.wait()
            self._current = self._waiting.popleft()
            try:
                await self._hand_on(self._current)
            except Exception as error:
                _log.exception("an event could not be handed on to %s; please report it", self.target.name)
                self.drop(str(error))
            self._current = None

    async def _hand_on(self, item: _Item) -> None:
        pause = _FIRST_RETRY_SECONDS
        while True:
            done = await (self._post(item) if self.target.command is None else self._run(item))
            if not done.error:
                self.count.sent += 1
                self._works()
                return
            self.count.failed += 1
            self._fails(done.error)
            is_old = time.monotonic() + pause - item.since > _KEEP_SECONDS
            if not done.may_retry or is_old or len(self._waiting) >= _MOST_WAITING:
                self.drop(done.error)
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_RETRY_SECONDS)

    async def _run(self, item: _Item) -> Posted:
        if self._commands is None:
            return Posted("the daemon runs no commands")
        assert self.target.command is not None
        ended: asyncio.Future[CommandEnd] = asyncio.get_running_loop().create_future()
        command = Command(
            self.target.command,
            self.target.user or _DEFAULT_USER,
            _environment(item.event, item.body, self._node),
            self.target.timeout_seconds,
            item.body + "\n",
        )
        self._commands.run(command, lambda end: None if ended.done() else ended.set_result(end))
        end = await ended
        if end.error or end.status == 0:
            return Posted(end.error)
        said = end.output.strip().splitlines()
        how = f"it was killed by signal {-end.status}" if end.status < 0 else f"it ended with exit code {end.status}"
        if end.status in {-9, -15}:
            how += f", perhaps after its {self.target.timeout_seconds:g} s"
        return Posted(how + (f": {said[0]}" if said else ""))

    async def _post(self, item: _Item) -> Posted:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Posted] = loop.create_future()
        target = self.target
        assert target.url is not None
        url = target.url

        def send() -> None:  # in a thread that nobody waits for at the end, whatever the resolver does
            try:
                done = post(url, target.headers or {}, item.body.encode(), target.timeout_seconds)
            except Exception as error:
                done = Posted(str(error) or type(error).__name__)
            try:
                loop.call_soon_threadsafe(lambda: None if answer.done() else answer.set_result(done))
            except RuntimeError:  # the loop is closed
                return

        threading.Thread(target=send, name="xdplb-webhook", daemon=True).start()
        return await answer


def _environment(event: KeptEvent, body: str, node: str) -> dict[str, str]:
    """Return what a shell script reads: texts without null characters, empty if the event has none."""
    data = json.loads(body)
    found = {
        "XDPLB_EVENT": data["message"],
        "XDPLB_KIND": event.kind,
        "XDPLB_LEVEL": data["level"],
        "XDPLB_TIME": data["time"],
        "XDPLB_VIP": event.vip or "",
        "XDPLB_BACKEND": event.backend or "",
        "XDPLB_NODE": node,
    }
    return {name: value.replace("\0", " ") for name, value in found.items()}


class Notifier:
    """Hands the events that it takes on to the targets in `file`, which has been read as `targets`."""

    def __init__(
        self, file: Path, targets: Sequence[Target], *, node: str, commands: Commands | None, say: Say
    ) -> None:
        self._file, self._node, self._commands, self._say = file, node, commands, say
        self._taken: SimpleQueue[tuple[int, Event]] = SimpleQueue()
        self._refused = 0
        self._is_awake = False
        self._workers: list[_Worker] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready, self._ending = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, args=(targets,), name="xdplb-notify", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()
        self._ready.wait()

    def take(self, event: Event) -> None:
        """Take an event, in the thread in which it happens. It never waits."""
        loop = self._loop
        if loop is None or event.KIND in OWN_KINDS:
            return
        if self._taken.qsize() >= _MOST_TAKEN:
            self._refused += 1
            return
        self._taken.put((event.happened or time.time_ns(), event))
        if not self._is_awake:
            self._is_awake = True
            self._in_loop(loop, self._gather)

    def reload(self) -> None:
        """Read the file again. If it cannot be used, an event says why, and what was read before stays."""
        try:
            targets = read_notify_file(self._file)
        except XdplbError as error:
            self._say(NotifyRefused(str(self._file), str(error)))
            return
        if self._loop is not None:
            self._in_loop(self._loop, lambda: self._become(targets))

    def view(self) -> Sequence[NotifyView]:
        """Return the counts of each target, in any thread."""
        return [
            NotifyView(each.target.name, each.count.sent, each.count.failed, each.count.dropped, each.waiting)
            for each in self._workers
        ]

    def stop(self) -> None:
        """Hand on what waits, for two seconds at most, and end the thread."""
        if (loop := self._loop) is not None:
            self._in_loop(loop, self._ending.set)
        self._thread.join(2 * _LAST_SECONDS)

    @staticmethod
    def _in_loop(loop: asyncio.AbstractEventLoop, work: Callable[[], object]) -> None:
        try:
            loop.call_soon_threadsafe(work)
        except RuntimeError:  # it has ended
            return

    def _run(self, targets: Sequence[Target]) -> None:
        try:
            asyncio.run(self._serve(targets))
        except Exception:
            _log.exception("events are not handed on any more; please report it")
        finally:
            self._loop = None
            self._ready.set()

    async def _serve(self, targets: Sequence[Target]) -> None:
        if self._commands is not None:
            self._commands.start()
        self._become(targets)
        self._loop = asyncio.get_running_loop()
        self._ready.set()
        await self._ending.wait()
        end = time.monotonic() + _LAST_SECONDS
        while time.monotonic() < end:
            self._sort()
            if not any(each.waiting for each in self._workers):
                break
            await asyncio.sleep(_GATHER_SECONDS)
        for each in self._workers:
            each.stop()
        if self._commands is not None:
            self._commands.stop()

    def _become(self, targets: Sequence[Target]) -> None:
        """Go on with these; one that stays as it is keeps what waits for it."""
        before = {each.target.model_dump_json(): each for each in self._workers}
        self._workers = [
            before.pop(key) if (key := each.model_dump_json()) in before else self._worker(each) for each in targets
        ]
        for gone in before.values():
            gone.stop()

    def _worker(self, target: Target) -> _Worker:
        return _Worker(target, self._node, self._commands, self._say)

    def _gather(self) -> None:
        """Sort soon: of a thousand events that come at once, only the first wakes this thread."""
        asyncio.get_running_loop().call_later(_GATHER_SECONDS, self._sort)

    def _sort(self) -> None:
        """Give each target the events that it wants."""
        self._is_awake = False  # first: what comes from now on wakes it again
        refused, self._refused = self._refused, 0
        for each in self._workers if refused else ():
            each.count.dropped += refused - 1
            each.drop(f"{refused} events came too fast to look at")
        while not self._taken.empty():
            at, event = self._taken.get_nowait()
            try:
                kept = kept_event_of(event, at)
            except Exception:
                _log.exception("an event of the kind %s could not be handed on", event.KIND)
                continue
            body = f'{{"node":"{self._node}",{kept.body[1:]}'
            item = _Item(kept, time.monotonic(), body)
            for each in self._workers:
                if each.target.wants(kept):
                    each.put(item)


@contextmanager
def notifying(
    file: Path | None, targets: Sequence[Target], *, node: str, commands: Commands | None, say: Say
) -> Iterator[Notifier | None]:
    """Yield what hands events on for as long as the block runs; None without a file."""
    if file is None:
        yield None
        return
    notifier = Notifier(file, targets, node=node, commands=commands, say=say)
    notifier.start()
    try:
        yield notifier
    finally:
        notifier.stop()
