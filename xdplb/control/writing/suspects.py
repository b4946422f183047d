# SPDX-License-Identifier: Apache-2.0
"""Which backends are suspect: the next SYN of a connection that they have not answered goes elsewhere (`syn_failover`).

That is an early and weak word. Nothing else follows from it, so it may be wrong: what is known for sure is health.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable

from xdplb.control.health.health_source import HealthSource
from xdplb.control.writing.writer import Writer
from xdplb.dataplane.plane import DataPlane
from xdplb.model.errors import XdplbError

__all__ = ["Suspects"]

_AGAIN_SECONDS = 1.0


class Suspects:
    """Puts together what is said of backends, and tells the data plane. To be used in the event loop."""

    def __init__(self, plane: DataPlane, writer: Writer, checker: HealthSource | None) -> None:
        self._plane, self._writer, self._checker = plane, writer, checker
        self._failing: set[int] = set()
        self._found: frozenset[int] = frozenset()
        self._written: frozenset[int] | None = None
        """What the data plane was told, None while that is not known."""
        self._disturbed = asyncio.Event()

    @property
    def written(self) -> frozenset[int]:
        """The ids of the backends that packets see as suspect."""
        return self._written or frozenset()

    def checked(self, backend_ids: Iterable[int]) -> None:
        """Look at the checks of these backends: one that has failed once makes its backend suspect."""
        self._failing.update(backend_ids)
        self._disturbed.set()

    def found(self, backend_ids: Collection[int]) -> None:
        """Make these backends suspect by what was seen of their traffic, and no others."""
        found = frozenset(backend_ids)
        if found != self._found:
            self._found = found
            self._disturbed.set()

    async def run(self) -> None:
        """Forever: tell the data plane soon when something has changed, and look again while anybody is suspect."""
        while True:
            try:
                await self._tell()
            except XdplbError:  # whoever cannot write one map can write none, and says so
                self._written = None
            try:
                async with asyncio.timeout(None if self._rests else _AGAIN_SECONDS):
                    await self._disturbed.wait()
            except TimeoutError:
                pass

    @property
    def _rests(self) -> bool:
        """Whether nobody is suspect, and the data plane knows it: then nothing changes by itself."""
        return self._written == frozenset() and not self._failing and not self._found

    async def _tell(self) -> None:
        self._disturbed.clear()
        wanted = self._wanted()
        if wanted != self._written:
            await self._writer.with_maps(lambda: self._plane.write_suspects(wanted))
            self._written = wanted

    def _wanted(self) -> frozenset[int]:
        """Return those that there are, of VIPs that ask for it."""
        self._failing = {number for number in self._failing if self._fails(number)}
        found = ((number, self._writer.find_backend(number)) for number in self._failing | self._found)
        return frozenset(number for number, known in found if known is not None and known[0].vip.syn_failover)

    def _fails(self, backend_id: int) -> bool:
        """Whether the last result of one of its checks was a failure; not for one that is not checked (any more)."""
        return self._checker is not None and any(tally.streak < 0 for tally in self._checker.tallies_of(backend_id))
