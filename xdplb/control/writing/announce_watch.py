# SPDX-License-Identifier: Apache-2.0
"""Announces the VIPs: keeps a routing table as it should be, in which a BGP daemon finds what to tell the routers.

A route is written once the maps have the VIP, and is withdrawn within milliseconds of the check that failed. What is
written goes by a thread of its own, so that nothing waits for the kernel. Twice a second, or less often if there are
many routes, the table is read: what others have removed is put back.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from xdplb.control.events import Announced, DriftKind, Event, Events, Withdrawn
from xdplb.control.plan.announcing import Difference, Offer, Returning, Wish, difference, metric_of, verdict_of
from xdplb.control.plan.drafts import VipDraft
from xdplb.control.plan.operating import OperatingStatus
from xdplb.control.writing.applier import Applier
from xdplb.control.writing.dirty import Dirty
from xdplb.control.writing.drifts import Drifts
from xdplb.control.writing.many_events import ManyEvents
from xdplb.control.writing.node_watch import NodeWatch
from xdplb.control.writing.threads import Worker
from xdplb.model.address import IPNetwork
from xdplb.model.announcing import AnnouncedRoute, Announcing, OnDaemonLoss
from xdplb.model.errors import XdplbError
from xdplb.model.node import NodeState
from xdplb.model.vip import Announce
from xdplb.net.route_table import RouteTable

__all__ = ["AnnounceWatch", "Announcement", "UsedTable"]

_LOOK_SECONDS = 0.5
_SHARE_OF_TIME = 50
"""A long look at the table is taken less often, so that it takes at most 1/50 of a core."""
_A_PART = 256
_MOST_VIPS = 50
"""By how many of its VIPs the event of an address is found."""
_FIRST_RETRY_SECONDS = 0.1
_LAST_RETRY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Announcement:
    """Whether the route of an address is there: its `metric`, None if not. `reason` says why not, or why so."""

    metric: int | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class UsedTable:
    """The table, and what is known of it from before.

    `is_used`: an earlier daemon has announced something, which is to go if it is no longer wanted: here, or in
    `earlier` tables, which are to have no route of ours. `begin` notes that this table is used, `settled` that no other
    one is any more; both may block.
    """

    routes: RouteTable
    is_used: bool = False
    earlier: tuple[RouteTable, ...] = ()
    begin: Callable[[], None] = lambda: None
    settled: Callable[[], None] = lambda: None


class AnnounceWatch:
    """Keeps the routes. Used in the event loop; other threads may look up what is in `shown`."""

    def __init__(
        self,
        announcing: Announcing,
        table: UsedTable,
        *,
        applier: Applier,
        node: NodeWatch,
        events: Events,
        drifts: Drifts,
        clock: Callable[[], float],
    ) -> None:
        self._announcing, self._table = announcing, table
        self._applier, self._node, self._drifts, self._clock = applier, node, drifts, clock
        self._events = ManyEvents(events)
        self._thread = Worker("xdplb-routes")
        self.shown: dict[IPNetwork, Announcement] = {}
        """Of each address that a VIP asks for, whether it is announced. Looked up, never iterated over, elsewhere."""
        self._wishes: dict[int, tuple[IPNetwork, Wish]] = {}
        """By VIP id, of those that ask for a route."""
        self._groups: dict[IPNetwork, dict[int, Wish]] = {}
        self._offers: dict[IPNetwork, Offer] = {}
        """What addresses offer that offer something: what they should, and should have for long enough."""
        self._returning: dict[IPNetwork, Returning] = {}
        self._waiting: dict[IPNetwork, float] = {}
        """When addresses that should offer more again may do so."""
        self._reasons: dict[IPNetwork, str] = {}
        self._blocks: dict[IPNetwork, str] = {}
        """Why routes that should be there could not be written."""
        self._wanted: dict[IPNetwork, int] = {}
        """The routes that should be there, with their metrics."""
        self._present: dict[IPNetwork, int] = {}
        """Those that are there, as far as is known."""
        self._changed: set[IPNetwork] = set()
        """Those that are, or may be, other than wanted."""
        self._touched: set[int] = set()
        self._is_all_touched = True
        self._came = asyncio.Event()
        self._is_used, self._has_begun, self._knows_table = table.is_used, False, False
        self._look_at, self._retry_seconds = -math.inf, 0.0

    @property
    def place(self) -> tuple[int, int]:
        """The number of the table, and the protocol of its routes."""
        return self._announcing.table, self._announcing.protocol

    def touch(self, dirty: Dirty) -> None:
        """Look at once at these VIPs, which the maps have anew."""
        if dirty.everything:
            self._is_all_touched = True
        else:
            self._touched.update(dirty.vips)
        self._came.set()

    def disturb(self) -> None:
        """Look at all addresses at once: what this node does with traffic has changed."""
        self._is_all_touched = True
        self._came.set()

    async def run(self) -> None:
        """Forever: keep the routes as they should be."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._came.wait()
            self._came.clear()
            await self._decide()
            try:
                await self._bring()
            except XdplbError as error:
                self._failed(str(error))
            except Exception as error:
                self._failed(repr(error), trace=error)

    async def stop(self) -> None:
        """Leave the routes as they are, or withdraw them, as was asked for."""
        if self._is_used and self._announcing.on_daemon_loss is OnDaemonLoss.WITHDRAW:
            with contextlib.suppress(XdplbError):
                await self._thread(self._withdraw_all)
        self._events.say_the_rest()
        await self._thread(self._table.routes.close)
        await self._thread.stop()

    def _pause(self) -> float | None:
        """Return for how long to wait if nothing comes; None: for ever, since nobody has asked for a route."""
        now, ends = self._clock(), list(self._waiting.values())
        if self._is_used:
            ends.append(self._look_at)
        return max(0.0, min(ends) - now) if ends else None

    async def _decide(self) -> None:
        """Find out which routes should be there, as far as something has changed."""
        now, drafts = self._clock(), self._applier.known.drafts
        networks = {network for network, at in self._waiting.items() if at <= now}
        if self._is_all_touched:
            self._is_all_touched, self._touched = False, set()
            ids: Collection[int] = [*drafts.keys(), *(self._wishes.keys() - drafts.keys())]
            networks |= self._groups.keys()
        else:
            ids, self._touched = self._touched, set()
        for place, vip_id in enumerate(ids):
            if place % _A_PART == _A_PART - 1:  # a flip elsewhere may have its turn
                await asyncio.sleep(0)
            networks |= self._take(vip_id, drafts.get(vip_id))
        state, nics = self._node.state, self._why_no_nic()
        for network in networks:
            self._judge(network, state, nics, now)

    def _take(self, vip_id: int, draft: VipDraft | None) -> set[IPNetwork]:
        """Note what a VIP asks for now; return the addresses about which that says something else than before."""
        before = self._wishes.get(vip_id)
        if draft is None or draft.vip.vip.announce is Announce.NEVER:
            if before is None:
                return set()
            del self._wishes[vip_id]
            return {self._leave(before[0], vip_id)}
        network, wish = draft.vip.vip.key.network, _wish_of(draft)
        if before == (network, wish):
            return set()
        concerned = {network}
        if before is not None and before[0] != network:
            concerned.add(self._leave(before[0], vip_id))
        self._wishes[vip_id] = network, wish
        self._groups.setdefault(network, {})[vip_id] = wish
        return concerned

    def _leave(self, network: IPNetwork, vip_id: int) -> IPNetwork:
        group = self._groups[network]
        del group[vip_id]
        if not group:
            del self._groups[network]
        return network

    def _why_no_nic(self) -> str:
        """Return why no NIC carries packets, empty if one does."""
        standings = self._applier.nics.standings
        if not standings or any(not standing.reason for standing in standings):
            return ""
        return standings[0].reason

    def _judge(self, network: IPNetwork, state: NodeState, nics: str, now: float) -> None:
        """Find out whether the route of an address should be there, and with which metric."""
        self._waiting.pop(network, None)
        group = self._groups.get(network)
        if group is None:
            self._offers.pop(network, None)
            self._returning.pop(network, None)
            self._want(network, None, "no VIP asks for it")
            return
        verdict = verdict_of(group.values())
        reason = verdict.reason
        if waits := self._follow(network, verdict.offer, now):
            self._waiting[network] = now + waits
            reason = f"it is well again, and is announced when it has been so for {waits:.1f} s more"
        offer = self._offers.get(network, Offer.NOTHING)
        if offer is not Offer.NOTHING:
            reason = f"no NIC carries packets: {nics}" if nics else _why_of(state) or reason
        self._want(network, None if nics else metric_of(network, state, offer), reason)

    def _follow(self, network: IPNetwork, offer: Offer, now: float) -> float:
        """Have an address offer less at once, and more when it may; return for how many seconds it must still wait."""
        held, known = self._offers.get(network, Offer.NOTHING), self._returning.get(network)
        if offer > held and known is not None and (waits := known.waits(now, is_well=True)):
            return waits
        if offer < held:
            if known is None:
                known = self._returning[network] = Returning(self._announcing.delay_seconds)
            known.withdrawn(now)
        elif known is not None:
            known.waits(now, is_well=False)  # the next step up waits anew
        if offer is Offer.NOTHING:
            self._offers.pop(network, None)
        else:
            self._offers[network] = offer
        return 0.0

    def _want(self, network: IPNetwork, metric: int | None, reason: str) -> None:
        self._reasons[network] = reason
        if metric is None:
            self._wanted.pop(network, None)
            self._blocks.pop(network, None)
            self._drifts.well(DriftKind.ANNOUNCEMENT, str(network))
        else:
            self._wanted[network] = metric
        if self._present.get(network) != metric:
            self._changed.add(network)
        else:
            self._show(network)

    async def _bring(self) -> None:
        """Bring the table to what is wanted: at once what has changed, and all of it when it is time to look."""
        if not self._is_used and not self._wanted:
            changed, self._changed = self._changed, set()
            self._show_all(changed)
            return
        if not self._has_begun:
            await self._thread(self._table.begin)
            self._has_begun = self._is_used = True
        if not self._knows_table or self._clock() >= self._look_at:
            began = time.monotonic()
            await self._changing(self._look)
            self._look_at = self._clock() + max(_LOOK_SECONDS, _SHARE_OF_TIME * (time.monotonic() - began))
        elif self._changed:
            await self._changing(self._write)
        self._retry_seconds = 0.0
        self._drifts.well(DriftKind.ANNOUNCEMENT, self._name)

    async def _changing(self, work: Callable[[set[IPNetwork]], Awaitable[None]]) -> None:
        """Have `work` bring what has changed. If it fails, it is no longer known what the table has."""
        changed, self._changed = self._changed, set()
        try:
            await work(changed)
        except BaseException:
            self._changed |= changed
            self._knows_table = False
            raise
        self._show_all(changed)

    async def _write(self, changed: set[IPNetwork]) -> None:
        """Write what has changed, without reading the table."""
        pairs = [(network, self._wanted.get(network), self._present.get(network)) for network in changed]
        differing = [(network, metric, held) for network, metric, held in pairs if metric != held]
        steps = Difference(
            add=tuple(AnnouncedRoute(network, metric) for network, metric, _ in differing if metric is not None),
            remove=tuple(AnnouncedRoute(network, held) for network, _, held in differing if held is not None),
        )
        self._written(steps, await self._thread(lambda: self._carry_out(steps)))

    async def _look(self, changed: set[IPNetwork]) -> None:
        """Read the table, and put right what is not as wanted."""
        wanted = dict(self._wanted)
        held, steps = await self._thread(lambda: self._compare(wanted))
        steps = self._allowed(steps, changed)
        if self._knows_table:
            self._tell_of_repairs(steps, changed)
            self._forget_gone(held)
        else:  # what an earlier daemon left is taken over, or goes
            self._present = held
        self._written(steps, await self._thread(lambda: self._carry_out(steps)))
        for network in steps.blocked:
            self._blocked(network, "another program has put a route of the same metric there")
        changed |= steps.blocked | {route.network for route in steps.add}
        if not self._knows_table:
            await self._thread(self._leave_earlier)
            changed |= wanted.keys()
            self._knows_table = True

    def _compare(self, wanted: Mapping[IPNetwork, int]) -> tuple[dict[IPNetwork, int], Difference]:
        """Return which routes of ours the table has, and what to do, in the thread."""
        present = self._table.routes.read()
        return {route.network: route.metric for route in present if route.ours}, difference(wanted, present)

    def _allowed(self, steps: Difference, changed: Collection[IPNetwork]) -> Difference:
        """Return the steps without repairs that another program has undone again and again just now."""
        add = tuple(
            route
            for route in steps.add
            if route.network in changed or self._drifts.may_repair(DriftKind.ANNOUNCEMENT, str(route.network))
        )
        return Difference(add, steps.remove, steps.blocked)

    def _tell_of_repairs(self, steps: Difference, changed: Collection[IPNetwork]) -> None:
        """Tell what others have done to the table; it is put right next."""
        table = f"table {self._announcing.table}"
        for route in steps.add:
            if self._present.get(route.network) == route.metric and route.network not in changed:
                name = str(route.network)
                why = f"another process has removed the route of {name} from {table}"
                self._drifts.repaired(DriftKind.ANNOUNCEMENT, name, why)
        for route in steps.remove:
            if self._present.get(route.network) != route.metric and route.network not in changed:
                name, protocol = str(route.network), self._announcing.protocol
                why = f"another process has put a route of {name} with protocol {protocol} into {table}"
                self._drifts.repaired(DriftKind.ANNOUNCEMENT, name, why)

    def _forget_gone(self, held: Mapping[IPNetwork, int]) -> None:
        """Forget routes that are not wanted any more, and that another process has removed first."""
        for network in self._present.keys() - held.keys() - self._wanted.keys():
            del self._present[network]
            self._events.say([self._withdrawn(network)])

    def _carry_out(self, steps: Difference) -> list[str]:
        """Do it, in the thread: new metrics first, so that a route that stays is never gone."""
        routes = self._table.routes
        refused = routes.add(steps.add) if steps.add else []
        if steps.remove:
            routes.remove(steps.remove)
        return refused

    def _leave_earlier(self) -> None:
        for earlier in self._table.earlier:
            earlier.remove([route for route in earlier.read() if route.ours])
            earlier.close()
        self._table.settled()

    def _withdraw_all(self) -> None:
        routes = self._table.routes
        routes.remove([route for route in routes.read() if route.ours])

    def _written(self, steps: Difference, refused: Iterable[str]) -> None:
        """Note what the table has now, and tell it."""
        events: list[Event] = []
        for route, why in zip(steps.add, refused, strict=True):
            if why:
                self._blocked(route.network, why)
                self._look_at = -math.inf
                continue
            before, self._present[route.network] = self._present.get(route.network), route.metric
            self._blocks.pop(route.network, None)
            self._drifts.well(DriftKind.ANNOUNCEMENT, str(route.network))
            if before != route.metric:
                vips = self._vips_of(route.network)
                events.append(Announced(_address_text(route.network), route.metric, vips))
        for route in steps.remove:
            if self._present.get(route.network) == route.metric:
                del self._present[route.network]
                events.append(self._withdrawn(route.network))
        self._events.say(events)

    def _withdrawn(self, network: IPNetwork) -> Withdrawn:
        reason = self._reasons.get(network, "no VIP asks for it")
        return Withdrawn(_address_text(network), reason, self._vips_of(network))

    def _blocked(self, network: IPNetwork, why: str) -> None:
        self._blocks[network] = why
        reason = f"{network} is not announced: {why}, in table {self._announcing.table}"
        self._drifts.stands(DriftKind.ANNOUNCEMENT, str(network), reason)

    def _vips_of(self, network: IPNetwork) -> tuple[str, ...]:
        return tuple(wish.vip for wish in list(self._groups.get(network, {}).values())[:_MOST_VIPS])

    def _show_all(self, networks: Iterable[IPNetwork]) -> None:
        for network in networks:
            self._show(network)

    def _show(self, network: IPNetwork) -> None:
        if network in self._groups:
            reason = self._blocks.get(network) or self._reasons.get(network, "")
            self.shown[network] = Announcement(self._present.get(network), reason)
        else:
            self.shown.pop(network, None)
            self._reasons.pop(network, None)

    @property
    def _name(self) -> str:
        return f"table {self._announcing.table}"

    def _failed(self, why: str, *, trace: BaseException | None = None) -> None:
        self._retry_seconds = min(max(2 * self._retry_seconds, _FIRST_RETRY_SECONDS), _LAST_RETRY_SECONDS)
        self._look_at = self._clock() + self._retry_seconds
        reason = f"what is announced in table {self._announcing.table} is not as it should be: {why}"
        self._drifts.stands(DriftKind.ANNOUNCEMENT, self._name, reason, trace=trace)


def _wish_of(draft: VipDraft) -> Wish:
    vip, standing = draft.vip.vip, draft.standing(nics_carry=True)
    ailing, strained = "", ""
    if not standing.min_serving_met:
        serve = "1 backend serves" if standing.serving == 1 else f"{standing.serving} backends serve"
        ailing = f"{vip.key}: {serve}, and {standing.needed} must"
    elif standing.status is OperatingStatus.FAILING_OPEN:
        strained = f"{vip.key} fails open, so other nodes are preferred: backends that are not healthy get connections"
    return Wish(str(vip.key), vip.announce, ailing, strained)


def _why_of(state: NodeState) -> str:
    return "" if state is NodeState.SERVING else f"this node is {state.value}"


def _address_text(network: IPNetwork) -> str:
    return str(network.network_address if network.prefixlen == network.max_prefixlen else network)
