# SPDX-License-Identifier: Apache-2.0
"""Several edits in one request. Each is flat: its `kind`, the VIP and the backend that it is about, and its fields."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field

from xdplb.control.edits import edit as kinds
from xdplb.model.access import AccessList
from xdplb.model.errors import within
from xdplb.model.prefixes import Prefixes
from xdplb.model.vip import VipKey

from .access import AccessIn, AccessPatch
from .backend import BackendIn, BackendPatch, BackendsPut, DrainIn
from .base import HostAddress, RequestBody
from .health_check import ChecksIn, HealthCheckIn
from .long_list import in_parts
from .vip import VipPatch, VipPost

__all__ = ["MOST_EDITS", "ChangesIn", "Find"]

MOST_EDITS = 20_000

Find = Callable[[str], VipKey]
"""Returns the key of the VIP with a name or a key, which an edit before may have added."""

KIND = "What to do."

Ref = Annotated[str, Field(description="The VIP: its key or its name.", examples=["203.0.113.10:443/tcp"])]
Address = Annotated[HostAddress, Field(description="The backend's address.", examples=["10.0.0.11"])]

_NAMES = frozenset({"kind", "vip", "address"})


def _changes(body: RequestBody) -> dict[str, Any]:
    """Return the fields of a merge patch, nulls included."""
    return {name: value for name, value in body.model_dump(exclude_unset=True).items() if name not in _NAMES}


class CreateVipEdit(VipPost):
    """Add a VIP; a conflict if it exists with other settings."""

    kind: Literal["create_vip"] = Field(description=KIND)

    def edit(self, _find: Find) -> kinds.CreateVip:
        """Return the edit."""
        vip = self.vip()
        return kinds.CreateVip(vip, **self.parts(vip.key))


class PutVipEdit(VipPost):
    """Add a VIP, or replace its settings and the parts that are given."""

    kind: Literal["put_vip"] = Field(description=KIND)

    def edit(self, _find: Find) -> kinds.PutVip:
        """Return the edit."""
        vip = self.vip()
        return kinds.PutVip(vip, **self.parts(vip.key))


class PatchVipEdit(VipPatch):
    """Change some settings of a VIP; null sets the default."""

    kind: Literal["patch_vip"] = Field(description=KIND)
    vip: Ref

    def edit(self, find: Find) -> kinds.PatchVip:
        """Return the edit."""
        changes = self.changes()
        return kinds.PatchVip(find(self.vip), {name: changes[name] for name in changes if name not in {"kind", "vip"}})


class DeleteVipEdit(RequestBody):
    """Remove a VIP with all that belongs to it."""

    kind: Literal["delete_vip"] = Field(description=KIND)
    vip: Ref

    def edit(self, find: Find) -> kinds.DeleteVip:
        """Return the edit."""
        return kinds.DeleteVip(find(self.vip))


class CreateBackendEdit(BackendIn):
    """Add a backend; a conflict if it exists with other settings."""

    kind: Literal["create_backend"] = Field(description=KIND)
    vip: Ref

    def edit(self, find: Find) -> kinds.CreateBackend:
        """Return the edit."""
        return kinds.CreateBackend(find(self.vip), self.backend())


class PutBackendEdit(BackendIn):
    """Add a backend, or replace its settings."""

    kind: Literal["put_backend"] = Field(description=KIND)
    vip: Ref

    def edit(self, find: Find) -> kinds.PutBackend:
        """Return the edit."""
        return kinds.PutBackend(find(self.vip), self.backend())


class PatchBackendEdit(BackendPatch):
    """Change some settings of a backend; null sets the default."""

    kind: Literal["patch_backend"] = Field(description=KIND)
    vip: Ref
    address: Address

    def edit(self, find: Find) -> kinds.PatchBackend:
        """Return the edit."""
        return kinds.PatchBackend(find(self.vip), self.address, _changes(self))


class DeleteBackendEdit(RequestBody):
    """Remove a backend at once."""

    kind: Literal["delete_backend"] = Field(description=KIND)
    vip: Ref
    address: Address

    def edit(self, find: Find) -> kinds.DeleteBackend:
        """Return the edit."""
        return kinds.DeleteBackend(find(self.vip), self.address)


class ReplaceBackendsEdit(BackendsPut):
    """Replace all backends of a VIP."""

    kind: Literal["replace_backends"] = Field(description=KIND)
    vip: Ref

    def edit(self, find: Find) -> kinds.ReplaceBackends:
        """Return the edit."""
        return kinds.ReplaceBackends(find(self.vip), tuple(self.wanted()))


class DrainBackendEdit(DrainIn):
    """Send a backend no new connections and keep its open ones."""

    kind: Literal["drain_backend"] = Field(description=KIND)
    vip: Ref
    address: Address

    def edit(self, find: Find) -> kinds.DrainBackend:
        """Return the edit."""
        return kinds.DrainBackend(
            find(self.vip), self.address, self.timeout_seconds, self.quiet(), self.cut_at_deadline
        )


class UndrainBackendEdit(RequestBody):
    """Send new connections to a backend again."""

    kind: Literal["undrain_backend"] = Field(description=KIND)
    vip: Ref
    address: Address

    def edit(self, find: Find) -> kinds.UndrainBackend:
        """Return the edit."""
        return kinds.UndrainBackend(find(self.vip), self.address)


class PutCheckEdit(HealthCheckIn):
    """Set the only health check of a VIP."""

    kind: Literal["put_check"] = Field(description=KIND)
    vip: Ref

    def edit(self, find: Find) -> kinds.PutCheck:
        """Return the edit."""
        return kinds.PutCheck(find(self.vip), self.check())


class DeleteCheckEdit(RequestBody):
    """Remove the only health check of a VIP."""

    kind: Literal["delete_check"] = Field(description=KIND)
    vip: Ref

    def edit(self, find: Find) -> kinds.DeleteCheck:
        """Return the edit."""
        return kinds.DeleteCheck(find(self.vip))


class PutChecksEdit(ChecksIn):
    """Set all health checks of a VIP."""

    kind: Literal["put_checks"] = Field(description=KIND)
    vip: Ref

    def edit(self, find: Find) -> kinds.PutChecks:
        """Return the edit."""
        key = find(self.vip)
        return kinds.PutChecks(key, self.wanted(key))


class DeleteChecksEdit(RequestBody):
    """Stop checking the backends of a VIP."""

    kind: Literal["delete_checks"] = Field(description=KIND)
    vip: Ref

    def edit(self, find: Find) -> kinds.DeleteChecks:
        """Return the edit."""
        return kinds.DeleteChecks(find(self.vip))


class PutAccessEdit(AccessIn):
    """Replace the access list of a VIP."""

    kind: Literal["put_access"] = Field(description=KIND)
    vip: Ref

    def edit(self, find: Find) -> kinds.PutAccess:
        """Return the edit."""
        key = find(self.vip)
        return kinds.PutAccess(key, AccessList.parse(self.allow, self.deny, key.address.version))


class PatchAccessEdit(AccessPatch):
    """Replace the allowed prefixes of a VIP, the denied ones, or both; null empties a list."""

    kind: Literal["patch_access"] = Field(description=KIND)
    vip: Ref

    def edit(self, find: Find) -> kinds.PatchAccess:
        """Return the edit."""
        key = find(self.vip)
        given = {
            name: Prefixes.parse(texts or (), key.address.version, f"/{name}") for name, texts in _changes(self).items()
        }
        return kinds.PatchAccess(key, **given)


AnyEdit = Annotated[
    CreateVipEdit
    | PutVipEdit
    | PatchVipEdit
    | DeleteVipEdit
    | CreateBackendEdit
    | PutBackendEdit
    | PatchBackendEdit
    | DeleteBackendEdit
    | ReplaceBackendsEdit
    | DrainBackendEdit
    | UndrainBackendEdit
    | PutCheckEdit
    | DeleteCheckEdit
    | PutChecksEdit
    | DeleteChecksEdit
    | PutAccessEdit
    | PatchAccessEdit,
    Field(discriminator="kind"),
]


class ChangesIn(RequestBody):
    """Edits that are made in one step, in this order: all of them, or none."""

    edits: Annotated[list[AnyEdit], Field(min_length=1, max_length=MOST_EDITS), in_parts(MOST_EDITS)] = Field(
        description="The edits. A later one may name what an earlier one adds or renames.",
        examples=[[{"kind": "patch_backend", "vip": "web", "address": "10.0.0.11", "weight": 3}]],
    )

    def batch(self, find: Find) -> kinds.Batch:
        """Return the edits; `find` finds the VIPs that are there already. Errors point to `/edits/3` and below."""
        named: dict[str, VipKey] = {}
        made: list[kinds.SingleEdit] = []
        for number, each in enumerate(self.edits):
            with within(f"/edits/{number}"):
                edit = each.edit(lambda ref: named.get(ref) or find(ref))
            if isinstance(edit, kinds.CreateVip | kinds.PutVip) and edit.vip.name is not None:
                named[edit.vip.name] = edit.vip.key
            elif isinstance(edit, kinds.PatchVip) and isinstance(name := edit.changes.get("name"), str):
                named[name] = edit.key
            made.append(edit)
        return kinds.Batch(tuple(made))
