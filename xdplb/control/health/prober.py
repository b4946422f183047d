# SPDX-License-Identifier: Apache-2.0
"""Runs probes: one epoll instance for the sockets of all of them, and one timer for their timeouts.

The event loop sees only the epoll instance, which is readable while some socket has news: a callback of the loop for
each socket would cost more than the probe itself.
"""

from __future__ import annotations

import asyncio
import select
from collections import deque
from collections.abc import Callable
from typing import Protocol

from xdplb.control.health.alarms import Alarms
from xdplb.control.health.commands import Commands
from xdplb.control.health.ending import PortBudget, most_in_time_wait
from xdplb.control.health.health_source import Probing
from xdplb.control.health.probes.aim import Aim
from xdplb.control.health.probes.kinds import new_probe
from xdplb.control.health.probes.probe import Probe, SocketProbe
from xdplb.control.health.probes.result import NOT_RUN, OnResult, ProbeResult
from xdplb.control.health.probes.tls_contexts import Contexts
from xdplb.control.plan.sources import Source

__all__ = ["OnBroken", "Prober", "Sockets"]

OnBroken = Callable[[Aim, Exception], None]
"""Called with what a probe ran into that nobody thought of; its result says that it could not be run."""

_MOST_NEWS = 64  # at a time: what else waits in the event loop comes in between
_TURN_SECONDS = 0.002
"""How long news are read in a row: a TLS handshake takes half a millisecond."""


class Prober(Protocol):
    """What runs probes: `Sockets`, or a fake in tests.

    `is_behind`: there was more news of sockets than it could read at once.
    """

    is_behind: bool

    def start(self, alarms: Alarms, on_broken: OnBroken) -> None:
        """Start in the running event loop; `alarms` are for the timeouts."""
        ...

    def stop(self) -> None:
        """End all probes; those that have no result yet get none."""
        ...

    def begin(self, aim: Aim, source: Source, on_result: OnResult) -> Probing | None:
        """Begin a probe. `on_result` is called once, unless it is cut; at once and with None returned if it cannot be.

        What ends the connection after that needs nobody's care.
        """
        ...


class Sockets:
    """Runs probes with real sockets, no more than `most` at a time: those that only end make room for new ones."""

    alarms: Alarms

    def __init__(self, most: int, commands: Commands | None = None) -> None:
        self.most, self.commands = most, commands
        self.is_behind = False
        self.ports = PortBudget(most_in_time_wait)
        self._epoll: select.epoll | None = None
        self._probes: dict[int, SocketProbe] = {}
        self.contexts = Contexts()
        self._ending: dict[SocketProbe, None] = {}
        self._news: deque[tuple[SocketProbe, int]] = deque()
        self._is_called = False

    def start(self, alarms: Alarms, on_broken: OnBroken) -> None:
        """Start in the running event loop. Raises OSError."""
        self.alarms, self._on_broken = alarms, on_broken
        self._epoll = select.epoll()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._epoll.fileno(), self.read_now)
        if self.commands is not None:
            self.commands.start()

    def stop(self) -> None:
        """Close all connections."""
        if self._epoll is None:
            return
        self._loop.remove_reader(self._epoll.fileno())
        self._news.clear()
        for probe in list(self._probes.values()):
            probe.cut()
        self._epoll.close()
        self._epoll = None
        if self.commands is not None:
            self.commands.stop()

    def begin(self, aim: Aim, source: Source, on_result: OnResult) -> Probe | None:
        """Begin a probe, from `source`."""
        if source.obstacle:
            on_result(ProbeResult(None, f"{NOT_RUN}: {source.obstacle}", 0.0))
            return None
        if len(self._probes) >= self.most:
            self._make_room()
        probe, result = self._try(aim, source, on_result)
        if result is not None and result.starved and self._make_room():
            probe, result = self._try(aim, source, on_result)
        if result is None:
            return probe
        on_result(result)
        return None

    def _try(self, aim: Aim, source: Source, on_result: OnResult) -> tuple[Probe, ProbeResult | None]:
        probe = new_probe(aim, self, on_result)
        try:
            return probe, probe.begin(source)
        except Exception as error:
            self._on_broken(aim, error)
            return probe, ProbeResult(None, f"{NOT_RUN}: {error!r}", 0.0, starved=True)

    def _make_room(self) -> bool:
        """Cut the connection that has been ending for longest; return whether there was one."""
        for probe in self._ending:
            probe.cut()
            return True
        return False

    def register(self, probe: SocketProbe, events: int) -> None:
        """Give the probe the news of its socket."""
        assert self._epoll is not None, "not started"
        self._epoll.register(probe.number, events)
        self._probes[probe.number] = probe

    def again(self, probe: SocketProbe, events: int) -> None:
        """Give the probe these events after what else waits."""
        self._news.append((probe, events))
        self._call_soon()

    def answered(self, probe: SocketProbe) -> None:
        """Count the probe among those that may be cut for others."""
        self._ending[probe] = None

    def closed(self, probe: SocketProbe) -> None:
        """Forget the probe."""
        del self._probes[probe.number]
        self._ending.pop(probe, None)

    def broken(self, probe: Probe, error: Exception) -> None:
        """Report the error, and end the probe."""
        self._on_broken(probe.aim, error)
        probe.broke(error)

    def read_now(self) -> None:
        """Give the probes the news that their sockets have by now, as far as there is time for it in this turn."""
        if self._epoll is None:
            return
        news, probes, now = self._news, self._probes, self._loop.time
        until = now() + _TURN_SECONDS
        found = self._epoll.poll(0, _MOST_NEWS)
        # By probe, not by number: one that begins while these are read may get the number of one that ended.
        news.extend((probes[number], events) for number, events in found if number in probes)
        self.is_behind = len(found) == _MOST_NEWS
        for _ in range(len(news)):
            probe, events = news.popleft()
            try:
                probe.news(events)
            except Exception as error:
                self.broken(probe, error)
            if now() >= until:
                break
        if news:
            self._call_soon()

    def _call_soon(self) -> None:
        if not self._is_called:
            self._is_called = True
            self._loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        self._is_called = False
        self.read_now()
