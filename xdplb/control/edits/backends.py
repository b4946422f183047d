"""Edits of a VIP's backends, drains among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType

from xdplb.control.edits.context import Context
from xdplb.control.edits.find import check_match, find_backend, find_vip
from xdplb.control.edits.ids import backend_ids
from xdplb.control.edits.overlap import check_no_vips
from xdplb.control.edits.patch import patched_backend
from xdplb.control.edits.rules import check_backends
from xdplb.control.edits.vips import differences, with_record
from xdplb.control.state.snapshot import BoundBackend, BoundVip, Drain, Snapshot
from xdplb.model.address import IPAddress
from xdplb.model.backend import AdminState, Backend
from xdplb.model.errors import ConflictError, InvalidError

__all__ = [
    "create_backend",
    "delete_backend",
    "drain",
    "patch_backend",
    "put_backend",
    "replace_backends",
    "undrain",
]

_LONGEST_DRAIN_SECONDS = 7 * 86400.0


def create_backend(state: Snapshot, ref: str, backend: Backend, context: Context) -> Snapshot:
    """Add a backend. One that is there and the same is left as it is; a different one is a ConflictError."""
    vip = find_vip(state, ref)
    present = vip.backends.get(backend.address)
    if present is not None and present.backend != backend:
        differing = differences(present.backend, backend)
        raise ConflictError(
            f"VIP {vip.vip.key} has the backend {backend.address} already, and it differs in"
            f" {', '.join(field.detail for field in differing)}",
            hint="change it with xdplb backend set, or PUT or PATCH",
            problems=differing,
        )
    return _with_backends(state, vip, {**_asked(vip), backend.address: backend}, context)


def put_backend(
    state: Snapshot, ref: str, backend: Backend, context: Context, *, if_match: int | None = None
) -> Snapshot:
    """Add a backend or make it what is given."""
    vip = find_vip(state, ref)
    present = vip.backends.get(backend.address)
    check_match(f"backend {backend.address}", None if present is None else present.generation, if_match)
    return _with_backends(state, vip, {**_asked(vip), backend.address: backend}, context)


def patch_backend(
    state: Snapshot,
    ref: str,
    address: str,
    changes: Mapping[str, object],
    context: Context,
    *,
    if_match: int | None = None,
) -> Snapshot:
    """Change some fields of a backend. `admin_state` drain begins a drain with the usual times, ready ends one."""
    vip = find_vip(state, ref)
    present = find_backend(vip, address)
    check_match(f"backend {present.backend.address}", present.generation, if_match)
    backend = patched_backend(present.backend, changes)
    return _with_backends(state, vip, {**_asked(vip), backend.address: backend}, context)


def delete_backend(
    state: Snapshot, ref: str, address: str, context: Context, *, if_match: int | None = None
) -> Snapshot:
    """Remove a backend at once, its connections with it."""
    vip = find_vip(state, ref)
    present = find_backend(vip, address)
    check_match(f"backend {present.backend.address}", present.generation, if_match)
    left = {key: backend for key, backend in _asked(vip).items() if key != present.backend.address}
    return _with_backends(state, vip, left, context)


def replace_backends(
    state: Snapshot, ref: str, backends: Sequence[Backend], context: Context, *, if_match: int | None = None
) -> Snapshot:
    """Make these the VIP's backends, in one step. Those that are in both sets keep their connections."""
    vip = find_vip(state, ref)
    check_match(f"VIP {vip.vip.key}", vip.generation, if_match)
    asked: dict[IPAddress, Backend] = {}
    for index, backend in enumerate(backends):
        if backend.address in asked:
            raise InvalidError.field(
                f"/backends/{index}/address",
                f"{backend.address} is given twice",
                hint="give each backend once, with the sum of the weights",
            )
        asked[backend.address] = backend
    pointers = {address: f"/backends/{index}" for index, address in enumerate(asked)}
    return _with_backends(state, vip, asked, context, pointers)


def drain(
    state: Snapshot,
    ref: str,
    address: str,
    context: Context,
    *,
    timeout_seconds: float,
    quiet_seconds: float,
    if_match: int | None = None,
) -> Snapshot:
    """Give the backend no new connections. Of one that drains already, the times are changed, not the start."""
    vip = find_vip(state, ref)
    present = find_backend(vip, address)
    check_match(f"backend {present.backend.address}", present.generation, if_match)
    _check_drain_times(timeout_seconds, quiet_seconds)
    started = context.now if present.drain is None else present.drain.started
    record = replace(
        present,
        backend=replace(present.backend, admin_state=AdminState.DRAIN),
        drain=Drain(started, float(timeout_seconds), float(quiet_seconds)),
    )
    return state if record == present else _with_records(state, vip, {**vip.backends, present.backend.address: record})


def undrain(state: Snapshot, ref: str, address: str, context: Context, *, if_match: int | None = None) -> Snapshot:
    """Give the backend new connections again."""
    vip = find_vip(state, ref)
    present = find_backend(vip, address)
    check_match(f"backend {present.backend.address}", present.generation, if_match)
    if present.backend.admin_state is AdminState.MAINT:
        raise ConflictError(
            f"backend {present.backend.address} is in maintenance, not draining",
            hint="set its admin_state to ready",
        )
    backend = replace(present.backend, admin_state=AdminState.READY)
    return _with_backends(state, vip, {**_asked(vip), backend.address: backend}, context)


def _asked(vip: BoundVip) -> dict[IPAddress, Backend]:
    return {address: record.backend for address, record in vip.backends.items()}


def _with_backends(
    state: Snapshot,
    vip: BoundVip,
    asked: Mapping[IPAddress, Backend],
    context: Context,
    pointers: Mapping[IPAddress, str] = MappingProxyType({}),
) -> Snapshot:
    """Return the next state, in which the VIP has the backends `asked`: known ones keep id, epoch and drain.

    `pointers` says where in the body each stands that is not the body itself.
    """
    new = [address for address in asked if address not in vip.backends]
    check_no_vips(state, vip.vip.key, {address: f"{pointers.get(address, '')}/address" for address in new})
    leaving = [record.id for address, record in vip.backends.items() if address not in asked]
    given = dict(zip(new, backend_ids(state, context.capacity, len(new), leaving), strict=True))
    records = {}
    for address, backend in asked.items():
        old = vip.backends.get(address) or BoundBackend(*given[address], backend, 0)
        records[address] = replace(old, backend=backend, drain=_drain_of(old, backend, context.now))
    if records == vip.backends:
        return state
    check_backends(replace(vip, backends=records), pointers)
    epochs = {**state.epochs, **dict(given.values())}
    return _with_records(replace(state, epochs=epochs), vip, records)


def _with_records(state: Snapshot, vip: BoundVip, records: Mapping[IPAddress, BoundBackend]) -> Snapshot:
    generation = state.generation + 1
    stamped = {
        address: record if vip.backends.get(address) == record else replace(record, generation=generation)
        for address, record in records.items()
    }
    return with_record(state, replace(vip, backends=stamped))


def _drain_of(old: BoundBackend, backend: Backend, now: datetime) -> Drain | None:
    if backend.admin_state is not AdminState.DRAIN:
        return None
    return old.drain or Drain(now)


def _check_drain_times(timeout_seconds: float, quiet_seconds: float) -> None:
    if not 0 < timeout_seconds <= _LONGEST_DRAIN_SECONDS:
        raise InvalidError.field(
            "/timeout_seconds",
            f"timeout_seconds is {timeout_seconds:g}",
            hint=f"give more than 0 and at most {_LONGEST_DRAIN_SECONDS:.0f} (a week)",
        )
    if not 0 <= quiet_seconds <= timeout_seconds:
        raise InvalidError.field(
            "/quiet_seconds",
            f"quiet_seconds is {quiet_seconds:g} and timeout_seconds {timeout_seconds:g}: it would time out first",
            hint=f"give at most {timeout_seconds:g} quiet_seconds, or a longer timeout_seconds",
        )
