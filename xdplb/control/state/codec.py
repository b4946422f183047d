# SPDX-License-Identifier: Apache-2.0
"""Parts of the desired state to JSON and back: for the state on disk, and for the store that balancers share.

Absent fields get their defaults, so that data of earlier versions can be read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from dataclasses import fields as fields_of
from ipaddress import ip_network
from typing import Any

from xdplb.control.state.desired import NO_ACCESS_LIST, Declared
from xdplb.model.access import AccessList
from xdplb.model.address import IPAddress
from xdplb.model.advice import Advice
from xdplb.model.backend import AdminState, Backend, BackendRole
from xdplb.model.check_type import FIELDS_OF
from xdplb.model.config import ApiSettings, Settings
from xdplb.model.dns import DnsEntry
from xdplb.model.health import FIELD_NAMES, CheckType, HealthCheck, Target
from xdplb.model.min_serving import MinServing
from xdplb.model.prefixes import Prefixes
from xdplb.model.vip import (
    AllUnhealthy,
    Announce,
    Forward,
    HashKind,
    OnUnhealthy,
    Passive,
    Protocol,
    QuicIds,
    RateLimits,
    Scheduler,
    Sync,
    Tracking,
    Vip,
    VipKey,
    VlanTags,
)

__all__ = [
    "access_from_json",
    "access_to_json",
    "advice_from_json",
    "advice_to_json",
    "backend_from_json",
    "backend_to_json",
    "check_from_json",
    "check_to_json",
    "declared_from_json",
    "declared_to_json",
    "pack_access",
    "settings_from_json",
    "settings_to_json",
    "unpack_access",
    "vip_from_json",
    "vip_to_json",
]

Json = dict[str, Any]


def settings_to_json(settings: Settings) -> Json:
    """Return the settings of the daemon as JSON."""
    return {"api": {name: value for name, value in asdict(settings.api).items() if value is not None}}


def settings_from_json(fields: Mapping[str, Any]) -> Settings:
    """Return the settings in a JSON object."""
    return Settings(ApiSettings(**fields.get("api", {})))


def vip_to_json(vip: Vip) -> Json:
    """Return the settings of a VIP, without its key."""
    return {
        "name": vip.name,
        "forward": vip.forward,
        "scheduler": vip.scheduler,
        "tracking": vip.tracking,
        "hash": vip.hash,
        "on_unhealthy": vip.on_unhealthy,
        "all_unhealthy": vip.all_unhealthy,
        "idle_timeout_seconds": vip.idle_timeout_seconds,
        "vlan": vip.vlan,
        "quic": None if vip.quic is None else asdict(vip.quic),
        "limits": asdict(vip.limits),
        "min_serving": vip.min_serving.value,
        "passive": vip.passive,
        "syn_failover": vip.syn_failover,
        "panic_share": float(vip.panic_share),
        "slow_start_seconds": vip.slow_start_seconds,
        "announce": vip.announce,
        "sync": vip.sync,
        "dns": None if vip.dns is None else asdict(vip.dns),
        "nat_direct": [str(network) for network in vip.nat_direct],
    }


def vip_from_json(key: VipKey, fields: Mapping[str, Any]) -> Vip:
    """Return the VIP with this key and these settings."""
    kinds: dict[str, Callable[[Any], object]] = {
        "forward": Forward,
        "scheduler": Scheduler,
        "tracking": Tracking,
        "hash": HashKind,
        "on_unhealthy": OnUnhealthy,
        "all_unhealthy": AllUnhealthy,
        "vlan": VlanTags,
        "quic": _quic_from_json,
        "limits": lambda limits: _limits_from_json(key, limits),
        "min_serving": MinServing.of,
        "passive": Passive,
        "announce": Announce,
        "sync": Sync,
        "dns": _dns_from_json,
        "nat_direct": lambda networks: tuple(ip_network(each) for each in networks),
    }
    values = {**fields, **{name: kind(fields[name]) for name, kind in kinds.items() if name in fields}}
    return Vip(key, **values)


def _quic_from_json(fields: dict[str, int] | None) -> QuicIds | None:
    return None if fields is None else QuicIds(**fields)


def _dns_from_json(fields: dict[str, Any] | None) -> DnsEntry | None:
    return None if fields is None else DnsEntry(**fields)


def _limits_from_json(key: VipKey, fields: dict[str, int]) -> RateLimits:
    limits = RateLimits(**fields)
    if key.protocol is Protocol.UDP:  # earlier versions accepted these and ignored them
        limits = replace(limits, new_flows=0, source_new_flows=0)
    return limits


def backend_to_json(backend: Backend) -> Json:
    """Return the settings of a backend, without its address."""
    return {
        "weight": backend.weight,
        "forward": backend.forward,
        "admin_state": backend.admin_state,
        "quic_server_id": backend.quic_server_id,
        "role": backend.role,
        "max_new_flows": backend.max_new_flows,
        "checked": backend.checked,
        "check_port": backend.check_port,
        "check_path": backend.check_path,
        "port": backend.port,
    }


def backend_from_json(address: IPAddress, fields: Mapping[str, Any]) -> Backend:
    """Return the backend with this address and these settings; what else there is in the fields is not of it."""
    given = {name: fields[name] for name in _BACKEND_FIELDS if name in fields}
    forward = fields["forward"]
    kinds = {
        "forward": None if forward is None else Forward(forward),
        "admin_state": AdminState(fields["admin_state"]),
        "role": BackendRole(fields.get("role", BackendRole.PRIMARY)),
    }
    return Backend(address, **{**given, **kinds})


_BACKEND_FIELDS = tuple(field.name for field in fields_of(Backend) if field.name != "address")


def advice_to_json(advice: Advice | None) -> str | None:
    """Return what an agent wants as text."""
    if advice is None:
        return None
    return json.dumps({"percent": advice.percent, "weight": advice.weight, "admin": advice.admin})


def advice_from_json(text: str | None) -> Advice | None:
    """Return what an agent wants."""
    if text is None:
        return None
    told = json.loads(text)
    return Advice(told["percent"], told["weight"], AdminState(told["admin"]))


def declared_to_json(declared: Declared) -> Json:
    """Return what the config file says of a backend under an overlay as JSON."""
    return {"weight": declared.weight, "admin_state": declared.admin_state}


def declared_from_json(fields: Mapping[str, Any]) -> Declared:
    """Return what the config file says of a backend, from a JSON object."""
    return Declared(fields["weight"], AdminState(fields["admin_state"]))


def check_to_json(check: HealthCheck) -> Json:
    """Return a health check as JSON, with the fields that its type has."""
    has = FIELDS_OF[check.type]
    told = {name: getattr(check, name) for name in FIELD_NAMES if name in has}
    # Equal numbers and lists may be written in several ways: one of them is the canonical one.
    for name in _SECONDS:
        told[name] = None if told[name] is None else float(told[name])
    for name in _LISTS & told.keys():
        told[name] = None if told[name] is None else list(told[name])
    if "headers" in told:
        told["headers"] = dict(told["headers"]) or None
    return told


def check_from_json(fields: Mapping[str, Any]) -> HealthCheck:
    """Return the health check in a JSON object."""
    given: Json = {
        **fields,
        "type": CheckType(fields["type"]),
        "target": None if fields["target"] is None else Target(fields["target"]),
    }
    for name in _LISTS & given.keys():
        given[name] = None if given[name] is None else tuple(given[name])
    if given.get("headers") is not None:
        given["headers"] = tuple(given["headers"].items())
    return HealthCheck(**given)


_SECONDS = ("interval_seconds", "fast_interval_seconds", "timeout_seconds", "jitter")
_LISTS = frozenset({"expect_status", "command"})


def access_to_json(access: AccessList) -> Json:
    """Return an access list as JSON: its prefixes as text, in order."""
    return {"allow": [str(prefix) for prefix in access.allow], "deny": [str(prefix) for prefix in access.deny]}


def access_from_json(family: int, fields: Mapping[str, Any]) -> AccessList:
    """Return the access list of a VIP of IPv`family`."""
    return AccessList.parse(fields["allow"], fields["deny"], family) or NO_ACCESS_LIST


def pack_access(access: AccessList) -> tuple[bytes, bytes, bytes, bytes]:
    """Return allow lists of IPv4 and IPv6, then deny lists: for each prefix, its address and length, packed.

    Hundreds of thousands of prefixes are read from this in milliseconds; as text it would take seconds.
    """
    allow, deny = access.allow.pack(), access.deny.pack()
    return (allow, b"", deny, b"") if access.version == 4 else (b"", allow, b"", deny)


def unpack_access(allow4: bytes, allow6: bytes, deny4: bytes, deny6: bytes) -> AccessList:
    """Return the access list that `pack_access` packed."""
    version, allow, deny = (6, allow6, deny6) if allow6 or deny6 else (4, allow4, deny4)
    return AccessList(Prefixes.unpack(version, allow), Prefixes.unpack(version, deny))
