# SPDX-License-Identifier: Apache-2.0
"""The store that balancers share, for tests: opened as a node, written to, and what is waited for."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from tests.contract.repositories import Watcher
from tests.real_etcd import Etcd
from tests.tcp_gate import Gate, open_gate
from xdplb.cluster.repository import Away, Back, Change, Delta, Repository, Version, Whole
from xdplb.etcd.repository import EtcdRepository
from xdplb.model.store_address import StoreAccess, StoreAddress

__all__ = ["ANYBODY", "address_in", "away", "back", "behind_gate", "generations", "opened", "steps"]

ANYBODY = StoreAccess()
"""No user, and no TLS."""


def address_in(etcd: Etcd) -> StoreAddress:
    """Return the address of a store that nobody has used yet."""
    return etcd.address(f"/test/{uuid.uuid4().hex}")


@asynccontextmanager
async def opened(address: StoreAddress, node: str = "lb1", access: StoreAccess = ANYBODY) -> AsyncIterator[Repository]:
    repository = EtcdRepository(address, access, node)
    try:
        yield repository
    finally:
        await repository.close()


@asynccontextmanager
async def behind_gate(etcd: Etcd, address: StoreAddress) -> AsyncIterator[tuple[Gate, Repository]]:
    """Yield a gate to the store, and a node behind it."""
    async with (
        open_gate(etcd.members[0].client) as gate,
        opened(replace(address, members=(gate.place,)), "behind") as repository,
    ):
        yield gate, repository


async def steps(repository: Repository, version: Version, first: int, last: int, digest: str = "") -> Version:
    """Write generations one after the other, each with a VIP of its own."""
    for generation in range(first, last + 1):
        head = {"generation": generation, "digest": digest}
        version = await repository.commit(version, Change(head, {f"vips/{generation}": {}}))
    return version


async def generations(watcher: Watcher, last: int) -> list[int]:
    """Return the generations of the deltas up to the last one. Nothing else must come except Away and Back."""
    found: list[int] = []
    while not found or found[-1] != last:
        seen = await watcher.next()
        if isinstance(seen, Delta):
            found.append(seen.head["generation"])
        else:
            assert isinstance(seen, Away | Back)
    return found


async def away(watcher: Watcher) -> str:
    """Return why the store is away, once it is."""
    seen = await watcher.next()
    assert isinstance(seen, Away)
    return seen.reason


async def back(watcher: Watcher) -> Back | Whole | Delta:
    """Return what comes after the store was away."""
    while isinstance(seen := await watcher.next(), Away):
        pass
    return seen
