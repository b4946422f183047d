# SPDX-License-Identifier: Apache-2.0
"""A VIP and a backend as entries of the store that balancers share, and back.

An entry has the fields that are not at their defaults, so that versions which know different fields write the same: so
a default must never change. What a node makes for itself is not in it: ids, and when a drain began by its own clock.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import fields as fields_of
from dataclasses import replace
from datetime import datetime
from ipaddress import ip_address
from typing import Any

from xdplb.control.state.codec import (
    access_from_json,
    access_to_json,
    backend_from_json,
    backend_to_json,
    check_from_json,
    check_to_json,
    declared_from_json,
    declared_to_json,
    pack_access,
    settings_from_json,
    settings_to_json,
    unpack_access,
    vip_from_json,
    vip_to_json,
)
from xdplb.control.state.desired import NO_ACCESS_LIST, Declared, Desired, DesiredBackend, DesiredVip, Drain
from xdplb.control.state.kinds import require_kinds
from xdplb.model.access import AccessList
from xdplb.model.address import IPAddress, parse_address
from xdplb.model.backend import Backend
from xdplb.model.config import ApiSettings, Settings
from xdplb.model.dns import DnsEntry
from xdplb.model.errors import InvalidError
from xdplb.model.health import FIELD_NAMES, HealthCheck
from xdplb.model.vip import QuicIds, RateLimits, Vip, VipKey

__all__ = [
    "Json",
    "backend_entry",
    "backend_path",
    "desired_backend",
    "desired_vip",
    "head_settings",
    "merged",
    "place_of",
    "settings_entry",
    "text_of",
    "vip_entry",
    "vip_path",
]

Json = Mapping[str, Any]

_MOST_PREFIXES_AS_TEXT = 1000
"""Longer access lists are packed: an entry has at most about a megabyte."""

_VIP_FIELDS = frozenset(field.name for field in fields_of(Vip)) - {"key"}
_BACKEND_DEFAULTS = backend_to_json(Backend(ip_address("192.0.2.1")))


def text_of(value: Json) -> str:
    """Return the canonical text of an entry: equal ones have the same."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def vip_path(key: VipKey) -> str:
    """Return where the entry of a VIP is."""
    return f"vips/{key.path}"


def backend_path(key: VipKey, address: IPAddress) -> str:
    """Return where the entry of a VIP's backend is."""
    return f"backends/{key.path}/{address}"


def place_of(path: str) -> tuple[VipKey, IPAddress | None]:
    """Return the VIP whose entry is at this path, and the address if it is a backend's; InvalidError if it is neither.

    There is one path for each.
    """
    kind, _, rest = path.partition("/")
    text, slash, address = rest.partition("/")
    try:
        key = VipKey.parse(text)
        found = parse_address(address) if slash else None
    except InvalidError as error:
        raise InvalidError(f"{path} is no path of a VIP or a backend: {error.detail}") from error
    if kind not in {"vips", "backends"} or (kind == "vips") == bool(slash):
        raise InvalidError(f"{path} is no path of a VIP or a backend")
    if path != (vip_path(key) if found is None else backend_path(key, found)):
        raise InvalidError(f"{path} is not how that place is written")
    return key, found


def vip_entry(vip: DesiredVip) -> dict[str, Any]:
    """Return the entry of a VIP, without its backends."""
    defaults, made = vip_to_json(Vip(vip.vip.key)), vip_to_json(vip.vip)
    entry = {name: value for name, value in made.items() if value != defaults[name]}
    if vip.checks:
        entry["checks"] = [check_to_json(check) for check in vip.checks]
    if vip.access:
        entry["access"] = _access_entry(vip.access)
    return entry


def desired_vip(key: VipKey, entry: Json, known: DesiredVip | None) -> DesiredVip:
    """Return the VIP of an entry with the backends of `known`, whose equal parts stay the same objects.

    Fields that this version does not know are passed over. Raises ValueError, TypeError, KeyError, AttributeError or
    InvalidError if it does not understand a field that it knows.
    """
    given = {name: value for name, value in entry.items() if name in _VIP_FIELDS}
    require_kinds(Vip, given)
    for name, kind in (("limits", RateLimits), ("quic", QuicIds), ("dns", DnsEntry)):
        if isinstance(given.get(name), Mapping):
            given[name] = _only(given[name], {field.name for field in fields_of(kind)})
            require_kinds(kind, given[name])
    vip = vip_from_json(key, given)
    checks = tuple(map(_check, entry.get("checks", ())))
    access = _access(key.address.version, entry["access"]) if "access" in entry else NO_ACCESS_LIST
    if known is None:
        return DesiredVip(vip, checks, {}, access)
    return replace(
        known,
        vip=known.vip if known.vip == vip else vip,
        checks=known.checks if known.checks == checks else checks,
        access=known.access if known.access == access else access,
    )


def backend_entry(desired: DesiredBackend) -> dict[str, Any]:
    """Return the entry of a backend. A drain has an id in it: each node counts its time from when it has seen it."""
    made = backend_to_json(desired.backend)
    entry = {name: value for name, value in made.items() if value != _BACKEND_DEFAULTS[name]}
    if desired.drain is not None:
        drain = desired.drain
        entry["drain"] = {
            "id": drain.id,
            "timeout_seconds": float(drain.timeout_seconds),
            "quiet_seconds": float(drain.quiet_seconds),
            "cut_at_deadline": drain.cut_at_deadline,
        }
    if desired.declared is not None:
        entry["declared"] = declared_to_json(desired.declared)
    return entry


def desired_backend(address: IPAddress, entry: Json, known: DesiredBackend | None, now: datetime) -> DesiredBackend:
    """Return the backend of an entry, `known` itself if it is equal; a drain that is new here begins `now`.

    Raises what `desired_vip` does.
    """
    require_kinds(Backend, entry)
    backend = backend_from_json(address, {**_BACKEND_DEFAULTS, **entry})
    declared = _declared(entry["declared"]) if "declared" in entry else None
    drain = _drain(entry["drain"], None if known is None else known.drain, now) if "drain" in entry else None
    if known is None:
        return DesiredBackend(backend, drain, declared)
    made = DesiredBackend(known.backend if known.backend == backend else backend, drain, declared)
    return known if made == known else made


def settings_entry(desired: Desired) -> dict[str, Any]:
    """Return what the head says of the state beside its VIPs."""
    settings = settings_to_json(desired.settings)
    return {"settings": settings if settings["api"] else {}, **({"owner": desired.owner} if desired.owner else {})}


def head_settings(head: Json) -> Settings:
    """Return the settings in a head, as far as this version knows them; raises what `desired_vip` does."""
    given = _only(head.get("settings", {}).get("api", {}), {field.name for field in fields_of(ApiSettings)})
    require_kinds(ApiSettings, given)
    return settings_from_json({"api": given})


def merged(kept: Json, before: Json, after: Json) -> dict[str, Any]:
    """Return the entry that was `kept` as it was read, and is `before` to this version, after it has become `after`.

    What has not changed stays as it was written, also what this version does not know, and so in the objects in it.
    """
    made = dict(kept)
    for name in before.keys() | after.keys():
        if name not in after:
            made.pop(name, None)
        elif name not in before or before[name] != after[name]:
            made[name] = _merged(kept.get(name), before.get(name), after[name])
    return made


def _merged(kept: object, before: object, after: object) -> object:
    if isinstance(kept, Mapping) and isinstance(before, Mapping) and isinstance(after, Mapping):
        return merged(kept, before, after)
    return after


def _only(fields: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name in known}


def _access_entry(access: AccessList) -> dict[str, Any]:
    if len(access.allow) + len(access.deny) <= _MOST_PREFIXES_AS_TEXT:
        return access_to_json(access)
    return {"packed": [base64.b64encode(part).decode() for part in pack_access(access)]}


def _access(family: int, entry: Json) -> AccessList:
    if "packed" not in entry:
        return access_from_json(family, entry)
    allow4, allow6, deny4, deny6 = (base64.b64decode(part) for part in entry["packed"])
    if any((allow6, deny6) if family == 4 else (allow4, deny4)):
        raise InvalidError("the access list is of another family than the VIP")
    return unpack_access(allow4, allow6, deny4, deny6) or NO_ACCESS_LIST


def _check(entry: Json) -> HealthCheck:
    fields = _only(entry, {*FIELD_NAMES, "type", "target"})
    require_kinds(HealthCheck, fields)
    return check_from_json(fields)


def _declared(entry: Json) -> Declared:
    require_kinds(Declared, entry)
    return declared_from_json(entry)


def _drain(entry: Json, known: Drain | None, now: datetime) -> Drain:
    require_kinds(Drain, {name: value for name, value in entry.items() if name != "started"})
    drain_id = str(entry["id"])
    return Drain(
        known.started if known is not None and known.id == drain_id else now,
        float(entry["timeout_seconds"]),
        float(entry["quiet_seconds"]),
        bool(entry.get("cut_at_deadline", False)),
        drain_id,
    )
