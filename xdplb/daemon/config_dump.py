# SPDX-License-Identifier: Apache-2.0
"""What the daemon has configured, as a config file: only what is not as it would be anyway, with comments."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from xdplb.config.document import Format
from xdplb.config.dump import toml_text, yaml_text
from xdplb.model.check_type import DEFAULTS_OF, CheckType
from xdplb.model.vip import Protocol, Scheduler, Vip, VipKey

from .config_file import config_schema

__all__ = ["comments", "config_text"]

_HEADER = (
    "# The whole desired state of xdplb. What is left out has its default; what is removed from the file is removed.\n"
)
_BY_SCHEDULER = ("tracking", "hash")
_NEEDED = frozenset({"vips", "address", "port", "protocol", "type"})
_FIRST = ("address", "port", "last_port", "protocol", "name", "type")
"""What people look for first; other fields follow in the order of the schema."""

_NULL = re.compile(r"\b[Nn]ull\b")
_ANY_KEY = VipKey.of("192.0.2.1", 1, Protocol.TCP)


def config_text(config: Mapping[str, Any], written: str) -> str:
    """Return an answer to `GET /v1/config` as a config file: applied, it changes nothing."""
    schema = config_schema()
    data = _without_defaults(config, schema, schema)
    data["vips"] = [_without_defaults_of_types(_without_defaults_of_scheduler(vip)) for vip in data["vips"]]
    return yaml_text(data) if Format(written) is Format.YAML else _HEADER + toml_text(data, dict(comments(schema)))


def comments(schema: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield each field of a JSON Schema that can be written: the names that lead to it, and what it means."""
    yield from _comments(schema, schema, ())


def _comments(
    schema: Mapping[str, Any], root: Mapping[str, Any], path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, field in _object(schema, root).get("properties", {}).items():
        if field.get("readOnly"):
            continue
        yield (*path, name), _NULL.sub("left out", field.get("description", "").replace("`", ""))
        yield from _comments(field, root, (*path, name))


def _object(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of the objects that a field has: of itself, of its items, or of what is not null."""
    if "$ref" in schema:
        found: Mapping[str, Any] = root["$defs"][schema["$ref"].rpartition("/")[2]]
        return found
    if "items" in schema:
        return _object(schema["items"], root)
    for option in schema.get("anyOf", ()):
        if found := _object(option, root):
            return found
    return schema if "properties" in schema else {}


def _without_defaults(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [_without_defaults(item, schema, root) for item in value]
    if not isinstance(value, Mapping):
        return value
    kept = {}
    fields = _object(schema, root).get("properties")
    if fields is None:  # an object of any names, such as headers
        return dict(value)
    for name in sorted(fields, key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST)):
        field = fields[name]
        if field.get("readOnly") or name not in value:
            continue
        slim = _without_defaults(value[name], field, root)
        if name in _NEEDED or (slim not in ({}, []) and value[name] not in (None, field.get("default"))):
            kept[name] = slim
    return kept


def _without_defaults_of_scheduler(vip: dict[str, Any]) -> dict[str, Any]:
    default = Vip(_ANY_KEY, scheduler=Scheduler(vip.get("scheduler", Scheduler.MAGLEV)))
    return {name: value for name, value in vip.items() if name not in _BY_SCHEDULER or value != getattr(default, name)}


def _without_defaults_of_types(vip: dict[str, Any]) -> dict[str, Any]:
    """Return a VIP whose checks do not have what checks of their type have anyway."""
    checks = vip.get("checks", [vip["health_check"]] if "health_check" in vip else [])
    slim = []
    for check in checks:
        defaults = DEFAULTS_OF[CheckType(check["type"])]
        usual = {name: list(value) if isinstance(value, tuple) else value for name, value in defaults.items()}
        slim.append({name: value for name, value in check.items() if name not in usual or value != usual[name]})
    if "checks" in vip:
        return {**vip, "checks": slim}
    return {**vip, "health_check": slim[0]} if slim else vip
