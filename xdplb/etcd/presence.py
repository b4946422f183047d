# SPDX-License-Identifier: Apache-2.0
"""What a node publishes, under a lease: it goes away with the node, and is written again whenever it was lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

from xdplb.cluster.repository import LEASE_SECONDS, Json
from xdplb.model.errors import StoreRefusedError, XdplbError

from .backoff import Backoff
from .faults import GatewayError
from .gateway import Gateway
from .keys import Keys
from .layout import Layout, json_of
from .wire import delete, number, put

__all__ = ["Presence"]

_log = logging.getLogger(__name__)

_KEEP_SECONDS = LEASE_SECONDS / 3
_GATHER_SECONDS = 0.1
"""What is published within this time is written at once."""
_LAST_SECONDS = 1.0


class Presence:
    """Keeps what a node publishes written. It begins with `run`."""

    def __init__(self, gateway: Gateway, layout: Layout, node: str) -> None:
        self._gateway, self._keys, self._layout, self._node = gateway, Keys(gateway), layout, node
        self._wanted: dict[str, bytes] = {}
        self._written: dict[str, bytes] = {}
        self._lease = 0
        self._kept_at = 0.0
        self._doubts = 0
        self._work = asyncio.Event()

    def publish(self, name: str, value: Json | None) -> None:
        """Have an entry be this from now on, None for none."""
        self._wanted.pop(name, None)
        if value is not None:
            self._wanted[name] = json_of(value)
        self._work.set()

    def doubt(self) -> None:
        """See soon whether the lease is still there, and write everything again: the store was away, or is another."""
        self._doubts += 1
        self._kept_at, self._written = 0.0, {}
        self._work.set()

    async def run(self) -> None:
        """Forever: write what is to be published, and keep the lease."""
        backoff, told = Backoff(), ""
        while True:
            try:
                await self._do()
            except (XdplbError, GatewayError, LookupError, TypeError, ValueError) as error:
                if isinstance(error, StoreRefusedError) and str(error) != told:
                    told = str(error)
                    _log.warning("this balancer cannot tell the others of itself: %s", told)
                await backoff.wait()
                continue
            backoff.reset()
            self._work.clear()
            if self._wanted == self._written:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_KEEP_SECONDS if self._lease else None):
                        await self._work.wait()
            await asyncio.sleep(_GATHER_SECONDS)

    async def withdraw(self) -> None:
        """End the lease, and with it all that is published, if that can be done in a moment."""
        lease, self._lease = self._lease, 0
        if lease:
            with contextlib.suppress(XdplbError, GatewayError, TimeoutError):
                async with asyncio.timeout(_LAST_SECONDS):
                    await self._gateway.ask("/v3/lease/revoke", {"ID": str(lease)})

    async def _do(self) -> None:
        if self._lease and time.monotonic() - self._kept_at >= _KEEP_SECONDS:
            await self._keep_lease()
        if self._wanted == self._written:
            return
        if not self._lease:
            began = time.monotonic()
            answer = await self._gateway.ask("/v3/lease/grant", {"TTL": str(LEASE_SECONDS)})
            self._lease, self._kept_at, self._written = number(answer, "ID"), began, {}
        await self._write()

    async def _keep_lease(self) -> None:
        """Prolong the lease; note if it is gone, so that everything is written again under another one."""
        began = time.monotonic()
        answer = await self._gateway.ask("/v3/lease/keepalive", {"ID": str(self._lease)})
        if number(answer.get("result", {}), "TTL"):
            self._kept_at = began
        else:
            self._lease, self._written = 0, {}

    async def _write(self) -> None:
        wanted, doubts = dict(self._wanted), self._doubts
        puts = [name for name, text in wanted.items() if self._written.get(name) != text]
        gone = [name for name in self._written if name not in wanted]
        ops = [
            *(put(self._layout.published(self._node, name), wanted[name], self._lease) for name in puts),
            *(delete(self._layout.published(self._node, name)) for name in gone),
        ]
        try:
            await self._keys.step((), ops)
        except GatewayError:
            self._lease, self._written = 0, {}
            raise
        if doubts == self._doubts:
            self._written = wanted
