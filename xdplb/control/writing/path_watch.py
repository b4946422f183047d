# SPDX-License-Identifier: Apache-2.0
"""What becomes of ICMP errors about packets that xdplb has sent into tunnels: MTUs are lowered, errors are counted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from xdplb.control.clock import SteadyClock
from xdplb.control.events import Events, PathErrorsUnheard, PathMtuLowered, PathMtuOver, PathTrouble
from xdplb.control.paths.book import LoweredMtu
from xdplb.control.paths.sent import SentPackets
from xdplb.control.paths.told import told_mtu
from xdplb.control.paths.tunnel import Tunnel, tunnel_of
from xdplb.control.paths.words import sentence
from xdplb.control.plan.steps import Held
from xdplb.control.state.snapshot import BoundBackend, BoundVip
from xdplb.control.writing.writer import Writer
from xdplb.dataplane.plane import BackendEntry
from xdplb.model.errors import PlatformError
from xdplb.model.moment import moment_text
from xdplb.net.icmp_errors import IcmpErrorSource
from xdplb.net.icmp_message import ErrorKind, IcmpError

__all__ = ["Ignored", "PathView", "PathWatch", "sent_mtu"]

_LONGEST = 0xFFFF


class Ignored(StrEnum):
    """Why an ICMP error was not believed: broken or not to its sender, about a packet not ours, or against reason."""

    MALFORMED = "malformed"
    NOT_OURS = "not_ours"
    IMPLAUSIBLE = "implausible"


@dataclass(frozen=True, slots=True)
class PathView:
    """The path to a backend. `mtu` is what packets are sent with, outer headers included, None while it is not known.

    `lowered` is what a router told, None if nothing that counts. `errors` are the ICMP errors about packets in its
    tunnel, by kind; `reason` is a sentence about the latest, empty if there is none or it is a while ago.
    """

    mtu: int | None
    lowered: LoweredMtu | None
    errors: Mapping[ErrorKind, int]
    reason: str


def sent_mtu(held: BackendEntry | None, vip: BoundVip, backend: BoundBackend) -> int | None:
    """Return the MTU that packets to a backend are sent with, by the entry with its id that the maps hold, if any."""
    if held is None or held.next_hop is None or (held.vip_id, held.epoch) != (vip.id, backend.epoch):
        return None
    return held.next_hop.mtu


class PathWatch:
    """Judges each ICMP error, and lets go of lowered MTUs when their time is over. Used in the event loop."""

    def __init__(
        self,
        source: IcmpErrorSource | None,
        writer: Writer,
        events: Events,
        *,
        steady: SteadyClock,
        period_seconds: float,
    ) -> None:
        self._source, self._writer, self._events, self._steady = source, writer, events, steady
        self._period_seconds = period_seconds
        self._made_for: Held | None = None
        self._sent = SentPackets({}, {})
        self.ignored: dict[Ignored, int] = dict.fromkeys(Ignored, 0)
        """How many errors were not believed since the start."""

    async def start(self) -> None:
        """Start listening. Where that is not allowed, the balancer works without."""
        if self._source is not None:
            try:
                await self._source.start(self.heard)
            except PlatformError as error:
                self._events.say(PathErrorsUnheard(f"{error.detail}; {error.hint}" if error.hint else error.detail))

    async def stop(self) -> None:
        """Stop listening."""
        if self._source is not None:
            await self._source.stop()

    async def run(self) -> None:
        """Forever: try longer packets again when the time has come."""
        while True:
            self.turn()
            await asyncio.sleep(self._period_seconds)

    def turn(self) -> None:
        """Forget the MTUs whose time is over."""
        if over := self._writer.paths.expire(self._steady.now()):
            for address in over:
                self._events.say(PathMtuOver(str(address), self._writer.link_mtu(address)))
            self._writer.path_mtus_changed(over)

    def heard(self, error: IcmpError | None) -> None:
        """Judge an error, and do what follows from it; None is a message that could not be read."""
        if error is None:
            self.ignored[Ignored.MALFORMED] += 1
        elif (tunnel := self._sent_packets().find(error.quote)) is None:
            self.ignored[Ignored.NOT_OURS] += 1
        elif error.quote.length > (self._writer.link_mtu(tunnel.address) or _LONGEST):
            self.ignored[Ignored.IMPLAUSIBLE] += 1
        elif error.kind is not ErrorKind.TOO_BIG:
            self._note(tunnel, error)
        elif (mtu := told_mtu(error)) is None:
            self.ignored[Ignored.IMPLAUSIBLE] += 1
        else:
            self._note(tunnel, error)
            self._lower(tunnel, mtu, error)

    def of(self, vip: BoundVip, backend: BoundBackend) -> PathView:
        """Return what is known of the path to a backend."""
        forward, inner = vip.forward_of(backend.backend), vip.vip.key.address.version
        tunnel = tunnel_of(backend.backend.address, forward, inner)
        mtu = sent_mtu(self._writer.applier.known.backends.get(backend.id), vip, backend)
        if tunnel is None:
            return PathView(mtu, None, {}, "")
        book = self._writer.paths
        sentences = [sentence(error, tunnel, inner) for error in book.recent(tunnel, self._steady.now())]
        return PathView(mtu, self._lowered(tunnel), book.counts(tunnel), next(filter(None, sentences), ""))

    def _note(self, tunnel: Tunnel, error: IcmpError) -> None:
        is_news = self._writer.paths.count(tunnel, error, self._steady.now())
        said = sentence(error, tunnel, tunnel.inner_version or 4)
        if is_news and said:
            self._events.say(PathTrouble(str(tunnel.address), tunnel.forward, said))

    def _lower(self, tunnel: Tunnel, mtu: int, error: IcmpError) -> None:
        book = self._writer.paths
        if book.lower(tunnel.address, mtu, error.router, self._steady.now()):
            until = moment_text(book.lowered[tunnel.address].until + self._steady.ahead())
            self._events.say(PathMtuLowered(str(tunnel.address), mtu, str(error.router), until))
            self._writer.path_mtus_changed([tunnel.address])

    def _lowered(self, tunnel: Tunnel) -> LoweredMtu | None:
        lowered, link = self._writer.paths.lowered.get(tunnel.address), self._writer.link_mtu(tunnel.address)
        return lowered if lowered is not None and lowered.mtu < (link or _LONGEST) else None

    def _sent_packets(self) -> SentPackets:
        known = self._writer.applier.known
        if self._made_for is not known:
            self._sent, self._made_for = SentPackets(known.backends, known.vips), known
        return self._sent
