# SPDX-License-Identifier: Apache-2.0
"""Looks at the NICs whenever the kernel announces something, and often enough for what it does not announce."""

from __future__ import annotations

import asyncio
import contextlib

from xdplb.control.events import DriftKind
from xdplb.control.writing.drifts import Drifts
from xdplb.control.writing.writer import Writer
from xdplb.model.errors import XdplbError
from xdplb.net.next_hops import NextHopSource

__all__ = ["NicWatch"]

_LOOK_SECONDS = 0.5
"""The kernel announces NICs that come and go, but not that somebody detaches a program."""


class NicWatch:
    """Has the program kept on the NICs that are asked for. Used in the event loop."""

    def __init__(self, writer: Writer, next_hops: NextHopSource, drifts: Drifts) -> None:
        self._writer, self._next_hops, self._drifts = writer, next_hops, drifts
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
        self._drifts.well(DriftKind.NIC, "all NICs")
        if changed:
            self._writer.plan_everything()

    def _say_unknown(self, error: Exception) -> None:
        expected = isinstance(error, XdplbError)
        self.error = str(error) if expected else repr(error)
        reason = f"it is not known which NICs have the program: {self.error}"
        self._drifts.stands(DriftKind.NIC, "all NICs", reason, trace=None if expected else error)
