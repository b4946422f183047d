# SPDX-License-Identifier: Apache-2.0
"""Next hops of backends, kept current by the kernel's events. A thread does the netlink; nobody waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from queue import SimpleQueue
from typing import Protocol

from xdplb.model.address import IPAddress
from xdplb.model.errors import PlatformError, XdplbError
from xdplb.model.host import Host, OwnAddress, OwnSocket
from xdplb.model.next_hop import ClientWay, NeighbourEdit, Resolution
from xdplb.model.nic import NicLink

from .host_view import HostView
from .local_ports import ephemeral_ports
from .local_sockets import own_sockets
from .rtnetlink import EventSocket, RequestSocket

__all__ = ["NextHopSource", "NextHops", "OnChange", "OnEdits"]

OnChange = Callable[[frozenset[IPAddress]], None]
"""Called in the event loop with the addresses whose resolution changed; with none if only the host's interfaces or own
addresses changed."""

OnEdits = Callable[[Sequence[NeighbourEdit]], None]
"""Called in the event loop with what other processes did to the neighbour entries in use."""

_RESYNC_SECONDS = 300.0
_RETRY_SECONDS = 1.0
_PORTS_SECONDS = 0.1  # for how long the settings of ports count as read: every check asks
_GATHER_SECONDS = 0.001  # events come in groups: a deleted neighbour is announced as FAILED and then as deleted
_DOUBTS_SECONDS = 0.1  # thousands of checks may fail in a second, and each turn of the thread looks at all neighbours

log = logging.getLogger(__name__)


class NextHopSource(Protocol):
    """What knows the next hops of addresses."""

    async def start(self, on_change: OnChange, on_edits: OnEdits) -> None:
        """Start watching. Raises PlatformError if the kernel cannot be asked."""
        ...

    async def stop(self) -> None:
        """Stop watching; nothing is called after this returns."""
        ...

    def watch(self, addresses: frozenset[IPAddress]) -> None:
        """Watch these addresses instead of the earlier ones; results are announced by `on_change`."""
        ...

    def watch_clients(self, *, wanted: bool) -> None:
        """Know the ways to nearly all clients from now on, or no more; changes are announced by `on_change`."""
        ...

    def client_ways(self) -> Mapping[int, ClientWay] | None:
        """Return them as known at present, by IP version; None where they have not been looked up."""
        ...

    def avoid(self, addresses: frozenset[IPAddress]) -> None:
        """Ask for no MAC from these addresses of the host: backends have them too, and would not answer."""
        ...

    def lookup(self, address: IPAddress) -> Resolution:
        """Return what is known at present, without blocking."""
        ...

    def known(self) -> Mapping[IPAddress, Resolution]:
        """Return what `lookup` returns at present, for any address; it does not change later."""
        ...

    def doubt(self, address: IPAddress, first: bool) -> None:
        """Ask anew for the neighbour that leads to `address`: a check of it got no answer, for the first time or not.

        If it has another MAC now, that is announced by `on_change`.
        """
        ...

    def vlan_nics(self) -> frozenset[str]:
        """Return the names of the NICs that have VLAN devices: they may get tagged frames."""
        ...

    def host(self) -> Host:
        """Return this host's addresses, and the ports of its own connections."""
        ...

    def sockets(self) -> Sequence[OwnSocket]:
        """Return the sockets of this host that listen, and those of its open connections. Blocks for milliseconds."""
        ...

    def links(self) -> Mapping[str, NicLink]:
        """Return the interfaces of this host, by name, as known at present; none before `start`."""
        ...

    def ask(self, answer: Callable[[], None]) -> None:
        """Have the thread that watches the network call `answer` soon; RuntimeError if there is none now."""
        ...


class NextHops:
    """The NextHopSource that uses rtnetlink, for the network namespace of the thread that calls `start`."""

    def __init__(self) -> None:
        self._wanted: frozenset[IPAddress] = frozenset()
        self._avoided: frozenset[IPAddress] = frozenset()
        self._clients_wanted = False
        self._reader: _Reader | None = None
        self._ports: tuple[range, ...] = ()
        self._ports_until = 0.0
        self._doubts: list[tuple[IPAddress, bool]] = []
        self._telling: asyncio.TimerHandle | None = None

    async def start(self, on_change: OnChange, on_edits: OnEdits = lambda _: None) -> None:
        """Open the sockets, read the kernel's tables, and start watching. Raises PlatformError."""
        try:
            reader = _Reader(asyncio.get_running_loop(), on_change, on_edits)
        except OSError as error:
            raise PlatformError(f"the kernel's rtnetlink cannot be used: {error.strerror}") from error
        reader.watch(self._wanted)
        reader.watch_clients(wanted=self._clients_wanted)
        reader.avoid(self._avoided)
        self._reader = reader
        await asyncio.to_thread(reader.start)

    async def stop(self) -> None:
        """Stop the thread and close its sockets."""
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        if self._reader is not None:
            reader, self._reader = self._reader, None
            await asyncio.to_thread(reader.stop)

    def watch(self, addresses: frozenset[IPAddress]) -> None:
        """Watch these addresses instead of the earlier ones. The first results come within milliseconds."""
        self._wanted = addresses
        if self._reader is not None:
            self._reader.watch(addresses)

    def watch_clients(self, *, wanted: bool) -> None:
        """Know the ways to nearly all clients from now on, or no more."""
        self._clients_wanted = wanted
        if self._reader is not None:
            self._reader.watch_clients(wanted=wanted)

    def client_ways(self) -> Mapping[int, ClientWay] | None:
        """Return them as known at present, by IP version; None where they have not been looked up."""
        return self._reader.client_ways if self._reader is not None else None

    def avoid(self, addresses: frozenset[IPAddress]) -> None:
        """Ask for no MAC from these addresses of the host: backends have them too, and would not answer."""
        self._avoided = addresses
        if self._reader is not None:
            self._reader.avoid(addresses)

    def lookup(self, address: IPAddress) -> Resolution:
        """Return what is known at present, without blocking."""
        return self.known()[address]

    def known(self) -> Mapping[IPAddress, Resolution]:
        """Return what `lookup` returns at present, for any address; it does not change later."""
        return _Known(self._reader.resolutions if self._reader is not None else {})

    def doubt(self, address: IPAddress, first: bool) -> None:
        """Ask anew for the neighbour that leads to `address`, soon and not too often; does not block."""
        self._doubts.append((address, first))
        if self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(_DOUBTS_SECONDS, self._tell_doubts)

    def vlan_nics(self) -> frozenset[str]:
        """Return the names of the NICs that have VLAN devices; none before `start`."""
        return self._reader.vlan_nics if self._reader is not None else frozenset()

    def host(self) -> Host:
        """Return this host's addresses, none before `start`, and the ports of its own connections."""
        if (now := time.monotonic()) >= self._ports_until:
            self._ports, self._ports_until = ephemeral_ports(), now + _PORTS_SECONDS
        return Host(self._reader.addresses if self._reader is not None else (), self._ports)

    def sockets(self) -> Sequence[OwnSocket]:
        """Return the sockets of this host that listen, and those of its open connections. Blocks for milliseconds."""
        return own_sockets()

    def links(self) -> Mapping[str, NicLink]:
        """Return the interfaces of this host, by name; none before `start`."""
        return self._reader.links if self._reader is not None else {}

    def ask(self, answer: Callable[[], None]) -> None:
        """Have the thread call `answer` soon; RuntimeError if there is none now."""
        reader = self._reader
        if reader is None:
            raise RuntimeError("the network is not watched")
        reader.ask(answer)

    def _tell_doubts(self) -> None:
        doubts, self._doubts, self._telling = self._doubts, [], None
        if self._reader is not None:
            self._reader.doubt(doubts)


class _Known(Mapping[IPAddress, Resolution]):
    """Resolutions as published; an address that has none yet is pending."""

    def __init__(self, resolutions: Mapping[IPAddress, Resolution]) -> None:
        self._published = resolutions

    def __getitem__(self, address: IPAddress) -> Resolution:
        found = self._published.get(address)
        return found or Resolution(None, f"the route to {address} has not been looked up yet", pending=True)

    def __iter__(self) -> Iterator[IPAddress]:
        return iter(self._published)

    def __len__(self) -> int:
        return len(self._published)


class _Reader:
    """The thread that reads events and asks the kernel.

    It replaces `resolutions`, `links`, `vlan_nics`, `addresses` and `client_ways` as a whole and never changes them in
    place, so that other threads may read them without a lock.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, on_change: OnChange, on_edits: OnEdits) -> None:
        self._loop, self._on_change, self._on_edits = loop, on_change, on_edits
        self._events, self._requests = EventSocket(), RequestSocket()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._view = HostView(self._requests)
        self._wanted: frozenset[IPAddress] = frozenset()
        self._watched: frozenset[IPAddress] = frozenset()
        self._clients_wanted = self._clients_watched = False
        self._doubted: SimpleQueue[list[tuple[IPAddress, bool]]] = SimpleQueue()
        self._answers: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._resync_at = 0.0
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="next-hops", daemon=True)
        self.resolutions: dict[IPAddress, Resolution] = {}
        self.vlan_nics: frozenset[str] = frozenset()
        self.addresses: tuple[OwnAddress, ...] = ()
        self.links: dict[str, NicLink] = {}
        self.client_ways: dict[int, ClientWay] | None = None
        self._links_changed = 0

    def start(self) -> None:
        """Read all tables once, which blocks, then go on in the thread. Raises PlatformError if the reading fails."""
        try:
            self._turn(time.monotonic())
        except OSError as error:
            raise PlatformError(f"the kernel's tables cannot be read: {error.strerror}") from error
        self._thread.start()

    def watch(self, addresses: frozenset[IPAddress]) -> None:
        """Set the addresses to watch. May be called from any thread."""
        self._wanted = addresses
        os.eventfd_write(self._wake_fd, 1)

    def watch_clients(self, *, wanted: bool) -> None:
        """Set whether the ways to clients are to be known. May be called from any thread."""
        self._clients_wanted = wanted
        os.eventfd_write(self._wake_fd, 1)

    def avoid(self, addresses: frozenset[IPAddress]) -> None:
        """Set the addresses to ask nobody from. May be called from any thread."""
        self._view.avoided = addresses

    def doubt(self, doubts: list[tuple[IPAddress, bool]]) -> None:
        """Ask anew for the neighbours that lead to these addresses. May be called from any thread."""
        self._doubted.put(doubts)
        os.eventfd_write(self._wake_fd, 1)

    def ask(self, answer: Callable[[], None]) -> None:
        """Call `answer` in the thread. May be called from any thread."""
        self._answers.put(answer)
        with contextlib.suppress(OSError):  # it was stopped just now
            os.eventfd_write(self._wake_fd, 1)

    def stop(self) -> None:
        """Stop the thread, wait for its end, and close the sockets."""
        self._stopping = True
        os.eventfd_write(self._wake_fd, 1)
        if self._thread.is_alive():
            self._thread.join()
        os.close(self._wake_fd)
        self._events.close()
        self._requests.close()

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._events.fileno(), select.POLLIN)
        poll.register(self._wake_fd, select.POLLIN)
        while not self._stopping:
            wake = self._turn_safely()
            while not self._answers.empty():
                self._answers.get()()
            if poll.poll(max(0.0, wake - time.monotonic()) * 1000):
                time.sleep(_GATHER_SECONDS)
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._wake_fd)

    def _turn_safely(self) -> float:
        """Do one turn. After an error of the kernel, read all tables again a little later."""
        try:
            return self._turn(time.monotonic())
        except (OSError, XdplbError) as error:
            log.warning("cannot read next hops from the kernel: %s; trying again in %g s", error, _RETRY_SECONDS)
            self._resync_at = 0.0
            time.sleep(_RETRY_SECONDS)
            return 0.0

    def _turn(self, now: float) -> float:
        """Do what is due now; return when to call again unless woken before (seconds, monotonic)."""
        events = self._events.drain()
        if events is None or now >= self._resync_at:
            changed = self._view.resync()
            self._resync_at = now + _RESYNC_SECONDS
        else:
            changed = self._view.apply(events)
        if self._wanted is not self._watched:
            wanted = self._wanted  # read once: another thread may replace it at any time
            changed |= self._view.watch(wanted)
            self._watched = wanted
        if self._clients_wanted is not self._clients_watched:
            self._clients_watched = not self._clients_watched
            changed |= self._view.watch_clients(wanted=self._clients_watched)
        self._publish(changed)
        while not self._doubted.empty():
            for address, first in self._doubted.get():
                self._view.doubt(now, address, first=first)
        solicited, wake = self._view.solicit(now)
        self._publish(solicited)
        return min(wake, self._resync_at)

    def _publish(self, changed: set[IPAddress]) -> None:
        links_changed = self._view.links_changed != self._links_changed
        addresses = self._view.addresses()
        ways = self._view.client_ways() if self._clients_watched else None
        host_changed = links_changed or addresses != self.addresses or ways != self.client_ways
        if changed:
            self.resolutions = dict(self._view.resolutions)
        if links_changed:
            self._links_changed = self._view.links_changed
            self.links, self.vlan_nics = self._view.links(), self._view.vlan_nics()
        self.addresses, self.client_ways = addresses, ways
        edits = self._view.take_edits()
        if changed or host_changed or edits:
            with contextlib.suppress(RuntimeError):  # the loop was closed without stop()
                self._loop.call_soon_threadsafe(
                    self._tell, frozenset(changed & self._watched) if changed or host_changed else None, edits
                )

    def _tell(self, changed: frozenset[IPAddress] | None, edits: Sequence[NeighbourEdit]) -> None:
        if not self._stopping and changed is not None:
            self._on_change(changed)
        if not self._stopping and edits:
            self._on_edits(edits)
