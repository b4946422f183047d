# SPDX-License-Identifier: Apache-2.0
"""Looking up the next hops of backends that a change is about to add."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable

from xdplb.control.writing.patience import Patience
from xdplb.model.address import IPAddress
from xdplb.net.next_hops import NextHopSource

__all__ = ["Seeking"]


class Seeking:
    """Has next hops watched that are not in the state yet; `in_use` returns the addresses that are."""

    def __init__(self, next_hops: NextHopSource, in_use: Callable[[], frozenset[IPAddress]]) -> None:
        self._next_hops, self._in_use = next_hops, in_use
        self._sought: Counter[IPAddress] = Counter()  # by the number of changes under way that wait for it
        self._changed = asyncio.Event()
        self.patience = Patience(time.monotonic)

    def next_hops_changed(self) -> None:
        """See whether what is waited for is known now."""
        self._changed.set()

    def watch(self) -> None:
        """Have the next hops watched of all backends in use, and of those that are sought."""
        self._next_hops.watch(self._in_use() | self._sought.keys())

    @contextlib.asynccontextmanager
    async def seek(self, addresses: frozenset[IPAddress]) -> AsyncIterator[None]:
        """Look up the next hops of these addresses, as far as they are not known and patience allows, for the block."""
        unknown = [address for address in addresses if self._next_hops.lookup(address).pending]
        if not unknown:
            yield
            return
        self._sought.update(unknown)
        try:
            self.watch()
            began = time.monotonic()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.patience.left()):
                    while any(self._next_hops.lookup(address).pending for address in unknown):
                        self._changed.clear()
                        await self._changed.wait()
            self.patience.spend(time.monotonic() - began)
            yield
        finally:
            self._sought.subtract(unknown)
            self._sought = +self._sought
            self.watch()
