"""Model values as JSON objects, and access lists as bytes, for the store, and back. An absent field has its default."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from xdplb.model.access import AccessList
from xdplb.model.address import IPAddress
from xdplb.model.backend import AdminState, Backend
from xdplb.model.health import CheckType, HealthCheck
from xdplb.model.prefixes import Prefixes
from xdplb.model.vip import (
    AllUnhealthy,
    Forward,
    HashKind,
    OnUnhealthy,
    Protocol,
    QuicIds,
    RateLimits,
    Scheduler,
    Tracking,
    Vip,
    VipKey,
    VlanTags,
)

__all__ = [
    "decode_access",
    "decode_backend",
    "decode_check",
    "decode_vip",
    "encode_access",
    "encode_backend",
    "encode_check",
    "encode_vip",
]


def encode_vip(vip: Vip) -> str:
    """Return all of a VIP but its key."""
    return json.dumps(
        {
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
        }
    )


def decode_vip(key: VipKey, text: str) -> Vip:
    """Return the VIP with this key."""
    kinds: dict[str, Callable[[Any], object]] = {
        "forward": Forward,
        "scheduler": Scheduler,
        "tracking": Tracking,
        "hash": HashKind,
        "on_unhealthy": OnUnhealthy,
        "all_unhealthy": AllUnhealthy,
        "vlan": VlanTags,
        "quic": _decode_quic,
        "limits": lambda limits: _decode_limits(key, limits),
    }
    fields: dict[str, Any] = json.loads(text)
    fields.update({name: kind(fields[name]) for name, kind in kinds.items() if name in fields})
    return Vip(key, **fields)


def _decode_quic(fields: dict[str, int] | None) -> QuicIds | None:
    return None if fields is None else QuicIds(**fields)


def _decode_limits(key: VipKey, fields: dict[str, int]) -> RateLimits:
    limits = RateLimits(**fields)
    if key.protocol is Protocol.UDP:  # earlier versions took these and did nothing with them
        limits = replace(limits, new_flows=0, source_new_flows=0)
    return limits


def encode_backend(backend: Backend) -> str:
    """Return all of a backend but its address."""
    return json.dumps(
        {
            "weight": backend.weight,
            "forward": backend.forward,
            "admin_state": backend.admin_state,
            "quic_server_id": backend.quic_server_id,
        }
    )


def decode_backend(address: IPAddress, text: str) -> Backend:
    """Return the backend with this address."""
    fields: dict[str, Any] = json.loads(text)
    forward = fields["forward"]
    return Backend(
        address,
        fields["weight"],
        None if forward is None else Forward(forward),
        AdminState(fields["admin_state"]),
        fields.get("quic_server_id"),
    )


def encode_check(check: HealthCheck) -> str:
    """Return a health check."""
    return json.dumps(
        {
            "type": check.type,
            "port": check.port,
            "path": check.path,
            "expect_status": check.expect_status,
            "interval_seconds": check.interval_seconds,
            "timeout_seconds": check.timeout_seconds,
            "rise": check.rise,
            "fall": check.fall,
            "jitter": check.jitter,
        }
    )


def decode_check(text: str) -> HealthCheck:
    """Return the health check."""
    fields: dict[str, Any] = json.loads(text)
    fields["type"] = CheckType(fields["type"])
    fields["expect_status"] = tuple(fields["expect_status"])
    return HealthCheck(**fields)


def encode_access(access: AccessList) -> tuple[bytes, bytes, bytes, bytes]:
    """Return what is allowed of IPv4 and of IPv6, then what is denied: for each prefix its address and its length."""
    allow, deny = access.allow.pack(), access.deny.pack()
    return (allow, b"", deny, b"") if access.version == 4 else (b"", allow, b"", deny)


def decode_access(allow4: bytes, allow6: bytes, deny4: bytes, deny6: bytes) -> AccessList:
    """Return the access list."""
    version, allow, deny = (6, allow6, deny6) if allow6 or deny6 else (4, allow4, deny4)
    return AccessList(Prefixes.unpack(version, allow), Prefixes.unpack(version, deny))
