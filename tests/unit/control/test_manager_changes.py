# SPDX-License-Identifier: Apache-2.0
"""Changes through the manager: what is refused and why, what is idempotent, and that a dry run changes nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from tests.unit.control.door import Door, DryRun
from tests.unit.control.world import WEB, World, backend, run_in, viewed, with_backends
from xdplb.dataplane.plane import Capacity
from xdplb.model.errors import (
    CapacityError,
    ConflictError,
    InvalidError,
    NotFoundError,
    PreconditionError,
    XdplbError,
)
from xdplb.model.health import HealthCheck
from xdplb.model.vip import Forward, Vip, VipKey

DNS = Vip(VipKey.parse("203.0.113.10:53/udp"), name="dns")
Attempt = Callable[[Door], Awaitable[object]]


REFUSED: list[tuple[str, Attempt, type[XdplbError], str, str]] = [
    ("vip unknown", lambda m: m.patch_vip("203.0.113.9:443/tcp", {}), NotFoundError, "/path/vip", "no VIP"),
    ("no vip at all", lambda m: m.delete_vip("wep"), NotFoundError, "/path/vip", "no VIP 'wep'"),
    (
        "vip differs",
        lambda m: m.create_vip(replace(WEB, forward=Forward.IPIP)),
        ConflictError,
        "/forward",
        "forward (dr, asked ipip)",
    ),
    (
        "name taken",
        lambda m: m.create_vip(replace(DNS, name="web")),
        ConflictError,
        "/name",
        "taken by VIP 203.0.113.10:443/tcp",
    ),
    (
        "name taken later",
        lambda m: m.patch_vip("203.0.113.11:80/tcp", {"name": "web"}),
        ConflictError,
        "/name",
        "taken by",
    ),
    (
        "vip is a backend",
        lambda m: m.create_vip(Vip(VipKey.parse("10.0.0.1:80/tcp"))),
        InvalidError,
        "/address",
        "10.0.0.1 is a backend of VIP",
    ),
    ("field unknown", lambda m: m.patch_vip("web", {"forwad": "dr"}), InvalidError, "/forwad", "no field 'forwad'"),
    ("field fixed", lambda m: m.patch_vip("web", {"port": 444}), InvalidError, "/port", "cannot be changed"),
    (
        "no choice",
        lambda m: m.patch_vip("web", {"forward": "proxy"}),
        InvalidError,
        "/forward",
        "'proxy' is not one of the choices",
    ),
    (
        "no number",
        lambda m: m.patch_vip("web", {"idle_timeout_seconds": "9"}),
        InvalidError,
        "/idle_timeout_seconds",
        "whole",
    ),
    (
        "out of range",
        lambda m: m.patch_vip("web", {"idle_timeout_seconds": 0}),
        InvalidError,
        "/idle_timeout_seconds",
        "is 0",
    ),
    ("no name", lambda m: m.patch_vip("web", {"name": 7}), InvalidError, "/name", "not a string"),
    ("stale vip", lambda m: m.patch_vip("web", {"name": "x"}, if_match=1), PreconditionError, "", "not 1"),
    ("stale delete", lambda m: m.delete_vip("web", if_match=1), PreconditionError, "", "not 1"),
    ("put on nothing", lambda m: m.put_vip(DNS, if_match=3), PreconditionError, "", "does not exist"),
    ("put on nothing ever", lambda m: m.put_vip(DNS, if_match=0), PreconditionError, "", "does not exist"),
    (
        "put backend on nothing",
        lambda m: m.put_backend("web", backend(7), if_match=0),
        PreconditionError,
        "",
        "does not exist",
    ),
    ("stale drain", lambda m: m.drain("web", "10.0.0.1", if_match=1), PreconditionError, "", "not 1"),
    ("stale undrain", lambda m: m.undrain("web", "10.0.0.1", if_match=1), PreconditionError, "", "not 1"),
    ("backend unknown", lambda m: m.drain("web", "10.0.0.9"), NotFoundError, "/path/address", "no backend 10.0.0.9"),
    (
        "backend no address",
        lambda m: m.delete_backend("web", "x"),
        InvalidError,
        "/path/address",
        "'x' is not an IP address",
    ),
    (
        "backend differs",
        lambda m: m.create_backend("web", backend(1, weight=5)),
        ConflictError,
        "/weight",
        "weight (1, asked 5)",
    ),
    (
        "backend is the vip",
        lambda m: m.create_backend("web", replace(backend(1), address=WEB.key.address)),
        InvalidError,
        "/address",
        "is the VIP itself",
    ),
    (
        "backend is another vip",
        lambda m: m.put_backend("web", replace(backend(1), address=IPv4Address("203.0.113.11"))),
        InvalidError,
        "/address",
        "is the address of a VIP",
    ),
    (
        "backend twice",
        lambda m: m.replace_backends("web", [backend(1), backend(1)]),
        InvalidError,
        "/backends/1/address",
        "twice",
    ),
    (
        "one of a set is a vip",
        lambda m: m.replace_backends("web", [backend(1), replace(backend(1), address=WEB.key.address)]),
        InvalidError,
        "/backends/1/address",
        "is the VIP itself",
    ),
    (
        "weight",
        lambda m: m.patch_backend("web", "10.0.0.1", {"weight": 70000}),
        InvalidError,
        "/weight",
        "out of range",
    ),
    (
        "weight no number",
        lambda m: m.patch_backend("web", "10.0.0.1", {"weight": True}),
        InvalidError,
        "/weight",
        "whole",
    ),
    (
        "address fixed",
        lambda m: m.patch_backend("web", "10.0.0.1", {"address": "10.0.0.9"}),
        InvalidError,
        "/address",
        "cannot",
    ),
    ("stale backend", lambda m: m.delete_backend("web", "10.0.0.1", if_match=1), PreconditionError, "", "not 1"),
    (
        "drain of no time",
        lambda m: m.drain("web", "10.0.0.1", timeout_seconds=0),
        InvalidError,
        "/timeout_seconds",
        "is 0",
    ),
    (
        "quiet too long",
        lambda m: m.drain("web", "10.0.0.1", timeout_seconds=5, quiet_seconds=6),
        InvalidError,
        "/quiet_seconds",
        "is 6, but the drain times out after 5 s",
    ),
    ("no check", lambda m: m.delete_health_check("web"), NotFoundError, "", "has no health check"),
    ("stale check", lambda m: m.put_health_check("web", HealthCheck(), if_match=1), PreconditionError, "", "not 1"),
    ("vips full", lambda m: m.create_vip(DNS), CapacityError, "", "2 VIPs"),
    ("backends full", lambda m: m.create_backend("web", backend(3)), CapacityError, "", "full: 2 of 2 backends"),
]


@pytest.mark.parametrize(
    ("attempt", "error", "pointer", "words"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_refused_and_nothing_changed(
    tmp_path: Path, attempt: Attempt, error: type[XdplbError], pointer: str, words: str
) -> None:
    world = World(tmp_path, Capacity(vips=2, backends=2), scans=False)

    async def scenario(manager: Door) -> None:
        await with_backends(manager, 1, 2)
        await manager.create_vip(Vip(VipKey.parse("203.0.113.11:80/tcp")))
        before, writes = (manager.status(), manager.backends("web")), world.writes()
        with pytest.raises(error) as raised:
            await attempt(manager)
        assert words in raised.value.detail
        assert raised.value.hint
        assert [problem.pointer for problem in raised.value.problems] == ([pointer] if pointer else [])
        assert (manager.status(), manager.backends("web")) == before
        assert world.writes() == writes

    run_in(world, scenario)


def test_a_wrong_name_gets_the_nearest_right_one(tmp_path: Path) -> None:
    async def scenario(manager: Door) -> None:
        await with_backends(manager, 1)
        with pytest.raises(NotFoundError) as raised:
            manager.vip("wep")
        assert raised.value.hint == "did you mean web?"
        with pytest.raises(NotFoundError) as raised:
            manager.vip("203.0.113.10:444/tcp")
        assert raised.value.hint == "did you mean 203.0.113.10:443/tcp?"

    run_in(World(tmp_path), scenario)


def test_a_vip_answers_to_its_name_and_both_spellings(tmp_path: Path) -> None:
    async def scenario(manager: Door) -> None:
        view = await with_backends(manager, 1)
        assert manager.vip("web") == manager.vip("203.0.113.10:443:tcp") == manager.vip("203.0.113.10:443/tcp") == view

    run_in(World(tmp_path), scenario)


def test_what_is_so_already_takes_no_generation(tmp_path: Path) -> None:
    async def scenario(manager: Door) -> None:
        await with_backends(manager, 1, 2)
        await manager.put_health_check("web", HealthCheck())
        await manager.drain("web", "10.0.0.2", timeout_seconds=60, quiet_seconds=1)
        generation = manager.status().generation
        asked = [record.backend for record in manager.backends("web")]
        again = [
            await manager.create_vip(WEB),
            await manager.put_vip(WEB),
            await manager.create_backend("web", backend(1)),
            await manager.put_backend("web", backend(1)),
        ]
        assert [isinstance(done, tuple) and done[1] for done in again] == [False] * 4
        await manager.replace_backends("web", asked)
        await manager.patch_vip("web", {"port": 443, "forward": "dr"})
        await manager.patch_backend("web", "10.0.0.1", {"weight": 1, "address": "10.0.0.1"})
        await manager.undrain("web", "10.0.0.1")
        await manager.drain("web", "10.0.0.2", timeout_seconds=60, quiet_seconds=1)
        await manager.put_health_check("web", HealthCheck())
        assert manager.status().generation == generation

    run_in(World(tmp_path), scenario)


def test_generations_say_what_was_touched(tmp_path: Path) -> None:
    async def scenario(manager: Door) -> None:
        await with_backends(manager, 1, 2)
        await manager.create_vip(DNS)
        await manager.patch_backend("web", "10.0.0.1", {"weight": 7})
        assert [manager.vip("web").generation, manager.vip("dns").generation] == [5, 4]
        assert [view.generation for view in manager.backends("web")] == [5, 3]
        assert [view.observed_generation for view in manager.backends("web")] == [5, 3]
        assert manager.status().observed_generation == manager.status().generation == 5
        await manager.patch_backend("web", "10.0.0.1", {"weight": 1}, if_match=5)
        await manager.put_health_check("web", HealthCheck(), if_match=6)
        assert manager.vip("web").generation == 7

    run_in(World(tmp_path), scenario)


def test_null_in_a_patch_is_the_default(tmp_path: Path) -> None:
    async def scenario(manager: Door) -> None:
        await manager.create_vip(replace(WEB, forward=Forward.IPIP))
        await manager.create_backend("web", backend(1, weight=9, forward=Forward.DR))
        await manager.patch_vip("web", {"name": None, "forward": None, "idle_timeout_seconds": None})
        assert manager.vip(str(WEB.key)).vip == Vip(WEB.key)
        view = await manager.patch_backend(str(WEB.key), "10.0.0.1", {"weight": None, "forward": None})
        assert viewed(view).backend == backend(1)

    run_in(World(tmp_path), scenario)


DRY: list[tuple[Attempt, str]] = [
    (lambda m: m.create_vip(DNS, dry_run=True), "VIP 203.0.113.10:53/udp is added"),
    (
        lambda m: m.put_vip(replace(WEB, forward=Forward.IPIP), dry_run=True),
        "VIP 203.0.113.10:443/tcp changes to forward ipip (was dr)",
    ),
    (lambda m: m.patch_vip("web", {"hash": "source"}, dry_run=True), "go to other backends, since the hash changes"),
    (lambda m: m.delete_vip("web", dry_run=True), "VIP 203.0.113.10:443/tcp is removed, with its 2 backends"),
    (
        lambda m: m.create_backend("web", backend(3), dry_run=True),
        "backend 10.0.0.3 of 203.0.113.10:443/tcp is added with weight 1",
    ),
    (
        lambda m: m.put_backend("web", backend(1, weight=4), dry_run=True),
        "backend 10.0.0.1 of 203.0.113.10:443/tcp changes to weight 4 (was 1)",
    ),
    (
        lambda m: m.delete_backend("web", "10.0.0.1", dry_run=True),
        "backend 10.0.0.1 of 203.0.113.10:443/tcp is removed",
    ),
    (
        lambda m: m.replace_backends("web", [backend(1)], dry_run=True),
        "backend 10.0.0.2 of 203.0.113.10:443/tcp is removed",
    ),
    (lambda m: m.drain("web", "10.0.0.1", dry_run=True), "changes to admin_state drain (was ready)"),
    (
        lambda m: m.patch_backend("web", "10.0.0.1", {"admin_state": "maint"}, dry_run=True),
        "changes to admin_state maint (was ready)",
    ),
    (
        lambda m: m.put_health_check("web", HealthCheck(), dry_run=True),
        "the backends of 203.0.113.10:443/tcp are checked by tcp every 2 s",
    ),
]


@pytest.mark.parametrize(("attempt", "words"), DRY)
def test_a_dry_run_says_what_would_change_and_changes_nothing(tmp_path: Path, attempt: Attempt, words: str) -> None:
    world = World(tmp_path, scans=False)

    async def scenario(manager: Door) -> None:
        await with_backends(manager, 1, 2)
        before, writes = (manager.status(), manager.backends("web")), world.writes()
        done = await attempt(manager)
        assert isinstance(done, DryRun)
        assert done.would_change
        assert words in " ".join(done.changes)
        assert (manager.status(), manager.backends("web"), world.writes()) == (*before, writes)
        assert await manager.create_vip(WEB, dry_run=True) == DryRun(would_change=False)

    run_in(world, scenario)


def test_ports_of_nat_backends_beyond_what_there_is_room_for_are_refused_with_nothing_changed(tmp_path: Path) -> None:
    world, long, short = World(tmp_path, Capacity(vips=2, backends=2)), "203.0.113.10:8000-8063/tcp", "8000-8007/tcp"

    async def scenario(manager: Door) -> None:
        await manager.create_vip(Vip(VipKey.parse(long), forward=Forward.NAT))
        before, writes = manager.status(), world.writes()
        with pytest.raises(CapacityError) as raised:
            await manager.create_backend(long, backend(1))
        assert raised.value.detail == "this needs 64 ports of NAT backends, and there is room for 24"
        assert "--max-backends" in raised.value.hint
        assert (manager.status(), world.writes()) == (before, writes)
        key = f"203.0.113.11:{short}"
        await manager.create_vip(Vip(VipKey.parse(key), forward=Forward.NAT))
        await manager.create_backend(key, backend(1))

    run_in(world, scenario)
