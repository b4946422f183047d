"""The manager: everything that API and `up` may ask of the control plane."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from xdplb.control.answers.views import AccessView, BackendView, DryRun, VipView
from xdplb.control.capture.capturer import Capturer
from xdplb.control.changer import Changer
from xdplb.control.edits import access as access_edits
from xdplb.control.edits import backends as backend_edits
from xdplb.control.edits import vips as vip_edits
from xdplb.control.explain.explainer import Explainer
from xdplb.control.explain.question import PacketKind
from xdplb.control.explain.views import ExplainView
from xdplb.control.health.checks import HealthSource
from xdplb.control.state.snapshot import Snapshot
from xdplb.control.state.sqlite import Store
from xdplb.control.writing.applier import Applier
from xdplb.control.writing.change import Change
from xdplb.control.writing.flow_watch import FlowWatch
from xdplb.control.writing.writer import Writer
from xdplb.dataplane.plane import DataPlane
from xdplb.model.access import AccessList
from xdplb.model.address import IPNetwork
from xdplb.model.backend import Backend
from xdplb.model.health import HealthCheck
from xdplb.model.vip import Vip
from xdplb.net.next_hops import NextHopSource

__all__ = ["Manager"]

_RESOLVE_SECONDS = 2.0


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Manager(Changer):
    """The control plane of one host, for the event loop that `start` ran in.

    A change answers once the maps hold it. With `dry_run` it answers with a DryRun and changes nothing. `if_match` is
    the generation the caller has seen: PreconditionError when it is no longer the current one. All changes raise
    InvalidError, NotFoundError, ConflictError or CapacityError with nothing changed, and PlatformError when the change
    could not be saved, or is saved and the data plane has yet to take it: the sentence says which.
    """

    def __init__(
        self,
        plane: DataPlane,
        store: Store,
        next_hops: NextHopSource,
        checker: HealthSource | None,
        *,
        tunnel_sources: tuple[IPNetwork, ...] = (),
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = _utc_now,
        scan_seconds: float = 1.0,
    ) -> None:
        writer = Writer(Applier(plane, clock), store, next_hops, checker, tunnel_sources=tunnel_sources, now=now)
        super().__init__(plane, writer, FlowWatch(plane, writer, now, scan_seconds), checker, now)
        self._next_hops = next_hops
        self._explainer = Explainer(plane, writer, next_hops, tunnel_sources, now)
        self.capturer = Capturer(plane, writer)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Adopt what the maps hold, bring it to the desired state, then watch the network and check backends.

        Raises PlatformError or ConflictError when the state or the data plane cannot be used.
        """
        try:
            await self._writer.open()
            await self._next_hops.start(self._writer.next_hops_changed)
            self._writer.watch()
            await self._writer.wait_resolved(_RESOLVE_SECONDS)
            await self._writer.adopt()
            if self._checker is not None:
                await self._checker.start(self._writer.health_flipped)
        except BaseException:
            await self.stop()
            raise
        self._tasks = [asyncio.create_task(self._writer.reconcile()), asyncio.create_task(self._flows.run())]
        self._is_running = True

    async def stop(self) -> None:
        """Finish what was begun and let go of state and network. The data plane goes on."""
        self._is_running = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._checker is not None:
            await self._checker.stop()
        await self._next_hops.stop()
        await self._flows.stop()
        await self._explainer.stop()
        await self.capturer.stop()
        await self._writer.close()

    async def explain(
        self,
        client: str,
        vip: str,
        *,
        packet: PacketKind | None = None,
        if_down: str | None = None,
        interface: str | None = None,
    ) -> ExplainView:
        """Return what would become of a packet from `client` to `vip`, and why; nothing is changed by it.

        `vip` may also be any address, port and protocol. `if_down` is a backend to take for down, `interface` the NIC
        that the packet comes in by. Seconds the first time, since a program is compiled for it.
        """
        return await self._explainer.explain(client, vip, packet, if_down, interface)

    async def create_vip(self, vip: Vip, *, dry_run: bool = False) -> tuple[VipView, bool] | DryRun:
        """Add a VIP, and say whether it is new; ConflictError when a different one is there."""
        return await self._vip_change(vip.key, lambda s: vip_edits.create_vip(s, vip, self._context()), dry_run)

    async def put_vip(
        self, vip: Vip, *, if_match: int | None = None, dry_run: bool = False
    ) -> tuple[VipView, bool] | DryRun:
        """Add a VIP or make it what is given, and say whether it is new."""
        return await self._vip_change(
            vip.key, lambda s: vip_edits.put_vip(s, vip, self._context(), if_match=if_match), dry_run
        )

    async def patch_vip(
        self, ref: str, changes: Mapping[str, object], *, if_match: int | None = None, dry_run: bool = False
    ) -> VipView | DryRun:
        """Change some fields of a VIP; InvalidError names one that is unknown or cannot change."""
        key, ref = self._resolved(ref)
        done = await self._vip_change(
            key, lambda s: vip_edits.patch_vip(s, ref, changes, self._context(), if_match=if_match), dry_run
        )
        return done if isinstance(done, DryRun) else done[0]

    async def delete_vip(self, ref: str, *, if_match: int | None = None, dry_run: bool = False) -> DryRun | None:
        """Remove a VIP with its backends and its check."""
        return _dry(await self._change(lambda s: vip_edits.delete_vip(s, ref, if_match=if_match), dry_run))

    async def create_backend(
        self, ref: str, backend: Backend, *, dry_run: bool = False
    ) -> tuple[BackendView, bool] | DryRun:
        """Add a backend, and say whether it is new; ConflictError when a different one is there."""
        _, ref = self._resolved(ref)
        return await self._backend_change(
            ref, backend.address, lambda s: backend_edits.create_backend(s, ref, backend, self._context()), dry_run
        )

    async def put_backend(
        self, ref: str, backend: Backend, *, if_match: int | None = None, dry_run: bool = False
    ) -> tuple[BackendView, bool] | DryRun:
        """Add a backend or make it what is given, and say whether it is new."""
        _, ref = self._resolved(ref)
        return await self._backend_change(
            ref,
            backend.address,
            lambda s: backend_edits.put_backend(s, ref, backend, self._context(), if_match=if_match),
            dry_run,
        )

    async def patch_backend(
        self,
        ref: str,
        address: str,
        changes: Mapping[str, object],
        *,
        if_match: int | None = None,
        dry_run: bool = False,
    ) -> BackendView | DryRun:
        """Change some fields of a backend. `admin_state` drain begins a drain with the usual times, ready ends one."""
        _, ref = self._resolved(ref)

        def edit(state: Snapshot) -> Snapshot:
            return backend_edits.patch_backend(state, ref, address, changes, self._context(), if_match=if_match)

        return await self._known_backend_change(ref, address, edit, dry_run)

    async def delete_backend(
        self, ref: str, address: str, *, if_match: int | None = None, dry_run: bool = False
    ) -> DryRun | None:
        """Remove a backend at once, its open connections with it."""
        return _dry(
            await self._change(
                lambda s: backend_edits.delete_backend(s, ref, address, self._context(), if_match=if_match), dry_run
            )
        )

    async def replace_backends(
        self, ref: str, backends: Sequence[Backend], *, if_match: int | None = None, dry_run: bool = False
    ) -> list[BackendView] | DryRun:
        """Make these the VIP's backends, in one step. Those that are in both sets keep their connections."""
        key, ref = self._resolved(ref)
        done = await self._change(
            lambda s: backend_edits.replace_backends(s, ref, backends, self._context(), if_match=if_match), dry_run
        )
        if isinstance(done, DryRun):
            return done
        vip, facts = done.after.vips[key], self._facts(done)
        return [self._backend_view(vip, record, facts) for record in vip.backends.values()]

    async def drain(
        self,
        ref: str,
        address: str,
        *,
        timeout_seconds: float = 600,
        quiet_seconds: float = 10,
        if_match: int | None = None,
        dry_run: bool = False,
    ) -> BackendView | DryRun:
        """Give the backend no new connections and keep its open ones. Nothing is cut at the timeout."""
        _, ref = self._resolved(ref)

        def edit(state: Snapshot) -> Snapshot:
            return backend_edits.drain(
                state,
                ref,
                address,
                self._context(),
                timeout_seconds=timeout_seconds,
                quiet_seconds=quiet_seconds,
                if_match=if_match,
            )

        return await self._known_backend_change(ref, address, edit, dry_run)

    async def undrain(
        self, ref: str, address: str, *, if_match: int | None = None, dry_run: bool = False
    ) -> BackendView | DryRun:
        """Give the backend new connections again; ConflictError when it is in maintenance."""
        _, ref = self._resolved(ref)
        return await self._known_backend_change(
            ref,
            address,
            lambda s: backend_edits.undrain(s, ref, address, self._context(), if_match=if_match),
            dry_run,
        )

    async def put_health_check(
        self, ref: str, check: HealthCheck, *, if_match: int | None = None, dry_run: bool = False
    ) -> HealthCheck | DryRun:
        """Check the VIP's backends so. Those that serve without a check go on until it has failed `fall` times."""
        done = await self._change(lambda s: vip_edits.put_check(s, ref, check, if_match=if_match), dry_run)
        return done if isinstance(done, DryRun) else check

    async def delete_health_check(
        self, ref: str, *, if_match: int | None = None, dry_run: bool = False
    ) -> DryRun | None:
        """Check the VIP's backends no more: all are up. NotFoundError when they are not checked."""
        return _dry(await self._change(lambda s: vip_edits.delete_check(s, ref, if_match=if_match), dry_run))

    async def put_access(
        self,
        ref: str,
        allow: Sequence[str],
        deny: Sequence[str],
        *,
        if_match: int | None = None,
        dry_run: bool = False,
    ) -> AccessView | DryRun:
        """Let these prefixes in and keep those out. InvalidError names one by its place, such as `/deny/17`."""
        key, ref = self._resolved(ref)
        # Hundreds of thousands of prefixes take seconds, in which others are to be answered.
        access = await asyncio.to_thread(AccessList.parse, allow, deny, key.address.version)
        return await self._access_change(
            key, lambda s: access_edits.put_access(s, ref, access, if_match=if_match), dry_run
        )

    async def patch_access(
        self,
        ref: str,
        changes: Mapping[str, Sequence[str] | None],
        *,
        if_match: int | None = None,
        dry_run: bool = False,
    ) -> AccessView | DryRun:
        """Replace `allow` or `deny` or both; None empties one."""
        key, ref = self._resolved(ref)
        texts = changes.get("allow") or (), changes.get("deny") or ()
        access = await asyncio.to_thread(AccessList.parse, *texts, key.address.version)
        allow = access.allow if "allow" in changes else None
        deny = access.deny if "deny" in changes else None
        return await self._access_change(
            key, lambda s: access_edits.patch_access(s, ref, allow=allow, deny=deny, if_match=if_match), dry_run
        )


def _dry(done: Change | DryRun) -> DryRun | None:
    return done if isinstance(done, DryRun) else None
