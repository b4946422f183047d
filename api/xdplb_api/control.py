# SPDX-License-Identifier: Apache-2.0
"""The way from the API's thread to the control plane, which runs in an event loop of its own.

What is asked often is answered from values that the control plane replaces as a whole, so that the control loop has
nothing to do with it. What changes something, or must wait for the control plane, runs there; the API waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

from xdplb.control.answers.answers import Answers
from xdplb.control.capture.capturer import RunningCapture
from xdplb.control.capture.wanted import CaptureRequest
from xdplb.control.events import Actor, Event
from xdplb.control.explain.question import PacketKind
from xdplb.control.explain.views import ExplainView
from xdplb.control.health.on_demand import Probed
from xdplb.control.history.history import History
from xdplb.control.manager import Manager
from xdplb.control.writing.dns_keeper import Forgotten
from xdplb.control.writing.request import Outcome, Request
from xdplb.model.address import IPAddress
from xdplb.model.errors import ConflictError
from xdplb.model.key import VipKey
from xdplb.model.shared_record import SharedState

__all__ = ["Capture", "Control"]

T = TypeVar("T")


class Control:
    """The control plane of `manager`, for callers in any event loop."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    @property
    def answers(self) -> Answers:
        """What answers from memory."""
        return self._manager.answers

    @property
    def history(self) -> History:
        """What has happened. It has a thread of its own, and is asked in any event loop."""
        return self._manager.history

    def say(self, event: Event) -> None:
        """Say that something happened; see Events.say."""
        self._manager.events.say(event)

    async def change(self, request: Request) -> Outcome:
        """Make a change; see Manager.change."""
        return await self._there(self._manager.change(request))

    async def reload(self, actor: Actor, *, clear_overlay: bool) -> Outcome:
        """Have the config file read again. ConfigError with what is wrong with it, ConflictError if there is none."""
        reload = self._manager.reload
        outcome = None if reload is None else await self._there(reload(actor, clear_overlay))
        if outcome is None:
            raise ConflictError(
                "there is no config file to read again: the API owns the configuration",
                hint="start xdplb up with --config, or PUT the configuration to /v1/config",
            )
        return outcome

    async def explain(
        self, client: str, vip: str, packet: PacketKind | None, down: str | None, interface: str | None
    ) -> ExplainView:
        """Return what would happen to a packet; see Explainer.explain."""
        return await self._manager.explainer.explain(client, vip, packet, down, interface)

    async def probe(self, key: VipKey, address: IPAddress | None) -> list[tuple[IPAddress, list[Probed]]]:
        """Run all checks of the VIP's backends once, or of the one with this address; see Manager.probe."""
        return await self._there(self._manager.probe(key, address))

    async def drain_node(self, timeout_seconds: float, quiet_seconds: float, actor: Actor) -> None:
        """Drain this node; see NodeWatch.begin."""
        await self._there(self._manager.node.begin(timeout_seconds, quiet_seconds, actor))

    async def undrain_node(self, actor: Actor) -> None:
        """Let this node serve again; see NodeWatch.end."""
        await self._there(self._manager.node.end(actor))

    async def forget_in_dns(self, node: str, *, dry_run: bool) -> list[Forgotten]:
        """Take back the claims in DNS of a node that is gone; see DnsKeeper.forget."""
        return await self._there(self._manager.dns.forget(node, dry_run=dry_run))

    async def unsettled(self) -> SharedState:
        """Return what another balancer must know of open connections; see RecordSync.unsettled."""
        return await self._there(self._manager.records.unsettled())

    async def backup(self) -> bytes:
        """Return a file with the state; see Manager.backup."""
        return await self._there(self._manager.backup())

    async def start_capture(self, request: CaptureRequest, actor: Actor) -> Capture:
        """Start a capture, which the caller must close; see Capturer.start."""
        running = await self._there(self._manager.capturer.start(request, actor))
        return Capture(self, running)

    async def close_capture(self, running: RunningCapture) -> None:
        """End a capture, and restore the program."""
        await self._there(running.close())

    async def _there(self, work: Awaitable[T]) -> T:
        """Run `work` in the manager's event loop, and return or raise what it does."""
        loop = self._manager.loop
        if loop is None or loop is asyncio.get_running_loop():
            return await work

        async def there() -> T:
            return await work

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(there(), loop))


class Capture:
    """A running capture, whose packets are read without the control loop."""

    def __init__(self, control: Control, running: RunningCapture) -> None:
        self._control, self._running = control, running

    def blocks(self) -> AsyncIterator[bytes]:
        """Yield a pcapng file in whole blocks; see RunningCapture.blocks."""
        return self._running.blocks()

    async def close(self) -> None:
        """Restore the program. May be called more than once."""
        await self._control.close_capture(self._running)
