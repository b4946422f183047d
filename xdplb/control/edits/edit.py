# SPDX-License-Identifier: Apache-2.0
"""Requested changes, as data: an edit can be applied, logged, sent to another balancer, and shown.

An edit names VIPs by key and backends by address, never by an id or a name: it means the same on every balancer.
`xdplb.control.edits.apply` applies them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from xdplb.model.access import AccessList
from xdplb.model.address import IPAddress
from xdplb.model.backend import Backend
from xdplb.model.config import Config
from xdplb.model.health import HealthCheck
from xdplb.model.prefixes import Prefixes
from xdplb.model.vip import Vip, VipKey

__all__ = [
    "KEEP",
    "Batch",
    "ClearOverlay",
    "CreateBackend",
    "CreateVip",
    "DeleteBackend",
    "DeleteCheck",
    "DeleteChecks",
    "DeleteVip",
    "DrainBackend",
    "Edit",
    "Keep",
    "PatchAccess",
    "PatchBackend",
    "PatchVip",
    "PutAccess",
    "PutBackend",
    "PutCheck",
    "PutChecks",
    "PutConfig",
    "PutVip",
    "ReleaseConfig",
    "ReplaceBackends",
    "SingleEdit",
    "UndrainBackend",
    "WholeEdit",
    "addresses_of_edit",
    "backend_of_edit",
    "kind_of",
    "vip_of_edit",
]


class Keep(Enum):
    """The type of KEEP."""

    KEEP = "keep"


KEEP = Keep.KEEP
"""In place of a part of a VIP: it stays as it is. A new VIP has none of it."""


@dataclass(frozen=True, slots=True)
class CreateVip:
    """Add a VIP. If it exists with the same settings and parts, nothing changes; with other ones it is a conflict."""

    vip: Vip
    backends: tuple[Backend, ...] | Keep = KEEP
    checks: tuple[HealthCheck, ...] | Keep = KEEP
    access: AccessList | Keep = KEEP


@dataclass(frozen=True, slots=True)
class PutVip:
    """Add a VIP, or replace its settings and those of its parts that are given."""

    vip: Vip
    backends: tuple[Backend, ...] | Keep = KEEP
    checks: tuple[HealthCheck, ...] | Keep = KEEP
    access: AccessList | Keep = KEEP


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
    """Add a backend. If it exists with the same settings, nothing changes; with other settings it is a conflict."""

    key: VipKey
    backend: Backend


@dataclass(frozen=True, slots=True)
class PutBackend:
    """Add a backend, or replace its settings."""

    key: VipKey
    backend: Backend


@dataclass(frozen=True, slots=True)
class PatchBackend:
    """Change some fields of a backend. `admin_state` drain starts a drain with the default times, ready ends it."""

    key: VipKey
    address: IPAddress
    changes: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class DeleteBackend:
    """Remove a backend at once; its open connections break."""

    key: VipKey
    address: IPAddress


@dataclass(frozen=True, slots=True)
class ReplaceBackends:
    """Replace the VIP's backends in one step. Backends that are in both sets keep their connections."""

    key: VipKey
    backends: tuple[Backend, ...]


@dataclass(frozen=True, slots=True)
class DrainBackend:
    """Send the backend no new connections and keep its open ones, at most to the deadline if that is to cut them.

    A drain under way keeps its start.
    """

    key: VipKey
    address: IPAddress
    timeout_seconds: float = 600.0
    quiet_seconds: float = 10.0
    cut_at_deadline: bool = False


@dataclass(frozen=True, slots=True)
class UndrainBackend:
    """Send new connections to the backend again."""

    key: VipKey
    address: IPAddress


@dataclass(frozen=True, slots=True)
class PutCheck:
    """Set the only health check of a VIP, which has no more than one. Backends in use stay up until it has failed."""

    key: VipKey
    check: HealthCheck


@dataclass(frozen=True, slots=True)
class DeleteCheck:
    """Remove the only health check of a VIP: all its backends count as up."""

    key: VipKey


@dataclass(frozen=True, slots=True)
class PutChecks:
    """Set all health checks of a VIP. Backends in use stay up until one of them has failed `fall` times."""

    key: VipKey
    checks: tuple[HealthCheck, ...]


@dataclass(frozen=True, slots=True)
class DeleteChecks:
    """Stop checking the VIP's backends: all of them count as up."""

    key: VipKey


@dataclass(frozen=True, slots=True)
class PutAccess:
    """Replace the VIP's access list; an empty one accepts packets from any source."""

    key: VipKey
    access: AccessList


@dataclass(frozen=True, slots=True)
class PatchAccess:
    """Replace the allowed prefixes, the denied ones, or both; None leaves a list unchanged."""

    key: VipKey
    allow: Prefixes | None = None
    deny: Prefixes | None = None


@dataclass(frozen=True, slots=True)
class PutConfig:
    """Replace the whole desired state by a configuration.

    `owner` is the path of the config file that it comes from, empty if the API asks. What operators have laid over a
    file's weights and admin states stays, unless `clear_overlay`.
    """

    config: Config
    owner: str = ""
    clear_overlay: bool = False


@dataclass(frozen=True, slots=True)
class ReleaseConfig:
    """Take the desired state from the config file that owns it, and give it to the API, with all overlays in it."""


@dataclass(frozen=True, slots=True)
class ClearOverlay:
    """Make weights and admin states what the config file says: of one backend, of a VIP's, or of all (None)."""

    key: VipKey | None = None
    address: IPAddress | None = None


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
    | PutChecks
    | DeleteChecks
    | PutAccess
    | PatchAccess
    | ClearOverlay
)


@dataclass(frozen=True, slots=True)
class Batch:
    """Several edits, applied in order as one change: one generation, all or nothing."""

    edits: tuple[SingleEdit, ...]


WholeEdit = PutConfig | ReleaseConfig
"""Edits of the whole state, which are not part of a batch."""

Edit = SingleEdit | WholeEdit | Batch


def kind_of(edit: Edit) -> str:
    """Return an edit's kind, such as `put_vip`. It is kept with events and in the store: a class keeps its name."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(edit).__name__).lower()


def vip_of_edit(edit: Edit) -> VipKey | None:
    """Return the key of the VIP that an edit changes, None for one that may change several."""
    if isinstance(edit, Batch | PutConfig | ReleaseConfig):
        return None
    return edit.vip.key if isinstance(edit, CreateVip | PutVip) else edit.key


def backend_of_edit(edit: Edit) -> IPAddress | None:
    """Return the address of the backend that an edit is about, None for an edit of anything else."""
    if isinstance(edit, CreateBackend | PutBackend):
        return edit.backend.address
    if isinstance(edit, PatchBackend | DeleteBackend | DrainBackend | UndrainBackend | ClearOverlay):
        return edit.address
    return None


def addresses_of_edit(edit: Edit) -> frozenset[IPAddress]:
    """Return the addresses of the backends that an edit adds, or that are there already."""
    match edit:
        case CreateBackend() | PutBackend():
            return frozenset([edit.backend.address])
        case ReplaceBackends():
            return frozenset(backend.address for backend in edit.backends)
        case CreateVip() | PutVip():
            return frozenset() if edit.backends is KEEP else frozenset(backend.address for backend in edit.backends)
        case PutConfig():
            return frozenset(backend.address for vip in edit.config.vips for backend in vip.backends)
        case Batch():
            return frozenset().union(*(addresses_of_edit(each) for each in edit.edits))
        case _:
            return frozenset()
