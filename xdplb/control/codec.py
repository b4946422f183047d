"""Model values as JSON objects for the store, and back. A field that is absent has its default."""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from typing import Any

from xdplb.model.backend import AdminState, Backend
from xdplb.model.health import CheckType, HealthCheck
from xdplb.model.vip import (
    AllUnhealthy,
    Forward,
    HashKind,
    OnUnhealthy,
    Scheduler,
    Tracking,
    Vip,
    VipKey,
)

__all__ = [
    "decode_backend",
    "decode_check",
    "decode_vip",
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
        }
    )


def decode_vip(key: VipKey, text: str) -> Vip:
    """Return the VIP with this key."""
    kinds = {
        "forward": Forward,
        "scheduler": Scheduler,
        "tracking": Tracking,
        "hash": HashKind,
        "on_unhealthy": OnUnhealthy,
        "all_unhealthy": AllUnhealthy,
    }
    fields: dict[str, Any] = json.loads(text)
    fields.update({name: kind(fields[name]) for name, kind in kinds.items() if name in fields})
    return Vip(key, **fields)


def encode_backend(backend: Backend) -> str:
    """Return all of a backend but its address."""
    return json.dumps({"weight": backend.weight, "forward": backend.forward, "admin_state": backend.admin_state})


def decode_backend(address: IPv4Address, text: str) -> Backend:
    """Return the backend with this address."""
    fields: dict[str, Any] = json.loads(text)
    forward = fields["forward"]
    return Backend(
        address, fields["weight"], None if forward is None else Forward(forward), AdminState(fields["admin_state"])
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
