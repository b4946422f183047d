"""What can be asked to be changed, as data: it can be applied, written to a log, sent to another balancer and shown.

An edit names VIPs by key and backends by address, never by an id or a name: it means the same on every balancer.
`xdplb.control.edits.apply` says what each does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xdplb.model.access import AccessList
from xdplb.model.address import IPAddress
from xdplb.model.backend import Backend
from xdplb.model.health import HealthCheck
from xdplb.model.prefixes import Prefixes
from xdplb.model.vip import Vip, VipKey

__all__ = [
    "Batch",
    "CreateBackend",
    "CreateVip",
    "DeleteBackend",
    "DeleteCheck",
    "DeleteVip",
    "DrainBackend",
    "Edit",
    "PatchAccess",
    "PatchBackend",
    "PatchVip",
    "PutAccess",
    "PutBackend",
    "PutCheck",
    "PutVip",
    "ReplaceBackends",
    "SingleEdit",
    "UndrainBackend",
    "vip_of_edit",
]


@dataclass(frozen=True, slots=True)
class CreateVip:
    """Add a VIP. One that is there and the same is left as it is; a different one is a conflict."""

    vip: Vip


@dataclass(frozen=True, slots=True)
class PutVip:
    """Add a VIP or make it what is given; its backends, check and access list stay."""

    vip: Vip


@dataclass(frozen=True, slots=True)
class PatchVip:
    """Change some fields of a VIP; None sets a field to its default."""

    key: VipKey
    changes: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class DeleteVip:
    """Remove a VIP with its backends, check and access list."""

    key: VipKey


@dataclass(frozen=True, slots=True)
class CreateBackend:
    """Add a backend. One that is there and the same is left as it is; a different one is a conflict."""

    key: VipKey
    backend: Backend


@dataclass(frozen=True, slots=True)
class PutBackend:
    """Add a backend or make it what is given."""

    key: VipKey
    backend: Backend


@dataclass(frozen=True, slots=True)
class PatchBackend:
    """Change some fields of a backend. `admin_state` drain begins a drain with the usual times, ready ends one."""

    key: VipKey
    address: IPAddress
    changes: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class DeleteBackend:
    """Remove a backend at once, its open connections with it."""

    key: VipKey
    address: IPAddress


@dataclass(frozen=True, slots=True)
class ReplaceBackends:
    """Make these the VIP's backends, in one step. Those that are in both sets keep their connections."""

    key: VipKey
    backends: tuple[Backend, ...]


@dataclass(frozen=True, slots=True)
class DrainBackend:
    """Give the backend no new connections and keep its open ones. A drain under way keeps its start."""

    key: VipKey
    address: IPAddress
    timeout_seconds: float = 600.0
    quiet_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class UndrainBackend:
    """Give the backend new connections again."""

    key: VipKey
    address: IPAddress


@dataclass(frozen=True, slots=True)
class PutCheck:
    """Check the VIP's backends so. Those that serve without a check go on until it has failed `fall` times."""

    key: VipKey
    check: HealthCheck


@dataclass(frozen=True, slots=True)
class DeleteCheck:
    """Stop checking the VIP's backends: all are up."""

    key: VipKey


@dataclass(frozen=True, slots=True)
class PutAccess:
    """Make this the VIP's access list; an empty one accepts packets from any source."""

    key: VipKey
    access: AccessList


@dataclass(frozen=True, slots=True)
class PatchAccess:
    """Replace what is allowed or what is denied, or both; None leaves it as it is."""

    key: VipKey
    allow: Prefixes | None = None
    deny: Prefixes | None = None


SingleEdit = (
    CreateVip
    | PutVip
    | PatchVip
    | DeleteVip
    | CreateBackend
    | PutBackend
    | PatchBackend
    | DeleteBackend
    | ReplaceBackends
    | DrainBackend
    | UndrainBackend
    | PutCheck
    | DeleteCheck
    | PutAccess
    | PatchAccess
)


@dataclass(frozen=True, slots=True)
class Batch:
    """Several edits, one after the other, as one change: one generation, and all of them or none."""

    edits: tuple[SingleEdit, ...]


Edit = SingleEdit | Batch


def vip_of_edit(edit: Edit) -> VipKey | None:
    """Return the key of the VIP that an edit is about, None for a batch."""
    if isinstance(edit, Batch):
        return None
    return edit.vip.key if isinstance(edit, CreateVip | PutVip) else edit.key
