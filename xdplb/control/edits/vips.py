"""Edits of VIPs and their health checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace

from xdplb.control.edits.context import Context
from xdplb.control.edits.find import check_match, find_vip
from xdplb.control.edits.ids import vip_id
from xdplb.control.edits.overlap import check_new_vip
from xdplb.control.edits.patch import patched_vip
from xdplb.control.edits.rules import check_settings
from xdplb.control.state.snapshot import BoundVip, Snapshot
from xdplb.model.errors import ConflictError, FieldProblem, InvalidError, NotFoundError
from xdplb.model.health import HealthCheck
from xdplb.model.vip import Vip

__all__ = [
    "create_vip",
    "delete_check",
    "delete_vip",
    "differences",
    "patch_vip",
    "put_check",
    "put_vip",
    "with_record",
]


def create_vip(state: Snapshot, vip: Vip, context: Context) -> Snapshot:
    """Add a VIP. One that is there and the same is left as it is; a different one is a ConflictError."""
    present = state.vips.get(vip.key)
    if present is not None and present.vip != vip:
        differing = differences(present.vip, vip)
        raise ConflictError(
            f"VIP {vip.key} is there already and differs in {', '.join(field.detail for field in differing)}",
            hint="change it with xdplb vip set, or PUT or PATCH",
            problems=differing,
        )
    return put_vip(state, vip, context)


def put_vip(state: Snapshot, vip: Vip, context: Context, *, if_match: int | None = None) -> Snapshot:
    """Add a VIP or make it what is given; its backends and check stay."""
    present = state.vips.get(vip.key)
    check_match(f"VIP {vip.key}", None if present is None else present.generation, if_match)
    if present is not None and present.vip == vip:
        return state
    _check_name(state, vip)
    if present is not None:
        changed = replace(present, vip=vip)
        check_settings(changed)
        return with_record(state, changed)
    check_new_vip(state, vip.key)
    return with_record(state, BoundVip(vip_id(state, context.capacity), vip, 0))


def patch_vip(
    state: Snapshot, ref: str, changes: Mapping[str, object], context: Context, *, if_match: int | None = None
) -> Snapshot:
    """Change some fields of a VIP."""
    present = find_vip(state, ref)
    check_match(f"VIP {present.vip.key}", present.generation, if_match)
    return put_vip(state, patched_vip(present.vip, changes), context)


def delete_vip(state: Snapshot, ref: str, *, if_match: int | None = None) -> Snapshot:
    """Remove a VIP with its backends and check."""
    present = find_vip(state, ref)
    check_match(f"VIP {present.vip.key}", present.generation, if_match)
    vips = {key: record for key, record in state.vips.items() if key != present.vip.key}
    return replace(state, generation=state.generation + 1, vips=vips)


def put_check(state: Snapshot, ref: str, check: HealthCheck, *, if_match: int | None = None) -> Snapshot:
    """Check the VIP's backends as given. Those that serve without a check go on until it has failed `fall` times."""
    present = find_vip(state, ref)
    check_match(f"VIP {present.vip.key}", present.generation, if_match)
    if present.vip.key.port == 0 and check.port is None:
        raise InvalidError.field(
            "/port", f"VIP {present.vip.key} has all ports: its check needs one", hint="name the port to check"
        )
    return state if present.check == check else with_record(state, replace(present, check=check))


def delete_check(state: Snapshot, ref: str, *, if_match: int | None = None) -> Snapshot:
    """Check the VIP's backends no more: all are up."""
    present = find_vip(state, ref)
    check_match(f"VIP {present.vip.key}", present.generation, if_match)
    if present.check is None:
        raise NotFoundError(f"VIP {present.vip.key} has no health check", hint="PUT one to have its backends checked")
    return with_record(state, replace(present, check=None))


def with_record(state: Snapshot, record: BoundVip) -> Snapshot:
    """Return the next state, in which `record` is what was changed."""
    generation = state.generation + 1
    vips = {**state.vips, record.vip.key: replace(record, generation=generation)}
    return replace(state, generation=generation, vips=vips)


def differences(present: object, asked: object) -> tuple[FieldProblem, ...]:
    """Name the fields in which two values of one dataclass differ, each with both values."""
    names = [field.name for field in fields(present)]  # type: ignore[arg-type]
    pairs = ((name, getattr(present, name), getattr(asked, name)) for name in names)
    return tuple(
        FieldProblem(f"/{name}", f"{name} ({_show(old)}, asked {_show(new)})") for name, old, new in pairs if old != new
    )


def _show(value: object) -> str:
    return "none" if value is None else str(value)


def _check_name(state: Snapshot, vip: Vip) -> None:
    for key, record in state.vips.items():
        if vip.name is not None and record.vip.name == vip.name and key != vip.key:
            raise ConflictError.field(
                "/name", f"the name {vip.name!r} is taken by VIP {key}", hint="a name is of one VIP: choose another"
            )
