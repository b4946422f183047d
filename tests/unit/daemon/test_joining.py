# SPDX-License-Identifier: Apache-2.0
"""Whether a balancer may join a store is found out before anything is changed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.contract.cli_harness import in_process
from tests.unit.control.stored import WEB, backend, edited
from xdplb.cluster.memory import MemoryRepository, MemoryStore
from xdplb.cluster.repository import ABSENT, Change
from xdplb.control.edits.edit import PutBackend, PutVip
from xdplb.control.state.snapshot import Snapshot
from xdplb.control.state.store_copy import NO_COPY
from xdplb.control.state.written import all_written
from xdplb.daemon.joining import require_empty_to_restore, require_joinable
from xdplb.daemon.options import ApiOptions, DaemonOptions
from xdplb.daemon.sharing_options import StoreOptions
from xdplb.model.errors import ConflictError, StoreAwayError
from xdplb.model.store_address import StoreAccess, StoreAddress

STORE = StoreOptions(StoreAddress.parse("etcd://192.0.2.1/xdplb"), StoreAccess())
OPTIONS = DaemonOptions(
    interfaces=("eth0",),
    mode="auto",
    api=ApiOptions(("unix:/x",)),
    state_dir=Path("/state"),
    pin_dir=Path("/pins"),
    node="lb2",
    store=STORE,
)
MINE = edited(Snapshot(), PutVip(WEB), PutBackend(WEB.key, backend(1)))
OTHER = edited(Snapshot(), PutVip(WEB), PutBackend(WEB.key, backend(2)))


def store_with(state: Snapshot) -> MemoryStore:
    store, made = MemoryStore(), all_written(state.desired)
    head = made.head(NO_COPY, "lineage", state.generation, {"writer": "lb1"})
    asyncio.run(MemoryRepository(store, "lb1").commit(ABSENT, Change(head, made.puts)))
    return store


def joins(store: MemoryStore, state: Snapshot) -> None:
    require_joinable(OPTIONS, lambda _store, node: MemoryRepository(store, node), state, {})


def test_a_state_that_was_never_in_a_store_with_another_one_is_refused() -> None:
    with pytest.raises(ConflictError, match=r"1 VIPs and was never in the store.*generation 2, written by lb1"):
        joins(store_with(OTHER), MINE)


def test_an_empty_state_an_equal_one_and_an_empty_store_are_fine() -> None:
    joins(store_with(OTHER), Snapshot())
    joins(store_with(MINE), MINE)
    joins(MemoryStore(), MINE)


def test_a_store_that_is_away_holds_no_start_up() -> None:
    store = store_with(OTHER)
    store.go_away("nobody answers")
    joins(store, MINE)


def test_a_backup_is_restored_only_into_an_empty_store() -> None:
    asked = replace(OPTIONS, restore=Path("/backup"))
    full, empty = store_with(OTHER), MemoryStore()
    with pytest.raises(ConflictError, match="--restore is for an empty store"):
        require_empty_to_restore(asked, lambda _store, node: MemoryRepository(full, node))
    require_empty_to_restore(asked, lambda _store, node: MemoryRepository(empty, node))
    empty.go_away("nobody answers")
    with pytest.raises(StoreAwayError):
        require_empty_to_restore(asked, lambda _store, node: MemoryRepository(empty, node))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--store", "etcd://192.0.2.1", "--config", "/x.toml"), "exclude each other"),
        (("--store-user", "xdplb"), "--store is missing"),
        (("--store", "redis://192.0.2.1"), "etcd://HOST:2379"),
        (("--store", "etcd://192.0.2.1", "--store-ca", "/ca.pem"), "etcds://"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: tuple[str, ...], told: str) -> None:
    answer = in_process("up", "eth0", *options)
    assert answer.returncode == 2
    assert told in answer.stderr
