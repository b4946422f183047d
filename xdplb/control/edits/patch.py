# SPDX-License-Identifier: Apache-2.0
"""Applying a JSON merge patch (RFC 7396) to a VIP or a backend: null resets a field, absent fields stay."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import fields as fields_of
from dataclasses import replace
from enum import StrEnum
from typing import Any, TypeVar

from xdplb.model.address import IPNetwork, parse_network
from xdplb.model.backend import AdminState, Backend, BackendRole
from xdplb.model.dns import DnsEntry
from xdplb.model.errors import InvalidError
from xdplb.model.key import ALL_PORTS
from xdplb.model.min_serving import MinServing
from xdplb.model.vip import (
    SERVER_ID_BYTES_RANGE,
    AllUnhealthy,
    Announce,
    Forward,
    HashKind,
    OnUnhealthy,
    Passive,
    QuicIds,
    RateLimits,
    Scheduler,
    Sync,
    Tracking,
    Vip,
    VipKey,
    VlanTags,
)

__all__ = ["patched_backend", "patched_vip"]

Kind = Callable[[str, object, Any], object]
"""Takes a field's JSON pointer, patch value and present value; returns the new value or raises InvalidError."""

Choice = TypeVar("Choice", bound=StrEnum)


def patched_vip(vip: Vip, changes: Mapping[str, object]) -> Vip:
    """Return `vip` with `changes`; its address, ports and protocol cannot change.

    A scheduler that needs a certain `tracking` or `hash` sets it too, unless `changes` give it.
    """
    key = vip.key
    fixed = {
        "address": key.addresses_text,
        "port": key.port,
        "last_port": None if key.port == key.last_port else key.last_port,
        "protocol": key.protocol.value,
    }
    values = _values(_with_ports_as_shown(changes, key), _VIP_FIELDS, fixed, vip, Vip(key))
    scheduler = values.get("scheduler", vip.scheduler)
    if scheduler.is_per_connection:
        values.setdefault("tracking", Tracking.ALWAYS)
    if scheduler is Scheduler.SH:
        values.setdefault("hash", HashKind.SOURCE)
    return replace(vip, **values)


def _with_ports_as_shown(changes: Mapping[str, object], key: VipKey) -> Mapping[str, object]:
    """Return `changes` with the VIP's own ports in their usual form: 1-65535 as port 0, 80-80 as port 80."""
    first, last = changes.get("port", key.port), changes.get("last_port")
    if (first, last) == (ALL_PORTS[0], ALL_PORTS[-1]) and key.port == 0:
        return {**changes, "port": 0, "last_port": None}
    if first == last == key.port == key.last_port:
        return {**changes, "last_port": None}
    return changes


def patched_backend(backend: Backend, changes: Mapping[str, object]) -> Backend:
    """Return `backend` with `changes`; its address cannot change."""
    fixed = {"address": str(backend.address)}
    return replace(backend, **_values(changes, _BACKEND_FIELDS, fixed, backend, Backend(backend.address)))


def _values(
    changes: Mapping[str, object],
    fields: Mapping[str, Kind],
    fixed: Mapping[str, object],
    present: object,
    default: object,
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in changes.items():
        pointer = f"/{name}"
        if name in fixed:
            if str(value) != str(fixed[name]):
                raise InvalidError.field(
                    pointer, f"{name} cannot be changed", hint="remove it and add it again with the new value"
                )
        elif name not in fields:
            close = difflib.get_close_matches(name, fields, n=1)
            hint = f"did you mean {close[0]}?" if close else f"these can be changed: {', '.join(fields)}"
            raise InvalidError.field(pointer, f"there is no field {name!r} to change", hint=hint)
        elif value is None:
            values[name] = None if name in _BY_SCHEDULER else getattr(default, name)
        else:
            values[name] = fields[name](pointer, value, getattr(present, name))
    return values


def _choice(kind: type[Choice]) -> Kind:
    def convert(pointer: str, value: object, _: Any) -> Choice:
        try:
            return kind(str(value))
        except ValueError:
            raise InvalidError.field(
                pointer, f"{value!r} is not one of the choices", hint=f"use one of {', '.join(kind)}"
            ) from None

    return convert


def _whole_number(pointer: str, value: object, _: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidError.field(pointer, f"{value!r} is not a whole number", hint="such as 1")
    return value


def _text(pointer: str, value: object, _: Any) -> str:
    if not isinstance(value, str):
        raise InvalidError.field(pointer, f"{value!r} is not a string", hint='such as "web"')
    return value


def _number(pointer: str, value: object, _: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidError.field(pointer, f"{value!r} is not a number", hint="such as 0.5")
    return float(value)


def _flag(pointer: str, value: object, _: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidError.field(pointer, f"{value!r} is neither true nor false", hint="give one of the two")
    return value


def _min_serving(pointer: str, value: object, _: Any) -> MinServing:
    return MinServing.of(value, pointer)


def _quic(pointer: str, value: object, present: QuicIds | None) -> QuicIds:
    """Return the QUIC settings with the given fields replaced; the first time, `server_id_bytes` is required."""
    given = _members(pointer, value, QuicIds)
    if given.get("server_id_bytes", present) is None:
        raise InvalidError.field(
            f"{pointer}/server_id_bytes", "server_id_bytes is missing", hint="give the length of a server ID in bytes"
        )
    start = present or QuicIds(SERVER_ID_BYTES_RANGE[0])
    return replace(start, **{name: 0 if number is None else number for name, number in given.items()})


def _limits(pointer: str, value: object, present: RateLimits) -> RateLimits:
    given = _members(pointer, value, RateLimits)
    return replace(present, **{name: 0 if number is None else number for name, number in given.items()})


def _dns(pointer: str, value: object, present: DnsEntry | None) -> DnsEntry:
    """Return the DNS entry with the given fields replaced; the first time, all but `ttl` are required."""
    names = [field.name for field in fields_of(DnsEntry)]
    if not isinstance(value, Mapping) or not value.keys() <= set(names):
        raise InvalidError.field(
            pointer, f"{value!r} is not allowed here", hint=f"give an object with {', '.join(names)}"
        )
    given = {} if present is None else {name: getattr(present, name) for name in names}
    for name, part in value.items():
        if part is None:
            given.pop(name, None)
        else:
            given[name] = (_whole_number if name == "ttl" else _text)(f"{pointer}/{name}", part, None)
    for name in names[:-1]:
        if name not in given:
            raise InvalidError.field(f"{pointer}/{name}", f"{name} is missing", hint=f"give {', '.join(names[:-1])}")
    return DnsEntry(**given)


def _networks(pointer: str, value: object, _: Any) -> tuple[IPNetwork, ...]:
    if not isinstance(value, list | tuple):
        raise InvalidError.field(pointer, f"{value!r} is not a list", hint='such as ["192.0.2.0/24"]')
    places = ((f"{pointer}/{at}", each) for at, each in enumerate(value))
    return tuple(parse_network(_text(place, each, None), place) for place, each in places)


def _members(pointer: str, value: object, kind: type[QuicIds | RateLimits]) -> dict[str, int | None]:
    """Return the members of a JSON object that has only fields of `kind`, all of them whole numbers or null."""
    names = [field.name for field in fields_of(kind)]
    if not isinstance(value, Mapping) or not value.keys() <= set(names):
        raise InvalidError.field(
            pointer, f"{value!r} is not allowed here", hint=f"give an object with {', '.join(names)}"
        )
    return {
        name: None if number is None else _whole_number(f"{pointer}/{name}", number, None)
        for name, number in value.items()
    }


_BY_SCHEDULER = frozenset({"tracking", "hash"})
"""Their default depends on the scheduler."""

_VIP_FIELDS: Mapping[str, Kind] = {
    "name": _text,
    "forward": _choice(Forward),
    "scheduler": _choice(Scheduler),
    "tracking": _choice(Tracking),
    "hash": _choice(HashKind),
    "on_unhealthy": _choice(OnUnhealthy),
    "all_unhealthy": _choice(AllUnhealthy),
    "idle_timeout_seconds": _whole_number,
    "vlan": _choice(VlanTags),
    "quic": _quic,
    "limits": _limits,
    "min_serving": _min_serving,
    "passive": _choice(Passive),
    "syn_failover": _flag,
    "panic_share": _number,
    "slow_start_seconds": _whole_number,
    "announce": _choice(Announce),
    "sync": _choice(Sync),
    "dns": _dns,
    "nat_direct": _networks,
}
_BACKEND_FIELDS: Mapping[str, Kind] = {
    "weight": _whole_number,
    "forward": _choice(Forward),
    "admin_state": _choice(AdminState),
    "quic_server_id": _text,
    "role": _choice(BackendRole),
    "max_new_flows": _whole_number,
    "checked": _flag,
    "check_port": _whole_number,
    "check_path": _text,
    "port": _whole_number,
}
