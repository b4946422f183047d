# SPDX-License-Identifier: Apache-2.0
"""The store that balancers share, in etcd."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping

from xdplb.cluster.repository import Change, Json, Repository, Seen, Version, Whole
from xdplb.model.errors import StoreAwayError, XdplbError
from xdplb.model.store_address import StoreAccess, StoreAddress

from .contents import Contents
from .faults import GatewayError
from .gateway import Gateway
from .keys import Keys, is_forgotten
from .layout import Layout
from .presence import Presence
from .watching import Watching
from .writing import Writer, parts_under

__all__ = ["EtcdRepository"]

_TRIES = 5


class EtcdRepository(Repository):
    """The way of the node `node` to the etcd cluster at `address`. It belongs to the event loop that makes it."""

    def __init__(self, address: StoreAddress, access: StoreAccess, node: str) -> None:
        self._gateway = Gateway(address, access)
        self._keys, self._layout = Keys(self._gateway), Layout(address.prefix)
        self._writer = Writer(self._keys, self._layout, node)
        self._presence = Presence(self._gateway, self._layout, node)
        self._writing = asyncio.Lock()
        self._tasks = {asyncio.create_task(self._presence.run(), name="presence in the store")}

    async def read(self) -> Whole:
        """Return all that the store holds, as it is at one moment."""
        _, whole = await self._read("")
        return whole

    async def commit(self, expected: Version, change: Change) -> Version:
        """Write a change if the head is still `expected`; return the version that it makes."""
        async with self._writing:
            version = await self._writer.write(expected, change)
        if self._writer.has_parts(version):
            self._tidy(version)
        return version

    async def watch(self) -> AsyncGenerator[Seen]:
        """Yield first a Whole and the Nodes, then each change as it comes."""
        watching = Watching(self._gateway, self._layout, read=self._read, on_back=self._presence.doubt)
        task = asyncio.create_task(watching.run(), name="watch of the store")
        try:
            async for seen in watching.seen(task):
                yield seen
        finally:
            await _ended(task)

    def publish(self, name: str, value: Json | None) -> None:
        """Have this node's entry `name` be `value` from now on."""
        self._presence.publish(name, value)

    async def nodes(self) -> Mapping[str, Mapping[str, Json]]:
        """Return what all nodes publish."""
        found, revision = await self._keys.under(self._layout.nodes)
        return Contents(self._layout, found, revision).nodes().nodes

    async def close(self) -> None:
        """Withdraw what this node publishes, if that can be done in a moment, and end."""
        for task in list(self._tasks):
            await _ended(task)
        await self._presence.withdraw()
        await self._gateway.close()

    async def _read(self, why: str) -> tuple[Contents, Whole]:
        """Return all that the store holds, also as a Whole."""
        for _ in range(_TRIES):
            found, revision = await self._keys.under(self._layout.root)
            contents = Contents(self._layout, found, revision)
            staged = contents.staged
            try:
                parts = [] if staged is None else await parts_under(self._keys, self._layout, staged, revision)
            except GatewayError as error:
                if not is_forgotten(error):
                    raise
            else:
                return contents, contents.whole(parts, why)
        raise StoreAwayError("the store forgets faster than it can be read", hint="have it compacted less often")

    def _tidy(self, version: Version) -> None:
        """Make entries of the parts of a change, beside other work."""
        task = asyncio.create_task(self._fold(version), name="tidying of the store")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fold(self, version: Version) -> None:
        async with self._writing:
            with contextlib.suppress(XdplbError, GatewayError):  # whoever writes next does it then
                await self._writer.fold(version)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
