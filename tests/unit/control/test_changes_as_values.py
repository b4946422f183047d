# SPDX-License-Identifier: Apache-2.0
"""A change is a request with an actor, and an outcome with its impact: the same for a dry run as for the change."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.fakes import until
from tests.unit.control.door import Door
from tests.unit.control.world import WEB, World, backend, run_in, with_backends
from xdplb.balance.hashing import TABLE_SIZE
from xdplb.control.edits.edit import Batch, DeleteBackend, DrainBackend, Edit, PatchVip, PutBackend, PutCheck, PutVip
from xdplb.control.events import DAEMON, Actor, ActorKind, ChangeMade, Event, HealthChanged
from xdplb.control.plan.impact import NO_IMPACT, Concern, Warned
from xdplb.control.plan.sentences import sentences
from xdplb.control.state.desired import Drain
from xdplb.control.state.written import all_written
from xdplb.control.writing.request import Outcome, Request
from xdplb.dataplane.features import Feature
from xdplb.model.backend import AdminState, Health
from xdplb.model.errors import PreconditionError
from xdplb.model.health import HealthCheck
from xdplb.model.role import Role
from xdplb.model.vip import Forward, HashKind, Tracking, Vip, VipKey

ONE, TWO, THREE = (ip_address(f"10.0.0.{last}") for last in (1, 2, 3))
OPERATOR = Actor(ActorKind.UNIX, uid=1000, pid=4711, user="anna", role=Role.OPERATE)
V6 = Vip(VipKey.parse("[2001:db8::10]:443/tcp"))


async def asked(door: Door, edit: Edit, **under: object) -> Outcome:
    return await door.manager.change(Request(edit=edit, **under))  # type: ignore[arg-type]


EDITS: dict[str, Edit] = {
    "add": PutBackend(WEB.key, backend(3)),
    "weigh": PutBackend(WEB.key, backend(1, weight=5)),
    "remove": DeleteBackend(WEB.key, ONE),
    "maintain": PutBackend(WEB.key, backend(1, admin_state=AdminState.MAINT)),
    "rehash": PatchVip(WEB.key, {"hash": "source"}),
    "another family": PutVip(V6),
    "several": Batch((PutBackend(WEB.key, backend(3)), DeleteBackend(WEB.key, TWO), PutCheck(WEB.key, HealthCheck()))),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_dry_run_gives_the_figures_of_the_change(tmp_path: Path, name: str) -> None:
    async def scenario(door: Door) -> None:
        await with_backends(door, 1, 2)
        foretold = await asked(door, EDITS[name], dry_run=True)
        done = await asked(door, EDITS[name])
        assert foretold.is_change
        assert foretold.impact == done.impact
        assert sentences(foretold.impact)
        assert foretold.generation == done.generation == done.after.generation

    run_in(World(tmp_path), scenario)


def test_an_impact_counts_slots_by_who_gives_and_who_gets_them(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def scenario(door: Door) -> None:
        await with_backends(door, 1, 2)
        before = world.table() & 0xFFFF
        done = await asked(door, PutBackend(WEB.key, backend(3)))
        after = world.table() & 0xFFFF
        [table] = done.impact.tables
        names = {1: ONE, 2: TWO, 3: THREE}
        moved = Counter(zip(before[before != after].tolist(), after[before != after].tolist(), strict=True))
        assert {(move.source, move.target): move.slots for move in table.moves} == {
            (names[source], names[target]): slots for (source, target), slots in moved.items()
        }
        assert table.kept == table.moved == int((before != after).sum()) > TABLE_SIZE / 4
        assert done.impact.cut_off == ()

    run_in(world, scenario)


def test_an_impact_names_whoever_is_cut_off_and_warns(tmp_path: Path) -> None:
    async def scenario(door: Door) -> None:
        await with_backends(door, 1)
        done = await asked(door, DeleteBackend(WEB.key, ONE), dry_run=True)
        assert [(each.vip, each.backend, each.served) for each in done.impact.cut_off] == [(WEB.key, ONE, True)]
        assert done.impact.warnings == (Warned(Concern.NO_BACKEND, WEB.key),)
        done = await asked(door, PatchVip(WEB.key, {"hash": HashKind.SOURCE.value}), dry_run=True)
        assert done.impact.warnings == (Warned(Concern.HASH_CHANGES, WEB.key),)
        done = await asked(door, PutVip(V6), dry_run=True)
        assert done.impact.features == {Feature.IPV6}

    run_in(World(tmp_path), scenario)


def test_recorded_flows_of_a_backend_that_is_cut_off_are_counted(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def scenario(door: Door) -> None:
        await door.put_vip(replace(WEB, tracking=Tracking.ALWAYS, idle_timeout_seconds=900))
        for last in (1, 2):
            await door.create_backend("web", backend(last))
        for port in range(5):
            world.plane.add_flow("198.51.100.7", 40000 + port, WEB.key, backend=1)
        await door.drain("web", "10.0.0.2")  # has the flow table scanned
        await until(lambda: door.backend("web", "10.0.0.1").flows == 5)
        done = await asked(door, DeleteBackend(WEB.key, ONE), dry_run=True)
        assert done.impact.flows == 5
        assert "5 recorded flows lose the backend" in sentences(done.impact)

    run_in(world, scenario)


def test_what_changes_nothing_has_no_impact_and_no_generation(tmp_path: Path) -> None:
    async def scenario(door: Door) -> None:
        await with_backends(door, 1)
        events = heard(door)
        for dry_run in (False, True):
            done = await asked(door, PutBackend(WEB.key, backend(1)), dry_run=dry_run)
            assert not done.is_change
            assert (done.impact, done.generation, done.before) == (NO_IMPACT, 2, done.after)
        assert events == []

    run_in(World(tmp_path), scenario)


def test_if_match_is_about_what_the_edit_is_about(tmp_path: Path) -> None:
    async def scenario(door: Door) -> None:
        await with_backends(door, 1, 2)  # the VIP is at 3, its backends at 2 and 3
        for edit, seen in (
            (PutBackend(WEB.key, backend(1, weight=7)), 3),
            (PutVip(Vip(WEB.key, forward=Forward.IPIP)), 2),
            (Batch((PutBackend(WEB.key, backend(1, weight=7)),)), 2),
            (PutBackend(WEB.key, backend(9)), 3),
        ):
            with pytest.raises(PreconditionError):
                await asked(door, edit, if_match=seen)
        assert door.status().generation == 3
        await asked(door, Batch((PutBackend(WEB.key, backend(1, weight=7)),)), if_match=3)
        assert door.status().generation == 4

    run_in(World(tmp_path), scenario)


def heard(door: Door) -> list[Event]:
    events: list[Event] = []
    door.manager.events.listen(events.append)
    return events


def test_a_change_is_an_event_with_its_actor(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(door: Door) -> None:
        events = heard(door)
        await asked(door, PutVip(WEB), actor=OPERATOR)
        both = Batch((PutBackend(WEB.key, backend(1)), PutBackend(WEB.key, backend(2))))
        await asked(door, both)
        await asked(door, DrainBackend(WEB.key, ONE))
        made = [event for event in events if isinstance(event, ChangeMade)]
        assert made == [
            ChangeMade(OPERATOR, 1, "put_vip", "203.0.113.10:443/tcp", None, PutVip(WEB)),
            ChangeMade(DAEMON, 2, "batch", None, None, both),
            ChangeMade(DAEMON, 3, "drain_backend", "203.0.113.10:443/tcp", "10.0.0.1", DrainBackend(WEB.key, ONE)),
        ]

    caplog.set_level("INFO")
    run_in(World(tmp_path), scenario)
    anna = "unix(uid=1000,pid=4711,user=anna,role=operate)"
    assert f"change: actor={anna} generation=1 edit=put_vip vip=203.0.113.10:443/tcp" in caplog.messages
    assert "change: actor=daemon generation=2 edit=batch" in caplog.messages
    drained = "change: actor=daemon generation=3 edit=drain_backend vip=203.0.113.10:443/tcp backend=10.0.0.1"
    assert drained in caplog.messages


@pytest.mark.parametrize(
    ("actor", "line", "data"),
    [
        (DAEMON, "daemon", {"kind": "daemon"}),
        (
            Actor(ActorKind.FILE, file="/etc/xdplb.toml", role=Role.ADMIN),
            "file(role=admin,file=/etc/xdplb.toml)",
            {"kind": "file", "role": "admin", "file": "/etc/xdplb.toml"},
        ),
        (
            Actor(ActorKind.TCP, peer="192.0.2.7:4000", certificate="CN=anna,role=admin", role=Role.READ),
            "tcp(certificate='CN=anna,role=admin',peer=192.0.2.7:4000,role=read)",
            {"kind": "tcp", "certificate": "CN=anna,role=admin", "peer": "192.0.2.7:4000", "role": "read"},
        ),
    ],
)
def test_what_is_known_of_an_actor_cannot_be_mistaken(actor: Actor, line: str, data: dict[str, str]) -> None:
    assert str(actor) == line
    assert actor.data() == data


def test_an_event_is_said_once_and_its_log_line_is_made_from_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path)

    async def scenario(door: Door) -> None:
        await with_backends(door, 1)
        await door.put_health_check("web", HealthCheck())
        events = heard(door)
        world.health.flip("10.0.0.1", Health.DOWN, "status 503\nFAKE: a line of its own")
        said = [event for event in events if isinstance(event, HealthChanged)]
        assert [(event.backend, event.health) for event in said] == [("10.0.0.1", "down")]
        assert [line for line in caplog.messages if line.startswith("health:")] == [said[0].line()]
        assert "\n" not in said[0].line(), "what comes from outside cannot begin a line"

    run_in(world, scenario)


def test_two_balancers_asked_for_the_same_drain_desire_the_same(tmp_path: Path) -> None:
    asked_at = datetime(2029, 12, 31, 23, 59, 30, tzinfo=UTC)
    desired = []

    async def scenario(door: Door) -> None:
        await with_backends(door, 1)
        done = await asked(door, DrainBackend(WEB.key, ONE), at=asked_at)
        desired.append(done.after.desired)

    for number, name in enumerate(("one", "other")):
        world = World(tmp_path / name)
        world.clock.advance(number * 7)
        run_in(world, scenario)
    assert desired[0] == desired[1]
    assert all_written(desired[0]).digest == all_written(desired[1]).digest
    assert desired[0].vips[WEB.key].backends[ONE].drain == Drain.begun(asked_at)
