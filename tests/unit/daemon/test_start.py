# SPDX-License-Identifier: Apache-2.0
"""A start on maps that carry traffic: which states are taken, which are refused, and how to go on without one."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.control.door import Door
from tests.unit.control.world import WEB, World, backend, with_backends
from xdplb.balance.slots import unpack
from xdplb.control.plan import plan
from xdplb.control.plan.drafting import draft
from xdplb.control.plan.drafts import VipDraft
from xdplb.control.state.snapshot import BoundVip, Snapshot
from xdplb.control.state.sqlite import SqliteStore
from xdplb.control.writing import applier
from xdplb.daemon.options import ApiOptions, DaemonOptions, Otherwise
from xdplb.daemon.start import state_at_start
from xdplb.dataplane.plane import Mark
from xdplb.model.backend import AdminState, Backend, BackendRole
from xdplb.model.errors import ConflictError, PlatformError, StateError
from xdplb.model.health import CheckType, HealthCheck, Target
from xdplb.model.vip import AllUnhealthy, Forward, HashKind, RateLimits, Scheduler, Tracking, Vip, VipKey, VlanTags

CHECK = HealthCheck(CheckType.TCP, target=Target.VIP)
PLAIN = [Vip(VipKey.parse(f"203.0.113.{100 + number}:80/tcp")) for number in range(9)]


class Host:
    """A world whose daemon starts as `xdplb up` does: with a look at the state before the manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = World(folder)

    @property
    def file(self) -> Path:
        return self.folder / "state.db"

    def start(self, otherwise: Otherwise | None = None, *, booted: bool = False) -> Snapshot:
        options = DaemonOptions(("eth0",), "auto", ApiOptions(()), self.folder, Path("/pins"), otherwise=otherwise)
        with closing(SqliteStore(self.folder)) as store:
            state = state_at_start(options, store, None if booted else self.world.plane)
            store.told()  # it is left open, however the state was found: the daemon goes on with it
            return state

    def run(self, scenario: Callable[[Door], Awaitable[object]], otherwise: Otherwise | None = None) -> None:
        self.start(otherwise)

        async def inner() -> None:
            async with self.world.running() as door:
                await scenario(door)

        asyncio.run(inner())

    def refused(self, *, booted: bool = False) -> str:
        """Return the sentence of a start that is refused, and has changed nothing."""
        there = sorted(self.folder.iterdir()) if self.folder.exists() else None
        writes = self.world.writes()
        with pytest.raises(ConflictError) as raised:
            self.start(booted=booted)
        assert raised.value.exit_code == 4
        assert (sorted(self.folder.iterdir()) if self.folder.exists() else None) == there
        assert self.world.writes() == writes
        return str(raised.value)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host that balances web on two backends, generation 3, and has been stopped."""
    made = Host(tmp_path / "state")
    made.run(lambda door: with_backends(door, 1, 2))
    return made


async def nothing(_: Door) -> None:
    pass


def test_maps_are_marked_with_the_generation_that_they_hold(host: Host) -> None:
    instance = host.world.plane.read_mark()
    assert instance is not None
    assert instance.generation == 3

    async def scenario(door: Door) -> None:
        world = host.world
        world.plane.fail("write_table", PlatformError("no memory"), times=1)
        with pytest.raises(PlatformError, match="the change is saved"):
            await door.create_backend("web", backend(3))
        mark = world.plane.read_mark()
        assert mark is not None
        assert mark.generation in {3, 4}  # 4 only once the change has been tried again
        await door.create_backend("web", backend(4))
        assert world.plane.read_mark() == Mark(instance.instance, 5)

    host.run(scenario)
    assert host.start().generation == 5


def test_a_state_that_is_newer_than_the_maps_goes_on(host: Host) -> None:
    mark = host.world.plane.read_mark()
    assert mark is not None
    host.world.plane.write_mark(replace(mark, generation=2))
    assert host.start().generation == 3


def test_the_state_is_read_once_and_nobody_else_gets_it_before_the_daemon(host: Host) -> None:
    options = DaemonOptions(("eth0",), "auto", ApiOptions(()), host.folder, Path("/pins"))
    with closing(SqliteStore(host.folder)) as store, ThreadPoolExecutor() as thread:
        state = state_at_start(options, store, host.world.plane)
        with pytest.raises(ConflictError):
            SqliteStore(host.folder).open()
        opened, health = thread.submit(store.open).result()
        assert opened is state
        assert len(health) == 2
        thread.submit(store.save_health, health).result()
        thread.submit(store.close).result()


def test_a_restart_drafts_each_vip_once(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    drafted = []

    def counted(vip: BoundVip, *rest: Any) -> VipDraft:
        drafted.append(vip.id)
        return draft(vip, *rest)

    for module in (applier, plan):
        monkeypatch.setattr(module, "draft", counted)
    host.run(nothing)
    assert len(drafted) == 1


def test_an_empty_state_over_maps_in_use_is_refused(host: Host) -> None:
    mark = host.world.plane.read_mark()
    assert mark is not None
    shutil.rmtree(host.folder)
    said = host.refused()
    assert f"the state in {host.file} has no VIPs, and the maps in /pins carry traffic" in said
    assert "(state: no instance, VIPs 0, backends 0; " in said
    assert f"maps: instance {mark.instance:016x}, generation 3, VIPs 1, backends 2)" in said
    assert "--adopt-maps" in said
    assert "--discard-maps" in said


def test_an_empty_file_is_an_empty_state(host: Host) -> None:
    for path in host.folder.iterdir():
        path.unlink()
    host.file.touch()
    with pytest.raises(ConflictError, match="has no VIPs, and the maps in /pins carry traffic"):
        host.start()


def test_an_older_state_is_refused(host: Host, tmp_path: Path) -> None:
    shutil.copytree(host.folder, tmp_path / "backup")
    host.run(lambda door: door.create_backend("web", backend(3)))
    shutil.rmtree(host.folder)
    shutil.copytree(tmp_path / "backup", host.folder)
    said = host.refused()
    assert "is older than the maps" in said
    assert "generation 3, VIPs 1, backends 2; maps: " in said
    assert "generation 4, VIPs 1, backends 3)" in said


def test_another_balancers_state_is_refused(host: Host, tmp_path: Path) -> None:
    other = Host(tmp_path / "other")
    other.run(lambda door: with_backends(door, 7, 8, 9))
    host.folder = other.folder
    assert "is not the one that the maps were filled from" in host.refused()


@pytest.mark.parametrize("further", [0, 1], ids=["as new", "newer"])
def test_a_copied_state_that_has_gone_its_own_way_is_refused(host: Host, tmp_path: Path, further: int) -> None:
    twin = Host(tmp_path / "twin")
    shutil.copytree(host.folder, twin.folder)
    shutil.copytree(host.folder, tmp_path / "seed")

    async def apart(door: Door) -> None:
        await door.create_vip(PLAIN[0])
        await door.delete_vip("web")
        for number in range(further):
            await door.create_vip(PLAIN[1 + number])

    async def otherwise(door: Door) -> None:
        await door.create_backend("web", backend(3))
        await door.create_backend("web", backend(4))

    twin.run(apart)
    host.run(otherwise)
    host.folder = twin.folder
    assert "is not the one that the maps were filled from" in host.refused()


def test_maps_of_a_version_that_did_not_mark_them(host: Host, tmp_path: Path) -> None:
    host.world.plane._mark = None
    assert host.start().generation == 3
    other = Host(tmp_path / "other")
    other.run(lambda door: door.create_vip(PLAIN[0]))
    host.folder = other.folder
    assert "maps: no instance, VIPs 1, backends 2)" in host.refused()
    host.folder = tmp_path / "none"
    assert "has no VIPs" in host.refused()


def test_maps_without_vips_go_with_any_state(tmp_path: Path) -> None:
    host = Host(tmp_path / "state")
    host.run(nothing)
    other = Host(tmp_path / "other")
    other.run(lambda door: with_backends(door, 1))
    host.folder, host.world.path = other.folder, other.folder
    host.run(nothing)
    assert host.world.plane.read_vips().keys() == {0}
    mark = host.world.plane.read_mark()
    host.folder = tmp_path / "fresh"
    assert "has no VIPs" in host.refused()
    assert host.world.plane.read_mark() == mark


def test_maps_that_are_gone_are_a_cold_start(host: Host) -> None:
    assert host.start(booted=True).generation == 3
    shutil.rmtree(host.folder)
    assert host.start(booted=True) == Snapshot()


def cut_off(host: Host) -> None:
    """Leave what a kill -9 leaves after a change, with the last half of the write-ahead log missing."""

    async def scenario(door: Door) -> None:
        await door.create_backend("web", backend(3))
        shutil.copytree(host.folder, host.folder.with_name("killed"))

    host.run(scenario)
    shutil.rmtree(host.folder)
    host.folder.with_name("killed").rename(host.folder)
    log = host.folder / "state.db-wal"
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size // 2)


def test_a_write_ahead_log_that_was_cut_is_noticed(host: Host) -> None:
    cut_off(host)
    with pytest.raises(ConflictError, match=r"is older than the maps.*generation 3, VIPs 1.*generation 4, VIPs 1"):
        host.start()


def test_a_write_ahead_log_that_was_cut_is_noticed_without_maps(host: Host) -> None:
    cut_off(host)
    with pytest.raises(ConflictError, match=r"lacks changes that were acknowledged.*acknowledged: generation 4"):
        host.start(booted=True)
    with pytest.raises(ConflictError, match="lacks changes"):
        host.start(Otherwise.ADOPT, booted=True)
    assert host.start(Otherwise.DISCARD, booted=True).generation == 3
    assert host.start(booted=True).generation == 3


def test_discarding_the_maps_gives_them_what_the_state_has(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(host.folder)
    host.run(nothing, Otherwise.DISCARD)
    assert "has no VIPs: --discard-maps goes on with it" in caplog.text
    assert host.world.plane.read_vips() == {}
    host.run(nothing)


def test_a_kill_before_the_maps_are_discarded_changes_nothing_about_the_refusal(host: Host) -> None:
    shutil.rmtree(host.folder)
    host.start(Otherwise.DISCARD)
    with pytest.raises(ConflictError, match="has no VIPs, and the maps"):
        host.start()


@pytest.mark.parametrize("otherwise", Otherwise)
def test_an_option_that_is_not_needed_says_so(
    host: Host, otherwise: Otherwise, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level("INFO")
    assert host.start(otherwise).generation == 3
    assert f"{otherwise} was not needed: the state belongs to the maps" in caplog.text
    new = Host(tmp_path / "new")
    assert new.start(otherwise) == Snapshot()
    assert f"{otherwise} was not needed: no maps with VIPs are in use" in caplog.text


MEDIA = VipKey.parse("203.0.113.17:5000-5999/udp")


async def every_kind(door: Door) -> None:
    """Make VIPs of every kind, and backends in every situation."""
    await door.create_vip(
        replace(WEB, all_unhealthy=AllUnhealthy.FAIL_CLOSED, limits=RateLimits(packets=1000), vlan=VlanTags.KEEP)
    )
    await door.replace_backends("web", [backend(n, weight=w) for n, w in ((1, 2), (2, 5), (3, 10), (4, 0), (5, 4))])
    await door.drain("web", "10.0.0.5")
    await door.put_access("web", [], ["100.64.0.0/10"])
    kinds = (
        ("203.0.113.11:80/tcp", Scheduler.WRR),
        ("203.0.113.12:80/tcp+udp", Scheduler.RR),
        ("203.0.113.13:0/udp", Scheduler.WLC),
        ("203.0.113.14:1000-2000/tcp", Scheduler.LC),
        ("[2001:db8::/64]:443/tcp", Scheduler.P2C),
        ("[2001:db8::1]:443/udp", Scheduler.SH),
    )
    for text, scheduler in kinds:
        key = VipKey.parse(text)
        tracking = Tracking.ALWAYS
        await door.create_vip(Vip(key, forward=Forward.IPIP, scheduler=scheduler, tracking=tracking))
        asked = [Backend(ip_address(f"10.0.1.{n}"), n, Forward.GUE if n == 3 else None) for n in (1, 2, 3)]
        await door.replace_backends(text, [*asked, replace(backend(9), admin_state=AdminState.MAINT)])
    await door.create_vip(Vip(VipKey.parse("203.0.113.15:80/tcp"), hash=HashKind.SOURCE))
    await door.create_vip(Vip(VipKey.parse("203.0.113.16:80/tcp"), hash=HashKind.ADDRESSES))
    await door.create_vip(Vip(MEDIA, hash=HashKind.DESTINATION_PORT, all_unhealthy=AllUnhealthy.REJECT))
    await door.create_backend("web", backend(77))
    await door.delete_backend("web", "10.0.0.77")


def test_what_the_maps_hold_is_adopted_and_stays_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    host = Host(tmp_path / "state")
    host.run(every_kind)
    before, plane = host.start(), host.world.plane
    vips, tables = plane.read_vips(), {vip_id: host.world.table(vip_id) for vip_id in plane.read_vips()}
    backends = plane.read_backends()
    shutil.rmtree(host.folder)
    assert "has no VIPs" in host.refused()
    host.run(nothing, Otherwise.ADOPT)
    state = host.start()
    assert plane.read_vips() == vips
    assert plane.read_backends() == backends
    for vip_id, table in tables.items():
        now, key = host.world.table(vip_id), vips[vip_id].key
        if key != WEB.key:
            assert np.array_equal(now, table), key
        else:  # what the drained backend weighed is not known, so that some of its slots go to others than before
            (owners, previous), (before_owners, before_previous) = unpack(now), unpack(table)
            moved = owners != before_owners
            assert moved.mean() < 0.1
            # In slots that were moving already, each connection has a record, or is with the drained one.
            stay = (previous == before_owners) | ((previous == before_previous) & (previous != 0))
            assert stay[moved].all()
    assert state.generation == before.generation + 1
    assert state.bindings.vips.keys() == before.bindings.vips.keys()
    for key, vip in before.vips.items():
        made = state.vips[key]
        assert (made.id, dict(state.bindings.vips[key].backends)) == (vip.id, dict(before.bindings.vips[key].backends))
        kept = replace(made.vip, name=vip.vip.name, all_unhealthy=vip.vip.all_unhealthy)
        assert kept == (vip.vip if vip.backends else replace(vip.vip, forward=Forward.DR))
        assert made.access == vip.access
    assert state.vips[MEDIA].vip.all_unhealthy is AllUnhealthy.REJECT
    web = {str(address): one.backend for address, one in state.vips[WEB.key].backends.items()}
    assert {address: one.weight for address, one in web.items()} == {
        "10.0.0.1": 2,
        "10.0.0.2": 5,
        "10.0.0.3": 10,
        "10.0.0.4": 0,
        "10.0.0.5": 0,
    }
    assert {one.admin_state for one in web.values()} == {AdminState.READY}
    for text, weights in (("203.0.113.11:80/tcp", [1, 2, 3]), ("203.0.113.13:0/udp", [1, 2, 3])):
        found = state.vips[VipKey.parse(text)].backends
        assert [found[ip_address(f"10.0.1.{n}")].backend.weight for n in (1, 2, 3)] == weights
        assert found[ip_address("10.0.1.3")].backend.forward is Forward.GUE
        assert found[ip_address("10.0.0.9")].backend.admin_state is AdminState.MAINT
    assert "there was none before" in caplog.text
    assert f"adopted {WEB.key}: its name and health check" in caplog.text
    assert f"adopted {WEB.key}: 10.0.0.5 got no new connections: its weight is 0 now" in caplog.text
    assert "10.0.0.9 got no packets: it is in maintenance now" in caplog.text


def test_an_older_state_tells_what_the_maps_do_not(host: Host, tmp_path: Path) -> None:
    async def first(door: Door) -> None:
        await door.put_health_check("web", CHECK)
        await door.create_vip(PLAIN[0])
        await door.patch_backend("web", "10.0.0.1", {"weight": 20})
        await door.patch_backend("web", "10.0.0.2", {"weight": 20})

    async def then(door: Door) -> None:
        await door.delete_vip(str(PLAIN[0].key))
        await door.create_backend("web", backend(3, weight=40))
        await door.drain("web", "10.0.0.2")

    host.run(first)
    shutil.copytree(host.folder, tmp_path / "backup")
    host.run(then)
    table = host.world.table()
    shutil.rmtree(host.folder)
    shutil.copytree(tmp_path / "backup", host.folder)
    assert "is older" in host.refused()
    host.run(nothing, Otherwise.ADOPT)
    state = host.start()
    assert np.array_equal(host.world.table(), table)
    assert state.vips.keys() == {WEB.key}
    web = state.vips[WEB.key]
    assert (web.vip, web.checks) == (WEB, (CHECK,))
    assert {str(address): one.backend.weight for address, one in web.backends.items()} == {
        "10.0.0.1": 20,
        "10.0.0.2": 20,
        "10.0.0.3": 0,  # it waits for its check, which is not to be told from a drain
    }
    kept = host.folder / "state.db.replaced-1"
    assert SqliteStore(tmp_path / "backup").open()[0].vips.keys() == {WEB.key, PLAIN[0].key}
    assert kept.exists()


@pytest.mark.parametrize("scheduler", [Scheduler.MAGLEV, Scheduler.WLC])
def test_policies_are_of_the_older_state_and_a_part_of_a_weight_is_not_taken_for_one(
    host: Host, tmp_path: Path, scheduler: Scheduler
) -> None:
    asked = {"min_serving": "50%", "panic_share": 0.5, "slow_start_seconds": 30, "all_unhealthy": "last-good"}

    async def first(door: Door) -> None:
        await door.patch_vip("web", {**asked, "scheduler": scheduler, "tracking": "always"})
        await door.patch_backend("web", "10.0.0.1", {"weight": 20, "max_new_flows": 7})
        await door.create_backend("web", backend(9, role=BackendRole.BACKUP))

    async def then(door: Door) -> None:
        await door.drain("web", "10.0.0.2")
        await door.undrain("web", "10.0.0.2")

    host.run(first)
    shutil.copytree(host.folder, tmp_path / "backup")
    before = host.start()
    host.run(then)
    shutil.rmtree(host.folder)
    shutil.copytree(tmp_path / "backup", host.folder)
    host.run(nothing, Otherwise.ADOPT)
    web = host.start().vips[WEB.key]
    assert web.vip == before.vips[WEB.key].vip
    assert {str(address): one.backend for address, one in web.backends.items()} == {
        str(address): one.backend for address, one in before.vips[WEB.key].backends.items()
    }


@pytest.mark.parametrize("call", ["link", "replace", "rename", "fsync", "unlink"])
def test_adopting_can_be_tried_again_whenever_it_was_killed(
    host: Host, tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.run(lambda door: door.put_health_check("web", CHECK))
    shutil.copytree(host.folder, tmp_path / "backup")
    host.run(lambda door: door.create_backend("web", backend(3)))
    done = getattr(os, call)
    for number in range(1, 20):
        shutil.rmtree(host.folder)
        shutil.copytree(tmp_path / "backup", host.folder)
        left = number

        def killed(*arguments: Any, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
            return done(*arguments, **more)

        with monkeypatch.context() as patched, suppress(KeyboardInterrupt):
            patched.setattr(os, call, killed)
            host.start(Otherwise.ADOPT)
        state = host.start(Otherwise.ADOPT)
        web = state.vips[WEB.key]
        assert (web.vip.name, web.checks, len(web.backends)) == (WEB.name, (CHECK,), 3)
        if left > 0:
            break
    else:
        pytest.fail("it has no end")


def test_a_state_that_cannot_be_read_is_said_before_the_maps_are_compared(host: Host) -> None:
    for path in host.folder.iterdir():
        path.unlink()
    host.file.write_bytes(b"nonsense" * 1000)
    for otherwise in (None, *Otherwise):
        with pytest.raises(StateError, match="is damaged"):
            host.start(otherwise)
    host.file.unlink()
    host.file.mkdir()
    with pytest.raises(StateError, match="cannot be opened"):
        host.start()


def test_a_symbolic_link_is_followed(host: Host, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    for path in host.folder.iterdir():
        path.rename(tmp_path / "real" / path.name)
    host.file.symlink_to(tmp_path / "real" / "state.db")
    assert host.start().generation == 3
    host.run(lambda door: door.create_backend("web", backend(3)))
    assert host.file.is_symlink()
    assert host.start().generation == 4
