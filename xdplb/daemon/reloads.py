# SPDX-License-Identifier: Apache-2.0
"""Reloads at SIGHUP: what can be read again is, and the service manager is told when it is done."""

from __future__ import annotations

import asyncio
import logging

from xdplb.control.manager import Manager
from xdplb.model.errors import XdplbError

from .config_owner import ConfigOwner
from .doors import Doors
from .notifier import Notifier
from .systemd import reloading

__all__ = ["Reloads"]

_log = logging.getLogger("xdplb")


class Reloads:
    """Begins reloads, of which one is done after the other, and lets the API begin one, too."""

    def __init__(self, manager: Manager, owner: ConfigOwner, doors: Doors, notifier: Notifier | None = None) -> None:
        self._manager, self._owner, self._doors, self._notifier = manager, owner, doors, notifier
        self._running: asyncio.Task[None] | None = None
        self._is_wanted = False
        manager.reload = lambda actor, clear_overlay: owner.reload(manager, actor, clear_overlay=clear_overlay)

    def begin(self) -> None:
        """Begin one, in the event loop, or one more after that under way. It never ends the daemon."""
        self._is_wanted = True
        if self._running is None or self._running.done():
            self._running = asyncio.get_running_loop().create_task(self._reload_while_wanted())

    async def stop(self) -> None:
        """Wait for what is under way: what a change has saved, the maps get."""
        self._is_wanted = False
        if self._running is not None:
            await self._running

    async def _reload_while_wanted(self) -> None:
        while self._is_wanted:
            self._is_wanted = False
            await self._reload()

    async def _reload(self) -> None:
        with reloading():
            try:
                if self._notifier is not None:
                    await asyncio.to_thread(self._notifier.reload)
                await asyncio.to_thread(self._doors.reload, self._manager.events.say)
                if self._manager.peers is not None:
                    await self._manager.peers.read_keys()
                await self._owner.reload(self._manager)
            except XdplbError:
                pass  # an event has said why
            except Exception:
                _log.exception("the reload failed, and what runs goes on; please report it")
