# SPDX-License-Identifier: Apache-2.0
"""Probes by the way of the VIPs' packets: has the data plane let them go, and tells it where each backend's go.

The programs for that take seconds to compile, and the kernel may refuse them. Until they are there, such checks are not
run, and say why; they are never run another way.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from xdplb.control.events import DriftKind
from xdplb.control.health.health_source import CheckTargets
from xdplb.control.plan.sources import Source
from xdplb.control.writing.drifts import Drifts
from xdplb.control.writing.writer import Writer
from xdplb.dataplane.plane import DataPlane, ProbeWay, probe_mark
from xdplb.model.address import IPAddress
from xdplb.model.errors import XdplbError

__all__ = ["ProbeWays"]

_LOOK_SECONDS = 1.0
_FIRST_RETRY_SECONDS = 1.0
_LAST_RETRY_SECONDS = 60.0
_PROBES = "probes"
_LOADING = "the programs that send it by the way of the VIP's packets are being loaded"
_NO_ADDRESS = "this host has no IPv{version} address that is no VIP's, to ask for {vip} from"


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The address of the VIP that the probes of a backend go to, and the version of the backend's own address."""

    vip: IPAddress
    version: int

    @property
    def is_mixed(self) -> bool:
        return self.vip.version != self.version


class ProbeWays:
    """Used in the event loop. `on_ready` is called with the ids of backends whose probes can go now, and could not."""

    def __init__(
        self,
        plane: DataPlane,
        writer: Writer,
        drifts: Drifts,
        *,
        clock: Callable[[], float],
        on_ready: Callable[[Collection[int]], None],
    ) -> None:
        self._plane, self._writer, self._drifts = plane, writer, drifts
        self._clock, self._on_ready = clock, on_ready
        self._wanted: dict[int, _Wanted] = {}
        self._changed: set[int] = set()
        """The ids whose way is not in the data plane yet as it should be."""
        self._refused: set[int] = set()
        """Those whose probes were asked for and could not go."""
        self._mixed: set[int] = set()
        """Those of backends whose own address is of another version than their VIP's."""
        self._sources: dict[int, IPAddress | None] = {}
        self._is_open = False
        self._is_left = True
        """There may be programs of an earlier daemon, or of this one."""
        self._error = ""
        self._retry_at, self._wait = 0.0, _FIRST_RETRY_SECONDS
        self._disturbed = asyncio.Event()

    def follow(self, gone: Collection[int], targets: CheckTargets) -> None:
        """Take note that these backends are checked no more, and which of `targets` are by the way of their VIP."""
        for backend_id in gone:
            self._want(backend_id, None)
        for backend_id, checks in targets.items():
            way = next((check.way for check in checks if check.way is not None), None)
            wanted = None if way is None else _Wanted(way.address, checks[0].address.version)
            self._want(backend_id, wanted)

    def _want(self, backend_id: int, wanted: _Wanted | None) -> None:
        if self._wanted.get(backend_id) == wanted:
            return
        self._mixed.discard(backend_id)
        self._refused.discard(backend_id)
        if wanted is None:
            del self._wanted[backend_id]
        else:
            self._wanted[backend_id] = wanted
            if wanted.is_mixed:
                self._mixed.add(backend_id)
        self._changed.add(backend_id)
        self._disturbed.set()

    def source(self, backend_id: int, own: Source) -> Source:
        """Return where probes of this backend must leave from and how marked; `own` is for those to its own address.

        With an obstacle while they cannot be sent.
        """
        if own.obstacle:
            return own
        if obstacle := self._obstacle(backend_id):
            self._refused.add(backend_id)
            return Source(obstacle=obstacle, in_a_moment=obstacle == _LOADING)
        return replace(own, mark=probe_mark(backend_id))

    def _obstacle(self, backend_id: int) -> str:
        """Return why probes of this backend cannot be sent now, "" if they can."""
        wanted = self._wanted.get(backend_id)
        if self._error:
            return self._error
        if wanted is None or backend_id in self._changed or not self._is_open:
            return _LOADING
        if wanted.is_mixed and self._sources.get(wanted.vip.version) is None:
            return _NO_ADDRESS.format(version=wanted.vip.version, vip=wanted.vip)
        return ""

    async def run(self) -> None:
        """Forever: keep the programs where they belong, and what they know as it should be."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._disturbed.wait()
            self._disturbed.clear()
            try:
                await self._turn()
            except XdplbError as error:
                self._failed(error)

    async def _turn(self) -> None:
        if self._clock() < self._retry_at:
            return
        if self._wanted:
            if not self._is_open:
                await self._writer.compile(self._plane.open_probing)
                self._is_open = self._is_left = True
                self._changed.update(self._wanted)
            await self._keep()
            await self._write()
        else:
            await self._close()
        self._drifts.well(DriftKind.PROGRAM, _PROBES)
        self._error, self._retry_at, self._wait = "", 0.0, _FIRST_RETRY_SECONDS
        if ready := {number for number in self._refused if not self._obstacle(number)}:
            self._refused -= ready
            self._on_ready(ready)

    async def _close(self) -> None:
        """Remove the programs once nobody needs them."""
        if self._is_left:
            await self._writer.compile(self._plane.close_probing)
        self._is_open = self._is_left = False
        self._changed.clear()

    async def _keep(self) -> None:
        if not self._drifts.may_repair(DriftKind.PROGRAM, _PROBES):
            return
        for nic in await self._writer.read_maps(self._plane.keep_probing):
            why = f"another process has removed the tc programs of probes from {nic}; they are there again"
            self._drifts.repaired(DriftKind.PROGRAM, _PROBES, why)

    async def _write(self) -> None:
        """Write what has changed, also where this host's own addresses have."""
        sources = self._writer.host.sources(self._writer.snapshot.desired)
        found = {version: sources.of_version(version) for version in (4, 6)} if self._mixed else {}
        if found != self._sources:
            self._sources = found
            self._changed |= self._mixed
        if not self._changed:
            return
        changed = set(self._changed)
        ways = {number: self._way(self._wanted.get(number)) for number in changed}
        await self._writer.with_maps(lambda: self._plane.write_probe_ways(ways))
        self._changed -= {number for number in changed if self._way(self._wanted.get(number)) == ways[number]}

    def _way(self, wanted: _Wanted | None) -> ProbeWay | None:
        if wanted is None:
            return None
        return ProbeWay(wanted.vip, self._sources.get(wanted.vip.version) if wanted.is_mixed else None)

    def _failed(self, error: XdplbError) -> None:
        self._error = f"probes cannot be sent by the way of the VIP's packets: {error}"
        self._drifts.stands(DriftKind.PROGRAM, _PROBES, self._error)
        self._changed.update(self._wanted)  # it is not known what was written
        self._retry_at = self._clock() + self._wait
        self._wait = min(2 * self._wait, _LAST_RETRY_SECONDS)
