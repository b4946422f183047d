"""Looks at the NICs whenever the kernel announces something, and often enough for what it does not announce."""

from __future__ import annotations

import asyncio
import contextlib

from xdplb.control.events import Events, NicsUnknown
from xdplb.control.writing.writer import Writer
from xdplb.model.errors import XdplbError
from xdplb.net.next_hops import NextHopSource

__all__ = ["NicWatch"]

_LOOK_SECONDS = 0.5
"""The kernel announces NICs that come and go, but not that somebody detaches a program."""


class NicWatch:
    """Has the program kept on the NICs that are asked for. Used in the event loop."""

    def __init__(self, writer: Writer, next_hops: NextHopSource, events: Events) -> None:
        self._writer, self._next_hops, self._events = writer, next_hops, events
        self._disturbed = asyncio.Event()
        self.error = ""
        """Why it is not known which NICs have the program; empty if it is."""

    def disturb(self) -> None:
        """Look again at once: something is not as it was."""
        self._disturbed.set()

    async def run(self) -> None:
        """Forever: keep the program on the NICs."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._disturbed.wait()
            self._disturbed.clear()
            await self.look()

    async def look(self) -> None:
        """Look at the NICs, and attach where the program is missing; plan everything again soon if that changed any."""
        nics = self._writer.applier.nics
        try:
            changed = await self._writer.with_maps(lambda: nics.check(self._next_hops.links()))
        except Exception as error:
            self._say_unknown(error)
            return
        self.error = ""
        if changed:
            self._writer.plan_everything()

    def _say_unknown(self, error: Exception) -> None:
        """Say it once: the next look is half a second away."""
        expected = isinstance(error, XdplbError)
        text = str(error) if expected else repr(error)
        if text != self.error:
            self._events.say(NicsUnknown(text), trace=None if expected else error)
        self.error = text
