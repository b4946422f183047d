# SPDX-License-Identifier: Apache-2.0
"""The config file that owns the desired state: taken at the start, and read again when the daemon is asked to reload.

A file that cannot be used refuses the start. Later it is refused itself: what runs goes on as it is.
"""

from __future__ import annotations

import asyncio
import logging
import stat
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from xdplb.config.document import Document, read_document
from xdplb.config.faults import ConfigError, Fault
from xdplb.control.edits.apply import apply_edit
from xdplb.control.edits.edit import PutConfig, ReleaseConfig
from xdplb.control.events import (
    DAEMON,
    Actor,
    ActorKind,
    ConfigRefused,
    ConfigReleased,
    ConfigTaken,
    ReloadedWithoutConfig,
)
from xdplb.control.manager import Manager
from xdplb.control.state.desired import Desired
from xdplb.control.state.differing import differing
from xdplb.control.state.snapshot import Snapshot
from xdplb.control.writing.request import Outcome, Request
from xdplb.dataplane.plane import Capacity
from xdplb.model.config import Config
from xdplb.model.errors import ConflictError, InvalidError, PendingError, XdplbError

from .config_file import check_document

__all__ = ["ConfigOwner"]

_log = logging.getLogger("xdplb")


class ConfigOwner:
    """Makes a config file the owner of the state, or the API if `file` is None."""

    def __init__(self, file: Path | None) -> None:
        self._file = "" if file is None else str(file.absolute())
        self._first: tuple[Document, Config] | None = None
        self._turn = asyncio.Lock()

    def read(self) -> None:
        """Read the file for the start, if there is one. Raises ConfigError if it cannot be used."""
        if self._file:
            self._first = self._read()

    def foresee(self, state: Snapshot, capacity: Capacity) -> Snapshot:
        """Return what the state will be in maps of this capacity, before anything is changed; `state` without a file.

        Raises the errors of a change if what the file says cannot follow this state.
        """
        if self._first is None:
            return state
        document, config = self._first
        try:
            desired = apply_edit(state.desired, PutConfig(config, self._file), datetime.now(UTC))
        except XdplbError as error:
            _raise_located(document, error)
        return state if desired is state.desired else state.then(desired, capacity)

    def look_again(self) -> None:
        """Warn if what was read cannot be read any more: the daemon has given up the right to read files of others."""
        for file in () if self._first is None else self._first[0].files:
            try:
                Path(file).open("rb").close()
            except OSError as error:
                _log.warning(
                    "reloads will be refused: %s cannot be read any more (%s), since the daemon has given up the right"
                    " to read files of others; chown root %s",
                    file,
                    error.strerror,
                    file,
                )

    async def start(self, manager: Manager) -> None:
        """Make the file the owner, as it was when it was read, or the API if there is none.

        If the data plane does not have it yet, that is retried as for any change.
        """
        if self._first is not None:
            (document, read), self._first = self._first, None
            with suppress(PendingError):
                edit = PutConfig(read, self._file)
                await self._take(manager, document, edit, Actor(ActorKind.FILE, file=self._file))
            _taken(manager)
        elif owner := manager.answers.truth().owner:
            config = manager.answers.config()
            manager.events.say(ConfigReleased(owner, len(config.desired.vips), len(config.overlay)))
            with suppress(PendingError):
                await manager.change(Request(edit=ReleaseConfig(), actor=DAEMON))

    async def reload(
        self, manager: Manager, actor: Actor | None = None, *, clear_overlay: bool = False
    ) -> Outcome | None:
        """Read the file again, and make the state what it says; None if there is none.

        What operators have laid over it ends in the same step if `clear_overlay`. Without `actor`, the file itself is
        who made the change: nobody knows who sent the signal.

        If it cannot be used, nothing changes, and the status says so until it can be; raises what is wrong with it.
        PendingError if it is taken, but the data plane does not have it yet.
        """
        if not self._file:
            manager.events.say(ReloadedWithoutConfig(actor or DAEMON))
            return None
        actor = actor or Actor(ActorKind.FILE, file=self._file)
        async with self._turn:
            try:
                document, config = await asyncio.to_thread(self._read)
                outcome = await self._take(manager, document, PutConfig(config, self._file, clear_overlay), actor)
            except PendingError:
                _taken(manager)
                raise
            except XdplbError as error:
                manager.answers.config_error = str(error)
                manager.events.say(ConfigRefused(actor, self._file, str(error)))
                raise
        _taken(manager)
        return outcome

    def _read(self) -> tuple[Document, Config]:
        """Read the file. A pipe could not be read twice, and might keep a reload waiting for ever."""
        with suppress(OSError):  # whoever reads it says so
            if not stat.S_ISREG(Path(self._file).stat().st_mode):
                raise ConfigError(
                    [Fault(self._file, None, "it is no regular file", "give the path of a file that stays")]
                )
        document = read_document(self._file)
        return document, check_document(document)

    async def _take(self, manager: Manager, document: Document, edit: PutConfig, actor: Actor) -> Outcome:
        before = manager.answers.config().desired
        try:
            outcome = await manager.change(Request(edit=edit, actor=actor))
        except PendingError:
            self._say_taken(manager, before, actor)
            raise
        except XdplbError as error:
            _raise_located(document, error)
        self._say_taken(manager, before, actor)
        return outcome

    def _say_taken(self, manager: Manager, before: Desired, actor: Actor) -> None:
        now = manager.answers.config()
        difference = differing(before.vips, now.desired.vips)
        manager.events.say(
            ConfigTaken(
                actor=actor,
                file=self._file,
                generation=now.generation,
                vips=len(now.desired.vips),
                added=len(difference.new),
                changed=len(difference.changed),
                removed=tuple(map(str, difference.gone)),
                overlay=manager.answers.truth().overlay,
            )
        )


def _taken(manager: Manager) -> None:
    """Note that the file is what counts now."""
    manager.answers.config_error, manager.answers.config_taken = "", datetime.now(UTC)


def _raise_located(document: Document, error: XdplbError) -> NoReturn:
    """Raise an error that points into the file as one with its line; others, such as of the data plane, as it is."""
    if not error.problems or not isinstance(error, InvalidError | ConflictError) or isinstance(error, ConfigError):
        raise error
    pointer, *others = (problem.pointer for problem in error.problems)
    fault = document.fault(pointer, error.detail, error.hint, other=others[0] if others else "")
    raise ConfigError([fault]) from error
