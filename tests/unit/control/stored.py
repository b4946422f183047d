# SPDX-License-Identifier: Apache-2.0
"""States to save, and what is read back of them."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

from xdplb.control.edits.apply import apply_edit
from xdplb.control.edits.edit import DrainBackend, Edit, PutBackend, PutCheck, PutVip, ReplaceBackends
from xdplb.control.state.snapshot import Snapshot
from xdplb.control.state.sqlite import SqliteStore
from xdplb.dataplane.plane import Capacity
from xdplb.model.backend import Backend, KnownHealth
from xdplb.model.health import CheckType, HealthCheck, Target
from xdplb.model.vip import Forward, Tracking, Vip, VipKey

CAPACITY = Capacity()
NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
WEB = Vip(VipKey.parse("203.0.113.10:443/tcp"), name="web", forward=Forward.IPIP, tracking=Tracking.ALWAYS)
CHECK = HealthCheck(
    type=CheckType.HTTP, port=8080, path="/ready", expect_status=(200, 204), interval_seconds=0.5, target=Target.BACKEND
)


def backend(last: int, **fields: object) -> Backend:
    return Backend(IPv4Address(f"10.0.0.{last}"), **fields)  # type: ignore[arg-type]


def edited(state: Snapshot, *edits: Edit, capacity: Capacity = CAPACITY) -> Snapshot:
    """The state after these edits, each a change of its own."""
    for edit in edits:
        state = state.then(apply_edit(state.desired, edit, NOW), capacity)
    return state


def replaced(*lasts: int) -> ReplaceBackends:
    return ReplaceBackends(WEB.key, tuple(backend(last) for last in lasts))


def full_state() -> Snapshot:
    state = edited(Snapshot(), PutVip(WEB), PutCheck(WEB.key, CHECK))
    for last in (1, 2, 3):
        state = edited(state, PutBackend(WEB.key, backend(last, weight=last)))
    return edited(state, DrainBackend(WEB.key, IPv4Address("10.0.0.2"), 60, 3))


def reopened(path: Path) -> tuple[Snapshot, dict[int, KnownHealth]]:
    store = SqliteStore(path)
    try:
        return store.open()
    finally:
        store.close()


def saved(path: Path, *states: Snapshot, health: dict[int, KnownHealth] | None = None) -> None:
    store = SqliteStore(path)
    before, _ = store.open()
    for state in states:
        store.save(before, state, health or {})
        before = state
    store.close()
