# SPDX-License-Identifier: Apache-2.0
"""VIPs of all kinds through the manager: what the maps then hold, and what is refused."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from tests.fakes import until
from tests.unit.control.door import Door
from tests.unit.control.world import WEB, WRITES, World, backend, run, with_backends
from xdplb.balance.held_table import HeldTable
from xdplb.balance.slots import unpack
from xdplb.control.answers.views import AccessView
from xdplb.control.writing import writer
from xdplb.dataplane.features import Feature
from xdplb.dataplane.layout import FLOW_ESTABLISHED, FLOW_FIN
from xdplb.dataplane.plane import VipCounters
from xdplb.model.access import AccessList
from xdplb.model.backend import AdminState, Backend
from xdplb.model.errors import CapacityError, ConflictError, InvalidError, PlatformError, XdplbError
from xdplb.model.health import CheckType, HealthCheck
from xdplb.model.vip import Forward, QuicIds, Scheduler, Vip, VipKey

WEB6 = Vip(VipKey.parse("[2001:db8::10]:443/tcp"), name="web6", forward=Forward.IPIP)
QUIC = Vip(VipKey.parse("203.0.113.10:443/udp"), name="quic", quic=QuicIds(2))
BLOCKED = ["192.0.2.0/24", "198.51.100.7"]


# --- schedulers -------------------------------------------------------------------------------------------------------


def test_turns_change_with_who_serves_and_no_slot_moves(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await manager.create_vip(Vip(WEB.key, name="web", scheduler=Scheduler.RR))
        for last in (1, 2, 3):
            await manager.create_backend("web", backend(last, weight=last))
        assert unpack(world.table())[0][:6].tolist() == [1, 2, 3, 1, 2, 3]
        await manager.drain("web", "10.0.0.2")
        assert unpack(world.table())[0][:4].tolist() == [1, 3, 1, 3]
        assert HeldTable.of(world.table()).counts.steady == len(world.table())

    run(tmp_path, scenario)


def test_the_least_loaded_is_found_among_those_that_serve(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await manager.create_vip(WEB6)
        await manager.create_vip(Vip(WEB.key, name="web", scheduler=Scheduler.WLC))
        for last in (1, 2, 3):
            await manager.create_backend("web", backend(last, weight=last))
        assert world.plane.read_vips()[1].candidates == 3
        assert {entry.weight for entry in world.plane.read_backends().values()} == {1, 2, 3}
        await manager.patch_backend("web", "10.0.0.2", {"admin_state": AdminState.MAINT})
        world.hops.lose("10.0.0.3")
        await until(lambda: world.plane.read_vips()[1].candidates == 1)
        assert [entry.key for entry in world.plane.read_vips().values()] == [WEB6.key, WEB.key]

    run(tmp_path, scenario)


def test_loads_are_the_open_connections_that_a_scan_sees(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await manager.create_vip(Vip(WEB.key, name="web", scheduler=Scheduler.LC, idle_timeout_seconds=60))
        for last in (1, 2):
            await manager.create_backend("web", backend(last))
        for port in (1, 2, 3):
            world.plane.add_flow("198.51.100.7", port, WEB.key, backend=1)
        world.plane.add_flow("198.51.100.7", 4, WEB.key, backend=1, flags=FLOW_ESTABLISHED | FLOW_FIN)
        world.plane.add_flow("198.51.100.7", 5, WEB.key, backend=1, age=100)
        await until(lambda: world.plane.loads == {1: 3, 2: 0})

    run(tmp_path, scenario)


def test_from_turns_to_maglev_records_go_before_slots(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1, 2, vip=Vip(WEB.key, name="web", scheduler=Scheduler.RR))
        world.plane.add_flow("198.51.100.7", 1, WEB.key, backend=1)
        await manager.patch_vip("web", {"scheduler": "maglev", "tracking": "auto"})
        assert world.plane.flow_count() == 1
        assert HeldTable.of(world.table()).counts.pinned > 0 or manager.vip("web").slots.steady > 0

    run(tmp_path, scenario)


# --- access lists -----------------------------------------------------------------------------------------------------


def test_an_access_list_is_in_the_maps_and_survives_a_restart(tmp_path: Path) -> None:
    wanted = AccessList(deny=tuple(ip_network(prefix) for prefix in BLOCKED))

    async def set_it(world: World, manager: Door) -> None:
        await with_backends(manager, 1)
        view = await manager.put_access("web", [], BLOCKED)
        assert view == AccessView(wanted, manager.status().generation)
        assert world.plane.access == {0: wanted}
        assert world.plane.read_vips()[0].has_access_list
        assert (manager.vip("web").allowed, manager.vip("web").denied) == (0, 2)

    async def find_it(world: World, manager: Door) -> None:
        assert manager.access("web").access == wanted
        assert world.plane.access == {0: wanted}
        await manager.patch_access("web", {"allow": ["0.0.0.0/0"]})
        assert manager.access("web").access == AccessList((ip_network("0.0.0.0/0"),), wanted.deny)
        await manager.patch_access("web", {"allow": None})
        assert manager.access("web").access == wanted
        await manager.put_access("web", [], [])
        assert world.plane.access == {}
        assert not world.plane.read_vips()[0].has_access_list

    run(tmp_path, set_it, find_it)


def test_a_list_is_there_before_its_vip_and_goes_after_it(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1)
        world.plane.calls.clear()
        await manager.put_access("web", [], BLOCKED)
        assert [call for call in world.writes() if call in {"write_access", "write_vips"}] == [
            "write_access",
            "write_vips",
        ]
        world.plane.calls.clear()
        await manager.put_access("web", [], [])
        assert [call for call in world.plane.calls if call in WRITES] == ["write_vips", "write_access"]

    run(tmp_path, scenario, scans=False)


def test_lists_of_all_vips_outlive_slots_that_could_not_be_settled(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        other = Vip(VipKey.parse("203.0.113.20:443/tcp"), name="other")
        await with_backends(manager, 1, 2)
        await with_backends(manager, 3, vip=other)
        for name in ("web", "other"):
            await manager.put_access(name, [], BLOCKED)
        lists = dict(world.plane.access)
        await manager.drain("web", "10.0.0.1")
        world.plane.fail("write_table", PlatformError("no memory"))
        world.clock.advance(70)
        await until(lambda: not world.plane.failures["write_table"])
        world.hops.lose("10.0.0.1")
        await until(lambda: not world.plane.read_backends()[1].usable)
        assert world.plane.access == lists
        assert len(lists) == 2

    run(tmp_path, scenario)


def test_lists_are_written_anew_once_nobody_knows_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1, 2)
        await manager.put_access("web", [], BLOCKED)
        lists = dict(world.plane.access)
        world.plane.access.clear()
        await manager.drain("web", "10.0.0.1")
        await asyncio.sleep(0.1)
        assert world.plane.access == {}  # they cannot be read
        world.plane.fail("write_table", PlatformError("no memory"))
        world.clock.advance(70)
        await until(lambda: world.plane.access == lists)

    monkeypatch.setattr(writer, "_HEARTBEAT_SECONDS", 0.02)
    run(tmp_path, scenario)


def test_what_is_allowed_already_changes_nothing(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1)
        await manager.put_access("web", ["10.0.0.0/8"], BLOCKED)
        generation, world.plane.calls[:] = manager.status().generation, []
        await manager.put_access("web", ["10.0.0.0/8", "10.0.0.0/8"], list(reversed(BLOCKED)))
        assert (manager.status().generation, world.writes()) == (generation, [])

    run(tmp_path, scenario, scans=False)


def test_more_lists_than_fit_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(lists: object) -> None:
        raise CapacityError(f"{len(lists)} lists are too many", hint="take some away")  # type: ignore[arg-type]

    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1)
        await manager.create_vip(QUIC)
        await manager.put_access("web", [], BLOCKED)
        monkeypatch.setattr("xdplb.control.plan.forecast.access_index.build4", refuse)
        with pytest.raises(CapacityError, match="2 lists are too many"):
            await manager.put_access("quic", [], BLOCKED)
        assert not manager.access("quic").access

    run(tmp_path, scenario)


# --- what is refused --------------------------------------------------------------------------------------------------

Attempt = Callable[[Door], Awaitable[object]]


def _vip(text: str, **asked: object) -> Vip:
    return Vip(VipKey.parse(text), **asked)  # type: ignore[arg-type]


REFUSED: dict[str, tuple[Attempt, type[XdplbError], str, str]] = {
    "the same packets, one protocol of two": (
        lambda m: m.create_vip(_vip("203.0.113.10:443/tcp+udp")),
        ConflictError,
        "/protocol",
        "VIP 203.0.113.10:443/tcp+udp and VIP 203.0.113.10:443/tcp",
    ),
    "the same packets, some ports": (
        lambda m: m.create_vip(_vip("203.0.113.10:8500-9499/tcp")),
        ConflictError,
        "/port",
        "VIP 203.0.113.10:8000-8999/tcp match the same packets",
    ),
    "a prefix with a backend in it": (
        lambda m: m.create_vip(_vip("10.0.0.0/24:80/tcp")),
        InvalidError,
        "/address",
        "10.0.0.1 is a backend of VIP 203.0.113.10:443/tcp",
    ),
    "a backend in a prefix": (
        lambda m: m.create_backend("web", Backend(ip_address("192.0.2.77"))),
        InvalidError,
        "/address",
        "the address of a VIP",
    ),
    "DR to the other family": (
        lambda m: m.create_backend("web", Backend(ip_address("2001:db8:1::1"))),
        InvalidError,
        "/address",
        "cannot be reached by dr",
    ),
    "DR for what was tunnelled": (
        lambda m: m.patch_vip("web6", {"forward": "dr"}),
        InvalidError,
        "/forward",
        "10.0.0.9 cannot be reached by dr",
    ),
    "a server ID too long": (
        lambda m: m.create_backend("quic", backend(5, quic_server_id="00a7b1")),
        InvalidError,
        "/quic_server_id",
        "has 3 bytes, but VIP 203.0.113.10:443/udp uses 2",
    ),
    "a server ID twice": (
        lambda m: m.create_backend("quic", backend(5, quic_server_id="00a7")),
        InvalidError,
        "/quic_server_id",
        "10.0.0.4 already has the server ID 00a7",
    ),
    "another length than the server IDs have": (
        lambda m: m.patch_vip("quic", {"quic": {"server_id_bytes": 3}}),
        InvalidError,
        "/quic",
        "has 2 bytes",
    ),
    "no QUIC for server IDs": (
        lambda m: m.patch_vip("quic", {"quic": None}),
        InvalidError,
        "/quic",
        "has a server ID, but VIP 203.0.113.10:443/udp has no quic settings",
    ),
    "the place in a set": (
        lambda m: m.replace_backends("quic", [backend(5), backend(6, quic_server_id="0a")]),
        InvalidError,
        "/backends/1/quic_server_id",
        "has 1 bytes",
    ),
    "a check of no port": (
        lambda m: m.put_health_check("all", HealthCheck()),
        InvalidError,
        "/port",
        "has all ports",
    ),
    "a check by TCP of a UDP port": (
        lambda m: m.put_health_check("quic", HealthCheck(type=CheckType.HTTP)),
        InvalidError,
        "/port",
        "VIP 203.0.113.10:443/udp is UDP, and http checks use TCP, so its check needs a port",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_go_together_is_refused_and_changes_nothing(tmp_path: Path, what: str) -> None:
    attempt, kind, pointer, said = REFUSED[what]

    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1)
        await manager.create_vip(WEB6)
        await manager.create_backend("web6", backend(9))
        await manager.create_vip(QUIC)
        await manager.create_backend("quic", backend(4, quic_server_id="00a7"))
        await manager.create_vip(_vip("203.0.113.10:8000-8999/tcp"))
        await manager.create_vip(_vip("192.0.2.0/24:0/tcp", name="all"))
        before = manager.status()
        with pytest.raises(kind, match=re.escape(said)) as raised:
            await attempt(manager)
        assert [problem.pointer for problem in raised.value.problems] == [pointer]
        assert raised.value.hint
        assert manager.status() == before

    run(tmp_path, scenario)


def test_least_connections_compare_so_many_backends_and_no_more(tmp_path: Path) -> None:
    async def scenario(_: World, manager: Door) -> None:
        await manager.create_vip(Vip(WEB.key, name="web", scheduler=Scheduler.LC))
        addresses = [Backend(ip_address("10.1.0.0") + number) for number in range(1, 130)]
        with pytest.raises(CapacityError, match="the limit is 128") as raised:
            await manager.replace_backends("web", addresses)
        assert "p2c" in raised.value.hint
        await manager.replace_backends("web", addresses[:128])
        await manager.patch_vip("web", {"scheduler": "p2c"})
        await manager.replace_backends("web", addresses)
        with pytest.raises(CapacityError):
            await manager.patch_vip("web", {"scheduler": "wlc"})

    run(tmp_path, scenario)


def test_more_vips_around_one_address_than_fit_change_nothing(tmp_path: Path) -> None:
    async def scenario(_: World, manager: Door) -> None:
        for port in range(1, 33):
            await manager.create_vip(_vip(f"203.0.113.10:{port * 100}-{port * 100 + 9}/tcp"))
        before = manager.status()
        for dry_run in (True, False):
            with pytest.raises(CapacityError, match=r"203\.0\.113\.10/32"):
                await manager.create_vip(_vip("203.0.113.0/24:0/udp"), dry_run=dry_run)
        assert manager.status() == before

    run(tmp_path, scenario)


# --- second choices ---------------------------------------------------------------------------------------------------


def test_a_vip_has_second_choices_while_it_or_a_backend_of_its_asks_for_them(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        def has_them() -> bool:
            return world.plane.read_vips()[0].second_choice

        await with_backends(manager, 1, 2)
        assert not has_them()
        await manager.patch_backend("web", "10.0.0.1", {"max_new_flows": 50})
        assert has_them()
        assert Feature.SECOND_CHOICE in world.plane.features
        assert [entry.max_new_flows for entry in world.plane.read_backends().values()] == [50, 0]
        await manager.patch_vip("web", {"syn_failover": True})
        await manager.patch_backend("web", "10.0.0.1", {"max_new_flows": 0})
        assert has_them()
        await manager.patch_vip("web", {"syn_failover": False})
        assert not has_them()
        await manager.create_backend("web", backend(3, max_new_flows=7))
        assert has_them()
        await manager.delete_backend("web", "10.0.0.3")
        assert not has_them()

    run(tmp_path, scenario)


def test_udp_has_no_new_connections_to_limit(tmp_path: Path) -> None:
    async def scenario(_: World, manager: Door) -> None:
        await manager.create_vip(_vip("203.0.113.10:53/udp", name="dns"))
        with pytest.raises(InvalidError, match="only TCP connections are counted"):
            await manager.create_backend("dns", backend(1, max_new_flows=7))

    run(tmp_path, scenario)


# --- the flow table ---------------------------------------------------------------------------------------------------


def test_what_the_full_flow_table_threw_out_is_counted(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1, vip=Vip(WEB.key, name="web", scheduler=Scheduler.P2C))
        await until(lambda: manager.manager._writer.applier.evictions.has_begun)
        world.plane.add_flow("198.51.100.7", 1, WEB.key, backend=1)
        world.plane.count_vip(0, VipCounters(records=4))
        await until(lambda: manager.dataplane().flows.evicted == 3)
        flows = manager.dataplane().flows
        assert (flows.used, flows.capacity) == (1, 1 << 20)
        assert 150e6 < flows.bytes < 170e6
        assert (await manager.stats()).flow_table.evicted == 3

    run(tmp_path, scenario)


def test_a_record_of_an_address_that_another_vip_has_now_is_nobodys(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1)
        world.plane.add_flow("198.51.100.7", 1, WEB.key, backend=1)
        await manager.delete_vip("web")
        await manager.create_vip(_vip("203.0.113.11:443/tcp", name="web"))
        await manager.create_backend("web", backend(2))
        await manager.patch_vip("web", {"tracking": "always"})
        await asyncio.sleep(0)
        assert world.plane.flow_count() == 0

    run(tmp_path, scenario)
