# SPDX-License-Identifier: Apache-2.0
"""Running captures: one at a time. The program hands packets out only while a client reads them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from xdplb.control.capture.recorder import Recorder
from xdplb.control.capture.wanted import CaptureRequest, Wanted, wanted
from xdplb.control.capture.words import Names, names_of
from xdplb.control.events import DAEMON, Actor, CaptureBegan, CaptureEnded, CaptureStuck, Events
from xdplb.control.state.snapshot import Snapshot
from xdplb.control.writing.threads import Unbroken, Worker
from xdplb.control.writing.writer import Writer
from xdplb.dataplane.decisions import Capture
from xdplb.dataplane.plane import DataPlane
from xdplb.model.errors import ConflictError, XdplbError

__all__ = ["Capturer", "RunningCapture"]

POLL_SECONDS = 0.2
"""How long it may take until a request to end a capture is noticed."""


class RunningCapture:
    """A running capture, until `close`. Its packets are read in a thread of its own."""

    def __init__(self, capturer: Capturer, request: CaptureRequest, which: Wanted) -> None:
        self._capturer, self._request, self._wanted = capturer, request, which
        self._thread = Worker("xdplb-capture")
        self._recorder = Recorder(request.snap_bytes)
        self._capture: Capture | None = None
        self._snapshot: Snapshot | None = None
        self._names = Names({}, {}, {})
        self._vip_ids: set[int] = set()
        self.is_ended = False

    async def blocks(self) -> AsyncIterator[bytes]:
        """Yield a pcapng file in whole blocks, until the requested packets or seconds are reached, or until `end`."""
        begun = time.monotonic()
        yield self._recorder.begin(self._learned_names())
        while not self.is_ended:
            left = POLL_SECONDS
            if self._request.seconds is not None:
                left = min(left, begun + self._request.seconds - time.monotonic())
            if left <= 0 or self._recorder.packets == self._request.packets:
                return
            made = await self._thread(lambda seconds=left: self._turn(seconds))  # type: ignore[misc]
            if made:
                yield made

    def end(self) -> None:
        """Finish the file at the next poll."""
        self.is_ended = True

    async def close(self) -> None:
        """Restore the program, even if the caller is cancelled. May be called more than once."""
        await self._capturer.finish(self)

    def open(self, plane: DataPlane) -> None:
        """Start the capture, in the thread that compiles. Takes seconds, since a program is compiled."""
        self._capture = plane.start_capture(self._wanted.filter(self._request.sample, self._request.snap_bytes))

    async def stop_reading(self) -> None:
        """Return once the thread has stopped reading."""
        await self._thread.stop()

    def _turn(self, seconds: float) -> bytes:
        """Return the blocks of the packets that arrive within this time."""
        assert self._capture is not None, "it was started"
        self._learn()
        packets = self._capture.poll(seconds)
        names = self._learned_names()
        taken = [packet for packet in packets if self._wanted.takes(packet, self._vip_ids)]
        if self._request.packets is not None:
            taken = taken[: self._request.packets - self._recorder.packets]
        return self._recorder.blocks(taken, self._capture.lost, names)

    def _learned_names(self) -> Names:
        self._learn()
        return self._names

    def _learn(self) -> None:
        """Update the names of ids; old names are kept, since a packet may be read after its VIP is gone."""
        snapshot = self._capturer.writer.snapshot
        if self._snapshot is snapshot:
            return
        self._snapshot = snapshot
        self._names = names_of(snapshot, self._capturer.writer.applier.attachments).after(self._names)
        for key, vip in snapshot.vips.items():
            if key == self._wanted.vip:
                self._vip_ids.add(vip.id)
            else:
                self._vip_ids.discard(vip.id)  # the id may belong to another VIP now


class Capturer:
    """Starts and ends captures, in the thread that compiles: changes, flips and reads of the maps go on meanwhile."""

    def __init__(self, plane: DataPlane, writer: Writer, events: Events) -> None:
        self.writer, self._events = writer, events
        self._plane = plane
        self._running: RunningCapture | None = None
        self._to_the_end = Unbroken()
        self._finishing = asyncio.Lock()

    async def start(self, request: CaptureRequest, actor: Actor = DAEMON) -> RunningCapture:
        """Start a capture, which the caller must `close`. Takes seconds, since a program is compiled for it.

        If another capture is just ending, it waits for that. Raises ConflictError if one is running, InvalidError or
        NotFoundError for a bad request, PlatformError if the program cannot be loaded.
        """
        which = wanted(self.writer.snapshot, request)
        # A capture that has ended may still hold the program: wait for it instead of refusing the next one.
        if self._running is not None and self._running.is_ended:
            await self.finish(self._running)
        if self._running is not None:
            raise ConflictError(
                "a capture is already running; only one can run at a time", hint="stop it, or wait for it to end"
            )
        running = self._running = RunningCapture(self, request, which)
        try:
            await self.writer.compile(lambda: running.open(self._plane))
        except BaseException:
            await self.finish(running)
            raise
        self._events.say(CaptureBegan(actor, None if which.vip is None else str(which.vip), request.client))
        return running

    async def finish(self, running: RunningCapture) -> None:
        """End a capture and restore the program."""
        running.end()
        if self._running is running:
            await self._to_the_end(self._finish(running))

    def end(self) -> None:
        """Let the running capture, if any, finish its file."""
        if self._running is not None:
            self._running.end()

    async def stop(self) -> None:
        """End the running capture, if any, and return once the program is restored."""
        if self._running is not None:
            await self.finish(self._running)
        await self._to_the_end.all_done()

    async def _finish(self, running: RunningCapture) -> None:
        async with self._finishing:
            if self._running is not running:  # another caller has finished it meanwhile
                return
            try:
                await running.stop_reading()
                await self.writer.compile(self._plane.stop_capture)
                self._events.say(CaptureEnded())
            except XdplbError as error:
                self._events.say(CaptureStuck(str(error)))
            finally:
                self._running = None
