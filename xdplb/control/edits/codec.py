"""Edits to JSON objects and back, for another balancer that applies the same edit.

An object has the edit's `kind` (`put_vip`, `drain_backend`, …) and its fields by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from ipaddress import ip_address
from typing import Any, get_args

from xdplb.control.edits.edit import KEEP, Batch, Edit, SingleEdit, WholeEdit
from xdplb.control.state.codec import (
    access_from_json,
    access_to_json,
    backend_from_json,
    backend_to_json,
    check_from_json,
    check_to_json,
    settings_from_json,
    settings_to_json,
    vip_from_json,
    vip_to_json,
)
from xdplb.model.backend import Backend
from xdplb.model.config import Config, DeclaredVip
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
    return {"kind": kind_of(edit), **{name: _encoded(name, value) for name, value in values if value is not KEEP}}


def edit_from_json(given: Mapping[str, Any]) -> Edit:
    """Return the edit in a JSON object that `edit_to_json` made; KeyError for an unknown kind."""
    if given["kind"] == "batch":
        return Batch(tuple(_single_from_json(part) for part in given["edits"]))
    edit: Edit = _single_from_json(given)
    return edit


def _single_from_json(given: Mapping[str, Any]) -> Any:
    kind = _KINDS[given["kind"]]
    # A prefix list may be empty, so the family of its prefixes comes from the VIP.
    key = given.get("key") or given.get("vip", {}).get("vip")
    family = 0 if key is None else VipKey.parse(key).address.version
    names = [field.name for field in fields(kind) if field.name in given]
    return kind(**{name: _decoded(name, given[name], family) for name in names})


def _encoded(name: str, value: object) -> object:
    return None if value is None else _ENCODERS[name](value)


def _decoded(name: str, given: Any, family: int) -> object:
    return None if given is None else _DECODERS[name](given, family)


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


def _prefixes_to_json(prefixes: Prefixes) -> list[str]:
    return [str(prefix) for prefix in prefixes]


_PARTS = ("checks", "access", "backends")


def _config_to_json(config: Config) -> Json:
    vips = [
        {"vip": _vip_to_json(each.vip), **{name: _encoded(name, getattr(each, name)) for name in _PARTS}}
        for each in config.vips
    ]
    return {"vips": vips, "settings": settings_to_json(config.settings)}


def _config_from_json(given: Json) -> Config:
    return Config(
        tuple(_declared_from_json(f"/vips/{index}", each) for index, each in enumerate(given["vips"])),
        settings_from_json(given["settings"]),
    )


def _declared_from_json(pointer: str, given: Json) -> DeclaredVip:
    vip = _vip_from_json(given["vip"])
    parts: Json = {name: _decoded(name, given[name], vip.key.address.version) for name in _PARTS}
    return DeclaredVip(pointer, vip, **parts)


_KINDS: dict[str, type[Any]] = {_kind(kind): kind for kind in (*get_args(SingleEdit), *get_args(WholeEdit))}

_ENCODERS: dict[str, Callable[[Any], object]] = {
    "key": str,
    "address": str,
    "vip": _vip_to_json,
    "backend": _backend_to_json,
    "backends": lambda backends: [_backend_to_json(backend) for backend in backends],
    "changes": dict,
    "check": check_to_json,
    "checks": lambda checks: [check_to_json(check) for check in checks],
    "access": access_to_json,
    "config": _config_to_json,
    "owner": str,
    "clear_overlay": bool,
    "allow": _prefixes_to_json,
    "deny": _prefixes_to_json,
    "timeout_seconds": float,
    "quiet_seconds": float,
    "cut_at_deadline": bool,
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
    "checks": lambda given, _: tuple(check_from_json(check) for check in given),
    "access": lambda given, family: access_from_json(family, given),
    "config": lambda given, _: _config_from_json(given),
    "owner": lambda text, _: str(text),
    "clear_overlay": lambda given, _: bool(given),
    "allow": lambda given, family: Prefixes.parse(given, family, ""),
    "deny": lambda given, family: Prefixes.parse(given, family, ""),
    "timeout_seconds": lambda number, _: float(number),
    "quiet_seconds": lambda number, _: float(number),
    "cut_at_deadline": lambda given, _: bool(given),
}
"""The reverse: from the JSON value and the VIP's IP version."""
