# SPDX-License-Identifier: Apache-2.0
"""The files that keepalived watches (`vrrp_track_file`): 0, or what takes this node's priority down so far.

keepalived notices a file that is renamed into its place at once. So a file is always whole, and none is ever missing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from xdplb.control.edits.find import find_key
from xdplb.control.events import DriftKind, Events, TrackFileWritten
from xdplb.control.plan.announcing import Returning
from xdplb.control.plan.drafts import VipDraft
from xdplb.control.plan.operating import OperatingStatus
from xdplb.control.writing.drifts import Drifts
from xdplb.control.writing.threads import Worker
from xdplb.control.writing.writer import Writer
from xdplb.model.announcing import Announcing, OnDaemonLoss, TrackFile
from xdplb.model.errors import XdplbError
from xdplb.placed_file import place

__all__ = ["TrackFiles", "write_track_file"]

_LOOK_SECONDS = 0.5
_MODE = 0o644
_NOT_KNOWN = "it is not known yet whether this node is ready"


@dataclass(slots=True)
class _Kept:
    """A file, what it says now, and when it may say 0 again. `written` is None as long as that is not known."""

    file: TrackFile
    returning: Returning
    written: int | None = None


class TrackFiles:
    """Keeps the files. Used in the event loop.

    `not_ready` returns why this node is not ready, a sentence each; it may not be asked before the node has started.
    `is_drained`: this node drains or is drained. What was asked for is no failure, and when it ends nobody waits.
    """

    def __init__(
        self,
        announcing: Announcing,
        writer: Writer,
        *,
        events: Events,
        drifts: Drifts,
        clock: Callable[[], float],
        not_ready: Callable[[], Sequence[str]],
        is_drained: Callable[[], bool],
    ) -> None:
        self._announcing, self._writer, self._events, self._drifts = announcing, writer, events, drifts
        self._clock, self._not_ready, self._is_drained = clock, not_ready, is_drained
        self._kept = [_Kept(file, Returning(announcing.delay_seconds)) for file in announcing.track_files]
        self._thread = Worker("xdplb-tracking")
        self._came = asyncio.Event()

    async def start(self) -> None:
        """Make files that are not there, as those of a node that is not ready. Others stay until that is known."""
        for kept in self._kept:
            if await self._thread(lambda path=kept.file.path: _content_of(path)) is None:  # type: ignore[misc]
                await self._write(kept, self._announcing.track_weight, _NOT_KNOWN)

    def disturb(self) -> None:
        """Look at once: a VIP, or what this node does with traffic, is not as it was."""
        self._came.set()

    async def run(self) -> None:
        """Forever: keep the files as they should be."""
        while self._kept:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._came.wait()
            self._came.clear()
            reasons = self._not_ready()
            for kept in self._kept:
                await self._look(kept, reasons[0] if reasons else self._why_none_serves(kept.file))

    async def stop(self) -> None:
        """Leave the files as they are, or have them say that this node is lost, as was asked for."""
        if self._announcing.on_daemon_loss is OnDaemonLoss.WITHDRAW:
            for kept in self._kept:
                await self._write(kept, self._announcing.track_weight, "the daemon is stopped")
        await self._thread.stop()

    def _why_none_serves(self, file: TrackFile) -> str:
        """Return why none of the VIPs of a file is well, empty if one is, or if there is none to be well."""
        snapshot, drafts = self._writer.snapshot, self._writer.applier.known.drafts
        if not file.vips:
            return _why_none(draft for draft in drafts.values() if draft.vip.backends)
        found = []
        for ref in file.vips:
            with contextlib.suppress(XdplbError):
                found.append(snapshot.vips[find_key(snapshot.desired, ref, "/vip", suggests=False)].id)
        if not found:
            return f"there is no VIP {file.vips[0]}"
        return _why_none((drafts[number] for number in found if number in drafts), otherwise="it has just been added")

    async def _look(self, kept: _Kept, reason: str) -> None:
        """Write a file if it should say something else, or if it does not say what was written."""
        now = self._clock()
        if not reason and kept.written != 0 and (waits := kept.returning.waits(now, is_well=True)):
            reason = f"it is well again, and must be so for {waits:.1f} s more"
        elif reason and not self._is_drained():
            kept.returning.waits(now, is_well=False)
        value = self._announcing.track_weight if reason else 0
        path = kept.file.path
        found = await self._thread(lambda: _content_of(path))
        if found == _text(value):
            self._drifts.well(DriftKind.ANNOUNCEMENT, str(path))
            self._note(kept, value, reason, is_new=kept.written is not None and kept.written != value)
        elif kept.written != value:
            await self._write(kept, value, reason)
        elif self._drifts.may_repair(DriftKind.ANNOUNCEMENT, str(path)):
            why = f"another process has changed or removed {path}, which tells keepalived of this node"
            self._drifts.repaired(DriftKind.ANNOUNCEMENT, str(path), why)
            await self._write(kept, value, reason)

    async def _write(self, kept: _Kept, value: int, reason: str) -> None:
        path = kept.file.path
        try:
            await self._thread(lambda: write_track_file(path, value))
        except OSError as error:
            why = f"{path}, which tells keepalived of this node, cannot be written: {error.strerror}"
            self._drifts.stands(DriftKind.ANNOUNCEMENT, str(path), why)
            return
        self._drifts.well(DriftKind.ANNOUNCEMENT, str(path))
        self._note(kept, value, reason, is_new=kept.written != value)

    def _note(self, kept: _Kept, value: int, reason: str, *, is_new: bool) -> None:
        if kept.written == 0 and value and not self._is_drained():
            kept.returning.withdrawn(self._clock())
        kept.written = value
        if is_new:
            self._events.say(TrackFileWritten(str(kept.file.path), value, reason or None))


def write_track_file(path: Path, value: int) -> None:
    """Have a file say this. OSError if it cannot be written."""
    place(path, _text(value), mode=_MODE, overwrite=True)


def _text(value: int) -> bytes:
    return f"{value}\n".encode()


def _content_of(path: Path) -> bytes | None:
    """Return what a file says, None if there is none that can be read."""
    try:
        with path.open("rb") as file:
            return file.read(64)
    except OSError:
        return None


def _why_none(drafts: Iterable[VipDraft], otherwise: str = "") -> str:
    """Return why none of these VIPs is well, empty if one is; `otherwise` if there are none."""
    why = otherwise
    for draft in drafts:
        standing = draft.standing(nics_carry=True)
        fails_open = standing.status is OperatingStatus.FAILING_OPEN
        if standing.min_serving_met and not fails_open:
            return ""
        if not why or why == otherwise:
            what = "every VIP fails open or has too few backends" if fails_open else "of no VIP enough backends serve"
            why = f"{what}, such as {draft.vip.vip.key}"
    return why
