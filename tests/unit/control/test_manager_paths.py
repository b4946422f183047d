# SPDX-License-Identifier: Apache-2.0
"""What ICMP errors about packets in tunnels do: a path's MTU is lowered for ten minutes, errors become a reason."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.fakes import next_hop, until
from tests.unit.control.door import Door
from tests.unit.control.world import World, run
from xdplb.control.writing.path_watch import Ignored
from xdplb.model.backend import Backend, Health
from xdplb.model.health import HealthCheck
from xdplb.model.next_hop import Resolution
from xdplb.model.vip import Forward, Vip, VipKey
from xdplb.net.icmp_message import ErrorKind, IcmpError, Quote

BACKEND, BACKEND6 = "10.0.1.3", "2001:db8:1::3"
ROUTER, ROUTER6 = "10.0.0.254", "2001:db8::fe"
VIPS = {4: VipKey.parse("203.0.113.10:443/tcp"), 6: VipKey.parse("[2001:db8:f::10]:443/tcp")}
OTHER = VipKey.parse("203.0.113.20:443/tcp")
GUE_PORTS = (0xC001, 6080)

Scenario = Callable[[World, Door], Awaitable[None]]


def quote(to: str = BACKEND, **fields: object) -> Quote:
    """Return the beginning of a packet of 1500 bytes to a backend by IPIP, IPv4 inside."""
    address = ip_address(to)
    return Quote(
        **{  # type: ignore[arg-type]
            "source": next_hop(address).source,
            "destination": address,
            "length": 1500,
            "protocol": 4,
            **fields,
        }
    )


def too_big(mtu: int, about: Quote | None = None) -> IcmpError:
    about = about or quote()
    version = about.destination.version
    router, code = (ROUTER, 4) if version == 4 else (ROUTER6, 0)
    return IcmpError(ip_address(router), ErrorKind.TOO_BIG, code, about, mtu)


def error(kind: ErrorKind, code: int, about: Quote | None = None, router: str = ROUTER) -> IcmpError:
    return IcmpError(ip_address(router), kind, code, about or quote())


async def add(manager: Door, *ways: tuple[VipKey, str, Forward]) -> None:
    """Add backends to VIPs."""
    for key, address, forward in ways:
        if key not in [view.vip.key for view in manager.vips()]:
            await manager.create_vip(Vip(key))
        await manager.create_backend(str(key), Backend(ip_address(address), forward=forward))


def mtu(world: World, key: VipKey, address: str) -> int:
    """Return the MTU that packets see."""
    vip_id = next(vip_id for vip_id, vip in world.plane.read_vips().items() if vip.key == key)
    (entry,) = [
        each for each in world.plane.read_backends().values() if (each.vip_id, str(each.address)) == (vip_id, address)
    ]
    assert entry.next_hop is not None
    return entry.next_hop.mtu


async def becomes(world: World, key: VipKey, address: str, wanted: int) -> None:
    await until(lambda: mtu(world, key, address) == wanted)


WAYS = [
    pytest.param(4, BACKEND, Forward.IPIP, {"protocol": 4}, id="4in4"),
    pytest.param(6, BACKEND, Forward.IPIP, {"protocol": 41}, id="6in4"),
    pytest.param(4, BACKEND6, Forward.IPIP, {"protocol": 4}, id="4in6"),
    pytest.param(6, BACKEND6, Forward.IPIP, {"protocol": 41}, id="6in6"),
    pytest.param(4, BACKEND, Forward.GUE, {"protocol": 17, "ports": GUE_PORTS}, id="gue-4in4"),
    pytest.param(6, BACKEND, Forward.GUE, {"protocol": 17, "ports": GUE_PORTS}, id="gue-6in4"),
    pytest.param(4, BACKEND6, Forward.GUE, {"protocol": 17, "ports": GUE_PORTS}, id="gue-4in6"),
    pytest.param(6, BACKEND6, Forward.GUE, {"protocol": 17, "ports": GUE_PORTS}, id="gue-6in6"),
]


@pytest.mark.parametrize(("inner", "address", "forward", "fields"), WAYS)
def test_the_mtu_of_a_path_is_lowered_for_ten_minutes(
    tmp_path: Path, inner: int, address: str, forward: Forward, fields: dict[str, object]
) -> None:
    key = VIPS[inner]

    async def scenario(world: World, manager: Door) -> None:
        await add(manager, (key, address, forward))
        assert (mtu(world, key, address), manager.backend(str(key), address).path.mtu) == (1500, 1500)
        told = too_big(1400, quote(address, **fields))
        world.errors.hear(told)
        await becomes(world, key, address, 1400)
        path = manager.backend(str(key), address).path
        assert path.lowered is not None
        assert (path.mtu, path.lowered.mtu, path.lowered.router) == (1400, 1400, told.router)
        assert path.lowered.until == world.clock.utc + timedelta(minutes=10)
        assert (path.errors[ErrorKind.TOO_BIG], path.reason) == (1, "")

        world.clock.advance(599)
        world.errors.hear(told)  # of a packet that was under way: it is believed no longer for that
        world.clock.advance(1)
        await becomes(world, key, address, 1500)
        assert manager.backend(str(key), address).path.lowered is None

        world.errors.hear(told)
        await becomes(world, key, address, 1400)

    run(tmp_path, scenario)


def test_it_holds_for_all_tunnels_to_the_address_and_not_for_dr(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        direct = VipKey.parse("203.0.113.30:80/tcp")
        await add(
            manager,
            (VIPS[4], BACKEND, Forward.IPIP),
            (VIPS[6], BACKEND, Forward.IPIP),
            (OTHER, BACKEND, Forward.GUE),
            (OTHER, "10.0.1.4", Forward.IPIP),
            (direct, BACKEND, Forward.DR),
        )
        world.errors.hear(too_big(1400))
        await becomes(world, VIPS[4], BACKEND, 1400)
        await becomes(world, VIPS[6], BACKEND, 1400)
        await becomes(world, OTHER, BACKEND, 1400)
        assert (mtu(world, OTHER, "10.0.1.4"), mtu(world, direct, BACKEND)) == (1500, 1500)
        assert manager.backend(str(direct), BACKEND).path.lowered is None
        assert manager.backend(str(OTHER), BACKEND).path.errors == {}

        await manager.create_vip(Vip(VipKey.parse("203.0.113.40:80/tcp"), name="later"))
        await manager.create_backend("later", Backend(ip_address(BACKEND), forward=Forward.IPIP))
        assert mtu(world, VipKey.parse("203.0.113.40:80/tcp"), BACKEND) == 1400

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("inner", "address", "told", "wanted"),
    [
        (4, BACKEND, 1006, 1006),
        (4, BACKEND, 400, 576),
        (4, BACKEND, 68, 576),
        (4, BACKEND, 0, 1492),  # a router older than RFC 1191: the next plateau
        (6, BACKEND, 1280, 1300),  # an IPv6 packet of 1280 bytes is always sent
        (4, BACKEND6, 1280, 1280),
        (6, BACKEND6, 1300, 1320),
    ],
)
def test_it_is_never_lowered_below_what_every_path_takes(
    tmp_path: Path, inner: int, address: str, told: int, wanted: int
) -> None:
    key = VIPS[inner]

    async def scenario(world: World, manager: Door) -> None:
        await add(manager, (key, address, Forward.IPIP))
        world.errors.hear(too_big(told, quote(address, protocol={4: 4, 6: 41}[inner])))
        await becomes(world, key, address, wanted)
        reason = manager.backend(str(key), address).reason
        if 0 < told < wanted:
            router = ROUTER if ip_address(address).version == 4 else ROUTER6
            assert reason == (
                f"{router}, on the way to it, takes packets of {told} bytes at most,"
                f" and xdplb does not go below {wanted}"
            )
        else:
            assert reason == ""

    run(tmp_path, scenario)


def test_it_is_lowered_again_but_not_raised(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await add(manager, (VIPS[4], BACKEND, Forward.IPIP))
        world.errors.hear(too_big(1400))
        await becomes(world, VIPS[4], BACKEND, 1400)
        world.errors.hear(too_big(1450))
        world.errors.hear(too_big(1300, quote(length=1400)))
        await becomes(world, VIPS[4], BACKEND, 1300)
        world.errors.hear(too_big(0))  # 1492
        world.errors.hear(too_big(1400))
        await manager.put_health_check(str(VIPS[4]), HealthCheck())
        assert mtu(world, VIPS[4], BACKEND) == 1300

    run(tmp_path, scenario)


def test_explain_says_what_is_sent_now(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await add(manager, (VIPS[4], BACKEND, Forward.IPIP), (VIPS[4], "10.0.1.4", Forward.IPIP))
        for other in (BACKEND, "10.0.1.4"):
            world.errors.hear(too_big(1400, quote(other)))
            await becomes(world, VIPS[4], other, 1400)
        for down in (None, BACKEND):
            view = await manager.explain("198.51.100.7:40000", str(VIPS[4]), if_down=down)
            assert view.sent is not None
            assert view.sent.next_hop.mtu == 1400

    run(tmp_path, scenario)


def of_mtu(mtu: int) -> Resolution:
    return Resolution(replace(next_hop(ip_address(BACKEND)), mtu=mtu))


def test_the_link_wins_where_it_takes_less(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await add(manager, (VIPS[4], BACKEND, Forward.IPIP))
        world.errors.hear(too_big(1400))
        await becomes(world, VIPS[4], BACKEND, 1400)
        world.hops.set(BACKEND, of_mtu(9000))
        await manager.put_health_check(str(VIPS[4]), HealthCheck())
        assert mtu(world, VIPS[4], BACKEND) == 1400
        world.hops.set(BACKEND, of_mtu(1300))
        await becomes(world, VIPS[4], BACKEND, 1300)
        assert manager.backend(str(VIPS[4]), BACKEND).path.lowered is None
        world.clock.advance(601)
        world.hops.set(BACKEND, of_mtu(1450))
        await becomes(world, VIPS[4], BACKEND, 1450)

    run(tmp_path, scenario)


def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    async def before(world: World, manager: Door) -> None:
        await add(manager, (VIPS[4], BACKEND, Forward.IPIP), (OTHER, "10.0.1.4", Forward.IPIP))
        world.errors.hear(too_big(1400))
        await becomes(world, VIPS[4], BACKEND, 1400)
        world.plane.calls.clear()

    async def after(world: World, manager: Door) -> None:
        assert "write_backends" not in world.writes()  # not even for a moment
        path = manager.backend(str(VIPS[4]), BACKEND).path
        assert path.lowered is not None
        assert (path.mtu, path.lowered.mtu, path.lowered.router) == (1400, 1400, None)
        assert manager.backend(str(OTHER), "10.0.1.4").path.lowered is None
        world.clock.advance(600)
        await becomes(world, VIPS[4], BACKEND, 1500)

    run(tmp_path, before, after)


def test_a_backend_that_comes_again_starts_anew(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await add(manager, (VIPS[4], BACKEND, Forward.IPIP))
        world.errors.hear(too_big(1400))
        world.errors.hear(error(ErrorKind.UNREACHABLE, 1))
        await becomes(world, VIPS[4], BACKEND, 1400)
        await manager.delete_backend(str(VIPS[4]), BACKEND)
        await add(manager, (VIPS[4], BACKEND, Forward.IPIP))
        path = manager.backend(str(VIPS[4]), BACKEND).path
        assert (path.mtu, path.errors, path.reason) == (1500, {}, "")

    run(tmp_path, scenario)


# --- what cannot be about our packets, or cannot be true --------------------------------------------------------------

UNDECEIVED = [
    pytest.param(None, Ignored.MALFORMED, id="cannot be read"),
    pytest.param(too_big(1400, quote("10.0.1.9")), Ignored.NOT_OURS, id="another destination"),
    pytest.param(too_big(1400, quote(source=ip_address("192.0.2.1"))), Ignored.NOT_OURS, id="another source"),
    pytest.param(too_big(1400, quote(protocol=41)), Ignored.NOT_OURS, id="IPv6 inside"),
    pytest.param(too_big(1400, quote(protocol=6)), Ignored.NOT_OURS, id="TCP"),
    pytest.param(too_big(1400, quote(protocol=17, ports=GUE_PORTS)), Ignored.NOT_OURS, id="GUE"),
    pytest.param(too_big(1400, quote(inner=ip_address("203.0.113.11"))), Ignored.NOT_OURS, id="another VIP inside"),
    pytest.param(too_big(1400, quote("10.0.1.5")), Ignored.NOT_OURS, id="a backend by dr"),
    pytest.param(too_big(1400, quote("10.0.1.6")), Ignored.NOT_OURS, id="a backend by GUE"),
    pytest.param(
        too_big(1400, quote("10.0.1.6", protocol=17, ports=(0xBFFF, 6080))), Ignored.NOT_OURS, id="its source port"
    ),
    pytest.param(too_big(1400, quote("10.0.1.6", protocol=17, ports=(0xC000, 6081))), Ignored.NOT_OURS, id="its port"),
    pytest.param(too_big(1400, quote("10.0.1.6", protocol=17)), Ignored.NOT_OURS, id="its ports, not quoted"),
    pytest.param(too_big(1400, quote(length=1400)), Ignored.IMPLAUSIBLE, id="about a packet that fits"),
    pytest.param(too_big(1500), Ignored.IMPLAUSIBLE, id="not too big at all"),
    pytest.param(too_big(1400, quote(length=1501)), Ignored.IMPLAUSIBLE, id="about a longer one than we send"),
    pytest.param(too_big(67), Ignored.IMPLAUSIBLE, id="less than IPv4 allows"),
    pytest.param(too_big(0, quote(length=500)), Ignored.IMPLAUSIBLE, id="no MTU, and no plateau below it"),
    pytest.param(too_big(1279, quote(BACKEND6)), Ignored.IMPLAUSIBLE, id="less than IPv6 allows"),
    pytest.param(too_big(0, quote(BACKEND6)), Ignored.IMPLAUSIBLE, id="IPv6 without an MTU"),
    pytest.param(error(ErrorKind.UNREACHABLE, 1, quote("10.0.1.9")), Ignored.NOT_OURS, id="unreachable, not ours"),
    pytest.param(
        error(ErrorKind.UNREACHABLE, 1, quote(length=1501)), Ignored.IMPLAUSIBLE, id="unreachable, longer than we send"
    ),
]


@pytest.mark.parametrize(("heard", "why"), UNDECEIVED)
def test_a_forged_error_changes_nothing(tmp_path: Path, heard: IcmpError | None, why: Ignored) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await add(
            manager,
            (VIPS[4], BACKEND, Forward.IPIP),
            (VIPS[4], BACKEND6, Forward.IPIP),
            (VIPS[4], "10.0.1.5", Forward.DR),
            (VIPS[4], "10.0.1.6", Forward.GUE),
        )
        entries = world.plane.read_backends()
        world.errors.hear(heard)
        assert (await manager.metrics()).ignored_errors == {**dict.fromkeys(Ignored, 0), why: 1}
        await manager.put_health_check(str(VIPS[4]), HealthCheck())
        assert {each.path.mtu for each in manager.backends(str(VIPS[4]))} == {1500}
        assert all(each.path.errors == {} for each in manager.backends(str(VIPS[4])))
        assert {key: one.next_hop for key, one in world.plane.read_backends().items()} == {
            key: one.next_hop for key, one in entries.items()
        }

    run(tmp_path, scenario)


def test_the_packet_inside_may_be_for_any_vip_of_the_backend(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        prefix = VipKey.parse("198.18.0.0/16:80/tcp")
        await add(manager, (VIPS[4], BACKEND, Forward.IPIP), (prefix, BACKEND, Forward.IPIP))
        world.errors.hear(too_big(1400, quote(inner=ip_address("198.18.7.7"))))
        await becomes(world, VIPS[4], BACKEND, 1400)

    run(tmp_path, scenario)


# --- reasons ----------------------------------------------------------------------------------------------------------

WORDS = [
    (
        error(ErrorKind.UNREACHABLE, 0),
        "10.0.0.254, on the way to it, says: there is no route to it (network unreachable)",
    ),
    (
        error(ErrorKind.UNREACHABLE, 1),
        "10.0.0.254, on the way to it, says: it does not answer there (host unreachable)",
    ),
    (
        error(ErrorKind.UNREACHABLE, 13),
        "10.0.0.254, on the way to it, says: a filter forbids these packets (administratively prohibited)",
    ),
    (
        error(ErrorKind.UNREACHABLE, 2, router=BACKEND),
        "the backend rejects IPv4 in IPv4 packets (protocol unreachable): see `xdplb backend-host show` there",
    ),
    (
        error(ErrorKind.TIME_EXCEEDED, 0),
        "10.0.0.254, on the way to it, says: there are too many hops, or a routing loop (time exceeded)",
    ),
    (
        error(ErrorKind.PARAMETER_PROBLEM, 0),
        "10.0.0.254, on the way to it, says: the outer header has a fault (parameter problem, code 0)",
    ),
    (
        error(ErrorKind.UNREACHABLE, 3, quote("10.0.1.6", protocol=17, ports=GUE_PORTS), router="10.0.1.6"),
        "the backend rejects GUE packets (port unreachable): see `xdplb backend-host show` there",
    ),
    (
        error(ErrorKind.UNREACHABLE, 3, quote(BACKEND6), router=ROUTER6),
        "2001:db8::fe, on the way to it, says: it does not answer there (address unreachable)",
    ),
    (
        error(ErrorKind.PARAMETER_PROBLEM, 1, quote(BACKEND6), router=BACKEND6),
        "the backend rejects IPv4 in IPv6 packets (unrecognized next header): see `xdplb backend-host show` there",
    ),
]


@pytest.mark.parametrize(("heard", "words"), WORDS, ids=lambda each: None if isinstance(each, str) else each.kind)
def test_an_error_is_counted_and_a_reason_for_a_minute(
    tmp_path: Path, heard: IcmpError, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    address = str(heard.quote.destination)
    forward = Forward.GUE if heard.quote.protocol == 17 else Forward.IPIP
    caplog.set_level(logging.INFO)

    async def scenario(world: World, manager: Door) -> None:
        await add(manager, (VIPS[4], address, forward))
        world.errors.hear(heard)
        world.errors.hear(heard)
        view = manager.backend(str(VIPS[4]), address)
        assert (view.reason, view.path.errors[heard.kind], view.health) == (words, 2, Health.UP)
        assert view.share == 1.0  # anyone can forge it: it takes nothing out of service
        world.clock.advance(60)
        view = manager.backend(str(VIPS[4]), address)
        assert (view.reason, view.path.errors[heard.kind]) == ("", 2)

    run(tmp_path, scenario)
    assert [line for line in caplog.messages if line.startswith("path trouble")] == [
        f"path trouble: backend={address} forward={forward} reason={words!r}"
    ]


def test_a_failed_check_and_the_path_are_both_in_the_reason(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await add(manager, (VIPS[4], BACKEND, Forward.IPIP), (VIPS[4], "10.0.1.4", Forward.IPIP))
        await manager.put_health_check(str(VIPS[4]), HealthCheck())
        world.health.flip(BACKEND, Health.DOWN, "no answer in 1 s")
        world.errors.hear(error(ErrorKind.UNREACHABLE, 1))
        both = (
            "its check failed: no answer in 1 s;"
            " 10.0.0.254, on the way to it, says: it does not answer there (host unreachable)"
        )
        await until(lambda: manager.backend(str(VIPS[4]), BACKEND).reason == both)

    run(tmp_path, scenario)


def test_the_log_says_when_an_mtu_is_lowered_and_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def scenario(world: World, manager: Door) -> None:
        await add(manager, (VIPS[4], BACKEND, Forward.IPIP))
        world.errors.hear(too_big(1400))
        world.errors.hear(too_big(1400))
        await becomes(world, VIPS[4], BACKEND, 1400)
        world.clock.advance(600)
        await becomes(world, VIPS[4], BACKEND, 1500)

    run(tmp_path, scenario)
    assert [line for line in caplog.messages if line.startswith("path MTU")] == [
        "path MTU lowered: backend=10.0.1.3 mtu=1400 router=10.0.0.254 until=2030-01-01T00:10:00Z",
        "path MTU tried again: backend=10.0.1.3 mtu=1500",
    ]
