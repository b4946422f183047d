# SPDX-License-Identifier: Apache-2.0
"""One swap of the pinned program for one of another source, with the guard that looks at both."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from xdplb.model.errors import ConflictError

from . import libbpf
from .features import Feature, Features
from .libbpf import Fd, count_runs
from .map_layout import MapLayout
from .packet_counts import PacketCounts
from .pins import CODE, PROGRAM, Meta
from .program_code import ProgramCode
from .shadow import Side
from .swap_guard import SwapGuard
from .swap_watch import SwapWatch, read_counts

__all__ = ["ROLLED_BACK_HINT", "WATCH_STEP_SECONDS", "GuardedSwap"]

_log = logging.getLogger(__name__)

WATCH_STEP_SECONDS = 0.1
ROLLED_BACK_HINT = (
    "the older program goes on; install the version before again, or, if the traffic has changed and not the program, "
    "start with --accept-differences"
)


@dataclass(slots=True)
class GuardedSwap:
    """The pinned program and its code, None if that is not known; what it does is counted as long as the block runs."""

    guard: SwapGuard
    folder: Path
    meta: Meta
    name: str
    text_hash: int
    old: ProgramCode | None
    program: Fd
    _open: ExitStack = field(init=False)
    _first: PacketCounts = field(init=False)

    @classmethod
    def of(cls, guard: SwapGuard, folder: Path, meta: Meta, name: str, text_hash: int) -> Self | None:
        """Return a swap of the pinned program for one of this source; None if none is pinned, or one of that source."""
        if not (folder / PROGRAM).exists() or not meta.program_hash:
            return None
        program = libbpf.obj_get(folder / PROGRAM)
        old = ProgramCode.open(folder / CODE)
        if old is not None and old.program_id != libbpf.program_info(program).id:
            old = None  # an older xdplb has replaced the program, and left the code
        if old is not None and old.text_hash == text_hash:
            return None
        return cls(guard, folder, meta, name, text_hash, old, program)

    def __enter__(self) -> Self:
        self._open = ExitStack()
        self._open.enter_context(count_runs())
        self._open.enter_context(self.guard.sampling())
        self._first = read_counts(self.folder, self.program)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()

    @property
    def is_insisted_on(self) -> bool:
        """Whether the new program was rolled back before, and is to be used all the same: it is not watched then."""
        return self.meta.refused_text == self.text_hash and self.guard.takes_refused

    @property
    def is_refused(self) -> bool:
        """Whether the new program was rolled back before, and is not to be tried again."""
        return self.meta.refused_text == self.text_hash and not self.guard.takes_refused

    def keeps_old(self, features: Features) -> bool:
        """Whether the pinned program stays, since the new one was rolled back before.

        ConflictError if it has not these features.
        """
        if not self.is_refused:
            return False
        if features <= self.meta.features:
            _log.warning(
                "the program of this xdplb was rolled back before: the older one goes on; "
                "to use it all the same, start with --accept-differences"
            )
            return True
        missing = ", ".join(sorted(features - self.meta.features))
        raise ConflictError(
            f"the program in use has not what this needs ({missing}), and the one of this xdplb was rolled back before",
            hint="to use it all the same, restart the daemon with --accept-differences",
        )

    def compare(self, new: ProgramCode, features: Features, folder: Path, layouts: Mapping[str, MapLayout]) -> None:
        """Raise ConflictError if the guard refuses the new program, whose maps are pinned in `folder`."""
        if self.old is None:
            _log.warning(
                "the program in use was loaded by an xdplb that kept no copy of it: the new one is not compared with it"
            )
            return
        differing = frozenset((features ^ self.meta.features) - {Feature.CAPTURE})
        old = Side(self.old, self.folder, self.meta.layouts)
        self.guard.compare(self.name, old, Side(new, folder, layouts), differing)

    def keep_old(self, undo: ExitStack) -> None:
        """Keep the pinned program for the watch; `undo` gets what gives it up."""
        last = read_counts(self.folder, self.program)
        if self.is_insisted_on:
            SwapWatch.forget(self.folder)
        else:
            SwapWatch.begin(self.folder, self.meta, self.text_hash, self._first, last)
        undo.callback(SwapWatch.forget, self.folder)
        undo.callback(self.meta.set_refused_text, self.meta.refused_text)
        self.meta.set_refused_text(0)

    @contextmanager
    def watched(self, folder: Path, program: Fd) -> Iterator[None]:
        """Watch what a program does that is swapped in by the block, with other maps, in `folder`.

        ConflictError if something becomes worse.
        """
        before = read_counts(self.folder, self.program).since(self._first)
        swapped = replace(read_counts(folder, program), runs=0)
        yield
        end = time.monotonic() + (0 if self.is_insisted_on else self.guard.alone_seconds)
        while time.monotonic() < end:
            time.sleep(WATCH_STEP_SECONDS)
            worse = self.guard.worse(before, read_counts(folder, program).since(swapped), alone=True)
            if worse is not None:
                self.meta.set_refused_text(self.text_hash)
                raise ConflictError(f"{worse}: the new program was rolled back", hint=ROLLED_BACK_HINT)
