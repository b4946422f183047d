"""Edits to JSON objects and back: for an audit log, and for another balancer that applies the same edit.

An object has the edit's `kind` (`put_vip`, `drain_backend`, …) and its fields by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from ipaddress import ip_address
from typing import Any, get_args

from xdplb.control.edits.edit import Batch, Edit, SingleEdit
from xdplb.control.state.codec import (
    access_from_json,
    access_to_json,
    backend_from_json,
    backend_to_json,
    check_from_json,
    check_to_json,
    vip_from_json,
    vip_to_json,
)
from xdplb.model.backend import Backend
from xdplb.model.prefixes import Prefixes
from xdplb.model.vip import Vip, VipKey

__all__ = ["edit_from_json", "edit_to_json", "kind_of"]

Json = dict[str, Any]


def kind_of(edit: Edit) -> str:
    """Return an edit's kind, such as `put_vip`."""
    return _kind(type(edit))


def edit_to_json(edit: Edit) -> Json:
    """Return an edit as a JSON object."""
    if isinstance(edit, Batch):
        return {"kind": "batch", "edits": [edit_to_json(part) for part in edit.edits]}
    values = ((field.name, getattr(edit, field.name)) for field in fields(edit))
    return {"kind": kind_of(edit), **{name: _ENCODERS[name](value) for name, value in values}}


def edit_from_json(given: Mapping[str, Any]) -> Edit:
    """Return the edit in a JSON object that `edit_to_json` made; KeyError for an unknown kind."""
    if given["kind"] == "batch":
        return Batch(tuple(_single_from_json(part) for part in given["edits"]))
    return _single_from_json(given)


def _single_from_json(given: Mapping[str, Any]) -> SingleEdit:
    kind = _KINDS[given["kind"]]
    # A prefix list may be empty, so the family of its prefixes comes from the VIP.
    family = VipKey.parse(given["key"]).address.version if "key" in given else 0
    values = {field.name: _DECODERS[field.name](given[field.name], family) for field in fields(kind)}
    edit: SingleEdit = kind(**values)
    return edit


def _kind(kind: type) -> str:
    # The name is stored and sent, so renaming an edit class changes the format.
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower()


def _vip_to_json(vip: Vip) -> Json:
    return {"vip": str(vip.key), **vip_to_json(vip)}


def _vip_from_json(given: Json) -> Vip:
    return vip_from_json(VipKey.parse(given["vip"]), {name: value for name, value in given.items() if name != "vip"})


def _backend_to_json(backend: Backend) -> Json:
    return {"address": str(backend.address), **backend_to_json(backend)}


def _backend_from_json(given: Json) -> Backend:
    return backend_from_json(ip_address(given["address"]), given)


def _prefixes_to_json(prefixes: Prefixes | None) -> list[str] | None:
    return None if prefixes is None else [str(prefix) for prefix in prefixes]


def _prefixes_from_json(given: list[str] | None, family: int) -> Prefixes | None:
    return None if given is None else Prefixes.parse(given, family, "")


_KINDS: dict[str, type[Any]] = {_kind(kind): kind for kind in get_args(SingleEdit)}

_ENCODERS: dict[str, Callable[[Any], object]] = {
    "key": str,
    "address": str,
    "vip": _vip_to_json,
    "backend": _backend_to_json,
    "backends": lambda backends: [_backend_to_json(backend) for backend in backends],
    "changes": dict,
    "check": check_to_json,
    "access": access_to_json,
    "allow": _prefixes_to_json,
    "deny": _prefixes_to_json,
    "timeout_seconds": float,
    "quiet_seconds": float,
}
"""By field name: a name means the same in every edit."""

_DECODERS: dict[str, Callable[[Any, int], object]] = {
    "key": lambda text, _: VipKey.parse(text),
    "address": lambda text, _: ip_address(text),
    "vip": lambda given, _: _vip_from_json(given),
    "backend": lambda given, _: _backend_from_json(given),
    "backends": lambda given, _: tuple(_backend_from_json(backend) for backend in given),
    "changes": lambda given, _: dict(given),
    "check": lambda given, _: check_from_json(given),
    "access": lambda given, family: access_from_json(family, given),
    "allow": _prefixes_from_json,
    "deny": _prefixes_from_json,
    "timeout_seconds": lambda number, _: float(number),
    "quiet_seconds": lambda number, _: float(number),
}
"""The reverse: from the JSON value and the VIP's IP version."""
