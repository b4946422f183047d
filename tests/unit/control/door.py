# SPDX-License-Identifier: Apache-2.0
"""A manager as tests use it: each change in one call, and its answer as a view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xdplb.control.answers.views import AccessView, BackendView, CheckView, VipView
from xdplb.control.edits import edit as edits
from xdplb.control.explain.question import PacketKind
from xdplb.control.explain.views import ExplainView
from xdplb.control.manager import Manager
from xdplb.control.plan.sentences import sentences, warning_sentence
from xdplb.control.writing.request import Outcome, Request
from xdplb.model.access import AccessList
from xdplb.model.backend import Backend
from xdplb.model.health import HealthCheck
from xdplb.model.vip import Vip, VipKey

__all__ = ["Door", "DryRun"]


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a change would do and warn of, a sentence each."""

    would_change: bool
    changes: tuple[str, ...] = ()


class Door:
    """Makes requests of a manager; what it does not know is asked of the manager's answers."""

    def __init__(self, manager: Manager) -> None:
        self.manager = manager
        self.capturer = manager.capturer
        self._answers = manager.answers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._answers, name)

    async def start(self) -> None:
        await self.manager.start()

    async def stop(self) -> None:
        await self.manager.stop()

    def backends(self, ref: str) -> list[BackendView]:
        return list(self._answers.backends(ref).backends)

    def checks(self, ref: str) -> list[CheckView]:
        return [view for _, views in self._answers.checks(ref).checks for view in views]

    async def explain(
        self,
        client: str,
        vip: str,
        *,
        packet: PacketKind | None = None,
        if_down: str | None = None,
        interface: str | None = None,
    ) -> ExplainView:
        return await self.manager.explainer.explain(client, vip, packet, if_down, interface)

    async def create_vip(self, vip: Vip, **under: Any) -> tuple[VipView, bool] | DryRun:
        return await self._vip(edits.CreateVip(vip), vip.key, under)

    async def put_vip(self, vip: Vip, **under: Any) -> tuple[VipView, bool] | DryRun:
        return await self._vip(edits.PutVip(vip), vip.key, under)

    async def patch_vip(self, ref: str, changes: Mapping[str, object], **under: Any) -> VipView | DryRun:
        key = self._answers.key(ref)
        done = await self._vip(edits.PatchVip(key, changes), key, under)
        return done if isinstance(done, DryRun) else done[0]

    async def delete_vip(self, ref: str, **under: Any) -> DryRun | None:
        return _none(await self._ask(edits.DeleteVip(self._answers.key(ref)), under))

    async def create_backend(self, ref: str, backend: Backend, **under: Any) -> tuple[BackendView, bool] | DryRun:
        return await self._backend(edits.CreateBackend(self._answers.key(ref), backend), under)

    async def put_backend(self, ref: str, backend: Backend, **under: Any) -> tuple[BackendView, bool] | DryRun:
        return await self._backend(edits.PutBackend(self._answers.key(ref), backend), under)

    async def patch_backend(
        self, ref: str, address: str, changes: Mapping[str, object], **under: Any
    ) -> BackendView | DryRun:
        return await self._known(edits.PatchBackend(*self._answers.place(ref, address), changes), under)

    async def delete_backend(self, ref: str, address: str, **under: Any) -> DryRun | None:
        return _none(await self._ask(edits.DeleteBackend(*self._answers.place(ref, address)), under))

    async def replace_backends(self, ref: str, backends: Sequence[Backend], **under: Any) -> list[BackendView] | DryRun:
        key = self._answers.key(ref)
        done = await self._ask(edits.ReplaceBackends(key, tuple(backends)), under)
        if isinstance(done, DryRun):
            return done
        return list(self._answers.backends_after(done, key).backends)

    async def drain(
        self,
        ref: str,
        address: str,
        *,
        timeout_seconds: float = 600,
        quiet_seconds: float = 10,
        cut_at_deadline: bool = False,
        **under: Any,
    ) -> BackendView | DryRun:
        place = self._answers.place(ref, address)
        return await self._known(edits.DrainBackend(*place, timeout_seconds, quiet_seconds, cut_at_deadline), under)

    async def undrain(self, ref: str, address: str, **under: Any) -> BackendView | DryRun:
        return await self._known(edits.UndrainBackend(*self._answers.place(ref, address)), under)

    async def put_health_check(self, ref: str, check: HealthCheck, **under: Any) -> HealthCheck | DryRun:
        done = await self._ask(edits.PutCheck(self._answers.key(ref), check), under)
        return done if isinstance(done, DryRun) else check

    async def delete_health_check(self, ref: str, **under: Any) -> DryRun | None:
        return _none(await self._ask(edits.DeleteCheck(self._answers.key(ref)), under))

    async def put_access(
        self, ref: str, allow: Sequence[str], deny: Sequence[str], **under: Any
    ) -> AccessView | DryRun:
        key = self._answers.key(ref)
        done = await self._ask(edits.PutAccess(key, AccessList.parse(allow, deny, key.address.version)), under)
        return done if isinstance(done, DryRun) else self._answers.access_after(done, key)

    async def patch_access(
        self, ref: str, changes: Mapping[str, Sequence[str] | None], **under: Any
    ) -> AccessView | DryRun:
        key = self._answers.key(ref)
        parsed = AccessList.parse(changes.get("allow") or (), changes.get("deny") or (), key.address.version)
        allow = parsed.allow if "allow" in changes else None
        deny = parsed.deny if "deny" in changes else None
        done = await self._ask(edits.PatchAccess(key, allow, deny), under)
        return done if isinstance(done, DryRun) else self._answers.access_after(done, key)

    async def _ask(self, edit: edits.Edit, under: Mapping[str, Any]) -> Outcome | DryRun:
        outcome = await self.manager.change(Request(edit=edit, **under))
        if not under.get("dry_run"):
            return outcome
        said = (*sentences(outcome.impact), *map(warning_sentence, outcome.impact.warnings))
        return DryRun(outcome.is_change, said)

    async def _vip(self, edit: edits.Edit, key: VipKey, under: Mapping[str, Any]) -> tuple[VipView, bool] | DryRun:
        done = await self._ask(edit, under)
        return done if isinstance(done, DryRun) else (self._answers.vip_after(done, key), key not in done.before.vips)

    async def _backend(
        self, edit: edits.CreateBackend | edits.PutBackend, under: Mapping[str, Any]
    ) -> tuple[BackendView, bool] | DryRun:
        done = await self._ask(edit, under)
        if isinstance(done, DryRun):
            return done
        address = edit.backend.address
        view = self._answers.backend_after(done, edit.key, address)
        return view, address not in done.before.vips[edit.key].backends

    async def _known(
        self, edit: edits.PatchBackend | edits.DrainBackend | edits.UndrainBackend, under: Mapping[str, Any]
    ) -> BackendView | DryRun:
        done = await self._ask(edit, under)
        return done if isinstance(done, DryRun) else self._answers.backend_after(done, edit.key, edit.address)


def _none(done: Outcome | DryRun) -> DryRun | None:
    return done if isinstance(done, DryRun) else None
