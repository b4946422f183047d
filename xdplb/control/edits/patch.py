"""Applying a JSON merge patch (RFC 7396) to a VIP or a backend: null is the default, what is absent stays."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any, TypeVar

from xdplb.model.backend import AdminState, Backend
from xdplb.model.errors import InvalidError
from xdplb.model.vip import AllUnhealthy, Forward, HashKind, OnUnhealthy, Scheduler, Tracking, Vip

__all__ = ["patched_backend", "patched_vip"]

Kind = Callable[[str, object], object]
Choice = TypeVar("Choice", bound=StrEnum)


def patched_vip(vip: Vip, changes: Mapping[str, object]) -> Vip:
    """Return `vip` with `changes`; its address, port and protocol are what it is, and cannot change."""
    fixed = {"address": str(vip.key.address), "port": vip.key.port, "protocol": vip.key.protocol.value}
    default = Vip(vip.key)
    return replace(vip, **_values(changes, _VIP_FIELDS, fixed, lambda name: getattr(default, name)))


def patched_backend(backend: Backend, changes: Mapping[str, object]) -> Backend:
    """Return `backend` with `changes`; its address is what it is, and cannot change."""
    default = Backend(backend.address)
    fixed = {"address": str(backend.address)}
    return replace(backend, **_values(changes, _BACKEND_FIELDS, fixed, lambda name: getattr(default, name)))


def _values(
    changes: Mapping[str, object],
    fields: Mapping[str, Kind],
    fixed: Mapping[str, object],
    default: Callable[[str], object],
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in changes.items():
        pointer = f"/{name}"
        if name in fixed:
            if str(value) != str(fixed[name]):
                raise InvalidError.field(
                    pointer, f"{name} cannot be changed", hint="remove it and add it anew with the other one"
                )
        elif name not in fields:
            close = difflib.get_close_matches(name, fields, n=1)
            hint = f"did you mean {close[0]}?" if close else f"these can be changed: {', '.join(fields)}"
            raise InvalidError.field(pointer, f"there is no field {name!r} to change", hint=hint)
        else:
            values[name] = default(name) if value is None else fields[name](pointer, value)
    return values


def _choice(kind: type[Choice]) -> Kind:
    def convert(pointer: str, value: object) -> Choice:
        try:
            return kind(str(value))
        except ValueError:
            raise InvalidError.field(
                pointer, f"{value!r} is not a choice", hint=f"give one of {', '.join(kind)}"
            ) from None

    return convert


def _whole_number(pointer: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidError.field(pointer, f"{value!r} is not a whole number", hint="such as 1")
    return value


def _text(pointer: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidError.field(pointer, f"{value!r} is not a text", hint='such as "web"')
    return value


_VIP_FIELDS: Mapping[str, Kind] = {
    "name": _text,
    "forward": _choice(Forward),
    "scheduler": _choice(Scheduler),
    "tracking": _choice(Tracking),
    "hash": _choice(HashKind),
    "on_unhealthy": _choice(OnUnhealthy),
    "all_unhealthy": _choice(AllUnhealthy),
    "idle_timeout_seconds": _whole_number,
}
_BACKEND_FIELDS: Mapping[str, Kind] = {
    "weight": _whole_number,
    "forward": _choice(Forward),
    "admin_state": _choice(AdminState),
}
