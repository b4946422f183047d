# SPDX-License-Identifier: Apache-2.0
"""Whether what is on this host may join the store that balancers share: asked before anything is changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from xdplb.cluster.repository import Repository, Whole
from xdplb.control.edits.belonging import foreign, has_state, head_of
from xdplb.control.state.lineage import Verdict, judged
from xdplb.control.state.snapshot import Snapshot
from xdplb.model.errors import ConflictError, StoreAwayError, XdplbError

from .options import DaemonOptions
from .sharing_options import StoreOptions

__all__ = ["open_repository", "require_empty_to_restore", "require_joinable"]

_log = logging.getLogger("xdplb")

_SECONDS = 3.0

OpenRepository = Callable[[StoreOptions, str], Repository]
"""Returns a node's way to a store."""


def open_repository(store: StoreOptions, node: str) -> Repository:
    """Return the way to the store, which belongs to the running event loop."""
    from xdplb.etcd.repository import EtcdRepository  # noqa: PLC0415 (a tenth of a second, for nothing without a store)

    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it tells of each request
    return EtcdRepository(store.address, store.access, node)


def require_empty_to_restore(options: DaemonOptions, repository: OpenRepository) -> None:
    """Raise ConflictError if a backup is to be restored, and the store has a state: all balancers have that.

    Raises StoreAwayError if that cannot be found out.
    """
    if options.store is None or options.restore is None:
        return
    head = head_of(asyncio.run(_read(options.store, repository, options.node)))
    if head is not None:
        raise ConflictError(
            f"--restore is for an empty store, and {options.store.address} has a state (generation"
            f" {head['generation']})",
            hint="to go back to older VIPs, give all balancers the older configuration with xdplb config apply; to"
            " begin anew, stop all balancers and remove what is under the prefix",
        )


def require_joinable(
    options: DaemonOptions, repository: OpenRepository, snapshot: Snapshot, past: Mapping[int, str]
) -> None:
    """Raise ConflictError if the state here was never in the store, and the store has another one.

    If the store does not answer, the start goes on with what is here.
    """
    if options.store is None:
        if snapshot.copy.lineage:
            _log.warning(
                "the state here is that of a store, and no --store is given: with the first change it is this"
                " balancer's own, and does not go back into that store"
            )
        return
    try:
        head = head_of(asyncio.run(_read(options.store, repository, options.node)))
    except XdplbError as error:
        _log.warning("the store %s cannot be asked yet, and the start goes on: %s", options.store.address, error)
        return
    verdict = judged(snapshot.copy, past, head, is_empty=not snapshot.vips)
    if verdict is Verdict.FOREIGN and head is not None and not has_state(snapshot.desired, head):
        raise foreign(snapshot, head)


async def _read(store: StoreOptions, open_it: OpenRepository, node: str) -> Whole:
    repository = open_it(store, node)
    try:
        async with asyncio.timeout(_SECONDS):
            return await repository.read()
    except TimeoutError:
        raise StoreAwayError(
            f"the store {store.address} did not answer within {_SECONDS:.0f} s",
            hint="look at etcd with etcdctl endpoint health",
        ) from None
    finally:
        await repository.close()
