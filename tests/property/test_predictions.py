# SPDX-License-Identifier: Apache-2.0
"""What a dry run says of connections at risk, compared with those that break: zero is zero, and at most is at most."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.property.counted_plane import CountedPlane
from tests.property.packets import Flow
from tests.unit.control.door import Door
from tests.unit.control.world import World, backend
from xdplb.control.edits import edit as edits
from xdplb.control.edits.edit import Edit
from xdplb.control.plan.impact import Cause
from xdplb.control.writing.request import Request
from xdplb.model.errors import XdplbError
from xdplb.model.vip import Scheduler, Tracking, Vip, VipKey

KEY = VipKey.parse("203.0.113.10:80/tcp")
UDP = VipKey.parse("203.0.113.10:80/udp")
IDLE_SECONDS = 60
CONNECTIONS = 60
ADDRESSES = [backend(last).address for last in range(1, 5)]

numbers = st.sampled_from(ADDRESSES)


def edits_of(key: VipKey) -> st.SearchStrategy[Edit]:
    """Return what may be done to this VIP, in any order."""
    single = st.one_of(
        st.builds(edits.DrainBackend, st.just(key), numbers),
        st.builds(edits.UndrainBackend, st.just(key), numbers),
        st.builds(edits.DeleteBackend, st.just(key), numbers),
        st.builds(lambda last: edits.PutBackend(key, backend(last)), st.integers(1, 4)),
        st.builds(
            edits.PatchBackend,
            st.just(key),
            numbers,
            st.sampled_from(
                [
                    *({"weight": 0}, {"weight": 1}, {"weight": 4}, {"admin_state": "maint"}, {"admin_state": "ready"}),
                    *({"forward": "ipip"}, {"forward": None}, {"role": "backup"}, {"role": "primary"}),
                ]
            ),
        ),
        st.builds(
            edits.PatchVip,
            st.just(key),
            st.sampled_from(
                [
                    *({"hash": "source"}, {"hash": "5-tuple"}, {"forward": "ipip"}, {"forward": "dr"}),
                    *({"scheduler": "rr"}, {"scheduler": "wlc"}, {"scheduler": "maglev"}, {"tracking": "always"}),
                    *({"tracking": "auto"}, {"on_unhealthy": "keep"}, {"idle_timeout_seconds": 20}),
                    *({"idle_timeout_seconds": 60}, {"scheduler": "maglev", "tracking": "auto"}),
                    # The steps of so long a ramp come with changes alone.
                    *({"min_serving": 2}, {"slow_start_seconds": 3600}, {"slow_start_seconds": 0}),
                ]
            ),
        ),
        st.builds(
            lambda lasts: edits.ReplaceBackends(key, tuple(backend(last) for last in lasts)),
            st.sets(st.integers(1, 4), min_size=1),
        ),
        st.just(edits.DeleteVip(key)),
        st.just(edits.PutVip(Vip(key, idle_timeout_seconds=IDLE_SECONDS))),
    )
    several = st.lists(single, min_size=2, max_size=3).map(lambda parts: edits.Batch(tuple(parts)))
    return st.one_of(single, single, several)


WAITS = st.sampled_from([0.0, 0.0, 0.0, 1.5, 15.0, 59.0, 61.0, 130.0])


@dataclass
class Connection:
    """A connection with its backend, when it spoke last, and how many changes had been made then."""

    flow: Flow
    backend: tuple[int, int]
    spoke: float
    changes: int
    is_shy: bool
    """It speaks at the last moment alone."""


class Clients:
    """Clients with open connections, and what changes were said to break at most."""

    def __init__(self, world: World, plane: CountedPlane) -> None:
        self._world, self._plane = world, plane
        self._ports = count(20000)
        self.idle_seconds = float(IDLE_SECONDS)
        self.open: list[Connection] = []
        self.left: list[int] = []
        """By change, how many connections may still break by it."""
        self.broke = 0

    def dial(self, most: int) -> None:
        """Open connections until there are so many."""
        while len(self.open) < most:
            flow = Flow("198.51.100.7", next(self._ports))
            heard = self._plane.syn(flow)
            if heard is None or self._plane.ack(flow) != heard:
                return
            shy = flow.source_port % 3 == 0
            self.open.append(Connection(flow, heard, self._world.clock.seconds, len(self.left), shy))

    def speak(self, seconds: float, *, all_of_them: bool = False) -> None:
        """Let connections speak before so many seconds pass: all that are not shy, and those that would be silent."""
        now = self._world.clock.seconds
        for one in list(self.open):
            if all_of_them or not one.is_shy or now + seconds - one.spoke > self.idle_seconds - 1:
                self._speak(one, now)

    def _speak(self, one: Connection, now: float) -> None:
        heard = self._plane.ack(one.flow)
        if heard == one.backend:
            one.spoke, one.changes = now, len(self.left)
            return
        self.open.remove(one)
        self.broke += 1
        for change in range(one.changes, len(self.left)):
            if self.left[change]:
                self.left[change] -= 1
                return
        raise AssertionError(f"a connection of {one.backend} went to {heard}, and none was to break; left: {self.left}")


async def predict(door: Door, clients: Clients, edit: Edit, seen: Counter[str]) -> None:
    """Make a change, with what its dry run says of it."""
    try:
        foretold = await door.manager.change(Request(edit=edit, dry_run=True))
        done = await door.manager.change(Request(edit=edit))
    except XdplbError:
        return
    number = foretold.impact.at_risk
    assert number.expected is not None
    assert number.at_most is not None
    assert number.expected <= number.at_most
    clients.left.append(number.at_most)
    seen.update(risk.cause for risk in done.impact.risks)
    seen["zero"] += done.is_change and number.at_most == 0
    vip = next(iter(done.after.vips.values()), None)
    if vip is not None and vip.vip.idle_timeout_seconds != clients.idle_seconds:
        clients.idle_seconds = float(vip.vip.idle_timeout_seconds)
        clients.speak(0, all_of_them=True)  # whoever was silent for longer is not open any more
    clients.speak(0)


async def settle() -> None:
    """Let the flow table be read, and slots settle."""
    await asyncio.sleep(0.012)


async def play(path: Path, start: Vip, happenings: list[tuple[Edit, float]], seen: Counter[str]) -> Clients:
    world = World(path)
    plane = CountedPlane(start.key, lambda: world.clock.seconds)
    world.plane = plane
    clients = Clients(world, plane)
    async with world.running() as door:
        await door.create_vip(start)
        for last in (1, 2, 3):
            await door.create_backend(str(start.key), backend(last))
        clients.dial(CONNECTIONS)
        for edit, seconds in happenings:
            await predict(door, clients, edit, seen)
            clients.dial(CONNECTIONS)
            left = seconds
            while left > 0:
                step = min(left, clients.idle_seconds - 2)
                clients.speak(step)
                world.clock.advance(step)
                await settle()
                left -= step
        clients.speak(0, all_of_them=True)
    return clients


STARTS = {
    "auto": Vip(KEY, idle_timeout_seconds=IDLE_SECONDS),
    "always": Vip(KEY, idle_timeout_seconds=IDLE_SECONDS, tracking=Tracking.ALWAYS),
    "udp": Vip(UDP, idle_timeout_seconds=IDLE_SECONDS),
    "udp always": Vip(UDP, idle_timeout_seconds=IDLE_SECONDS, tracking=Tracking.ALWAYS),
    "rr": Vip(KEY, idle_timeout_seconds=IDLE_SECONDS, scheduler=Scheduler.RR),
}


@pytest.mark.parametrize("start", STARTS)
@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate],  # making a failure smaller takes minutes
)
@given(st.data())
def test_no_more_connections_break_than_a_dry_run_says(start: str, data: st.DataObject) -> None:
    happenings = data.draw(st.lists(st.tuples(edits_of(STARTS[start].key), WAITS), min_size=5, max_size=14))
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder), STARTS[start], happenings, Counter()))


def test_the_clients_see_what_breaks(tmp_path: Path) -> None:
    """So that the test above does not pass since nothing ever breaks."""
    seen: Counter[str] = Counter()
    happenings: list[tuple[Edit, float]] = [
        (edits.PatchVip(KEY, {"hash": "source"}), 1.5),
        (edits.DrainBackend(KEY, ADDRESSES[0]), 130.0),
        (edits.DeleteBackend(KEY, ADDRESSES[1]), 1.5),
    ]
    clients = asyncio.run(play(tmp_path, STARTS["auto"], happenings, seen))
    assert clients.broke > CONNECTIONS / 6
    assert {Cause.HASH, Cause.CUT_OFF, "zero"} <= seen.keys()
