"""What all changes share: asking the writer, for real or not, and rendering what came of it."""

from __future__ import annotations

from xdplb.control.answers import render
from xdplb.control.answers.reader import Reader
from xdplb.control.answers.views import AccessView, BackendView, DryRun, VipView
from xdplb.control.edits.context import Context
from xdplb.control.edits.find import find_backend, find_vip
from xdplb.control.writing.change import Change, Edit
from xdplb.model.address import IPAddress
from xdplb.model.vip import VipKey

__all__ = ["Changer"]


class Changer(Reader):
    """A Reader that can have the state changed."""

    def _context(self) -> Context:
        return Context(self._plane.capacity, self._now())

    async def _change(self, edit: Edit, dry_run: bool) -> Change | DryRun:
        return await (self._writer.preview(edit) if dry_run else self._writer.change(edit))

    def _resolved(self, ref: str) -> tuple[VipKey, str]:
        """Return the key of a VIP, also as text: by the time a change is made, a name may be another VIP's."""
        key = find_vip(self._state, ref).vip.key
        return key, str(key)

    async def _vip_change(self, key: VipKey, edit: Edit, dry_run: bool) -> tuple[VipView, bool] | DryRun:
        done = await self._change(edit, dry_run)
        if isinstance(done, DryRun):
            return done
        return render.vip_view(done.after.vips[key], self._facts(done)), key not in done.before.vips

    async def _access_change(self, key: VipKey, edit: Edit, dry_run: bool) -> AccessView | DryRun:
        done = await self._change(edit, dry_run)
        if isinstance(done, DryRun):
            return done
        record = done.after.vips[key]
        return AccessView(record.access, record.generation)

    async def _known_backend_change(
        self,
        ref: str,
        address: str,
        edit: Edit,
        dry_run: bool,
    ) -> BackendView | DryRun:
        known = find_backend(find_vip(self._state, ref), address).backend.address
        done = await self._backend_change(ref, known, edit, dry_run)
        return done if isinstance(done, DryRun) else done[0]

    async def _backend_change(
        self,
        ref: str,
        address: IPAddress,
        edit: Edit,
        dry_run: bool,
    ) -> tuple[BackendView, bool] | DryRun:
        key = find_vip(self._state, ref).vip.key
        done = await self._change(edit, dry_run)
        if isinstance(done, DryRun):
            return done
        vip = done.after.vips[key]
        view = self._backend_view(vip, vip.backends[address], self._facts(done))
        return view, address not in done.before.vips[key].backends
