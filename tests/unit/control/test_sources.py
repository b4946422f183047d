# SPDX-License-Identifier: Apache-2.0
"""Where checks and tunnels leave from, when addresses of the host are VIPs' too."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from tests.fakes import next_hop
from xdplb.control.edits.apply import apply_edit
from xdplb.control.edits.edit import CreateBackend, CreateVip
from xdplb.control.plan.eligibility import Observed, assess
from xdplb.control.plan.host_concerns import host_concerns
from xdplb.control.plan.plan import plan
from xdplb.control.plan.sentences import warning_sentence
from xdplb.control.plan.sources import ANY_SOURCE, NO_SOURCES, Source, Sources
from xdplb.control.plan.steps import Held
from xdplb.control.state.desired import Desired
from xdplb.control.state.snapshot import Snapshot
from xdplb.dataplane.plane import Capacity
from xdplb.model.address import IPAddress
from xdplb.model.backend import Backend, Health, KnownHealth
from xdplb.model.host import Host, OwnAddress
from xdplb.model.next_hop import Resolution
from xdplb.model.vip import Forward, Vip, VipKey
from xdplb.net.local_ports import ephemeral_ports

EPHEMERAL = (range(32768, 61000),)
NOW = datetime(2030, 1, 1, tzinfo=UTC)
ROOM = Capacity(vips=16, backends=64, flows=1024)


def own(address: str, interface: str = "eth0", **facts: bool) -> OwnAddress:
    given = ip_interface(address)
    return OwnAddress(given.ip, given.network, interface, **facts)


def snapshot(vips: dict[str, list[str]], forward: Forward = Forward.DR) -> Snapshot:
    """Return the state with these VIPs, each with its backends."""
    desired = Desired()
    for text, backends in vips.items():
        key = VipKey.parse(text)
        desired = apply_edit(desired, CreateVip(Vip(key, forward=forward)), NOW)
        for address in backends:
            desired = apply_edit(desired, CreateBackend(key, Backend(ip_address(address))), NOW)
    return Snapshot().then(desired, ROOM)


def resolved(backend: str, source: str, *, gateway: str | None = None) -> Resolution:
    hop = next_hop(ip_address(backend), gateway=gateway)
    return Resolution(replace(hop, source=ip_address(source)))


def sources(addresses: list[OwnAddress], vips: dict[str, list[str]]) -> Sources:
    return Sources.of(Host(tuple(addresses), EPHEMERAL), snapshot(vips).desired)


def of_check(found: Sources, backend: str, source: str, *, gateway: str | None = None) -> Source:
    return found.of_check(ip_address(backend), resolved(backend, source, gateway=gateway))


VIP, WEB = "203.0.113.10", {"203.0.113.10:80/tcp": ["10.0.0.11"]}
MAIN, OTHER, MANAGEMENT = own("10.0.0.2/24"), own("10.0.5.2/24"), own("192.168.0.2/24", "eth9")
ON_NIC, ON_LO = own(f"{VIP}/32"), own(f"{VIP}/32", "lo")


def test_the_kernel_chooses_where_its_choice_is_no_vip_s() -> None:
    assert of_check(sources([MAIN, ON_NIC], WEB), "10.0.0.11", "10.0.0.2") is ANY_SOURCE
    assert of_check(sources([], WEB), "10.0.0.11", "10.0.0.2") is ANY_SOURCE


@pytest.mark.parametrize("vip_on", [ON_NIC, ON_LO, own(f"{VIP}/24")])
@pytest.mark.parametrize("vips", [WEB, {"203.0.113.0/24:80/tcp": ["10.0.0.11"]}])
def test_an_address_of_the_segment_comes_first(vip_on: OwnAddress, vips: dict[str, list[str]]) -> None:
    found = sources([vip_on, MANAGEMENT, OTHER, MAIN], vips)
    assert of_check(found, "10.0.0.11", VIP).address == MAIN.address
    assert of_check(found, "10.1.0.11", VIP, gateway="10.0.5.1").address == OTHER.address


def test_without_the_mac_too() -> None:
    unresolved = Resolution(None, "waiting for an ARP answer", ip_address(VIP))
    assert sources([ON_NIC, MAIN], WEB).of_check(ip_address("10.0.0.11"), unresolved).address == MAIN.address


def test_an_address_that_is_not_ready_is_not_taken() -> None:
    found = sources([ON_NIC, own("10.0.0.2/24", is_usable=False), OTHER], WEB)
    assert of_check(found, "10.0.0.11", VIP).address == OTHER.address


def test_an_address_of_another_nic_is_better_than_one_that_the_backend_has_too() -> None:
    assert of_check(sources([ON_NIC, MANAGEMENT], WEB), "10.0.0.11", VIP).address == MANAGEMENT.address


def test_a_backend_that_does_not_have_the_address_answers_it() -> None:
    found = sources([ON_NIC, MANAGEMENT], {**WEB, "203.0.113.20:80/tcp": ["10.0.0.12"]})
    assert of_check(found, "10.0.0.12", VIP) is ANY_SOURCE


@pytest.mark.parametrize(
    ("ports", "free"),
    [
        ("30000-40000", (range(40001, 61000),)),
        ("32768-60999", (range(1024, 32768), range(61000, 65536))),
        ("50000", (range(32768, 50000), range(50001, 61000))),
    ],
)
def test_ports_that_a_vip_takes_are_left_out(ports: str, free: tuple[range, ...]) -> None:
    found = sources([MAIN], {f"10.0.0.2:{ports}/tcp": [], "203.0.113.20:80/tcp": ["10.0.0.12"]})
    assert of_check(found, "10.0.0.12", "10.0.0.2") == Source(MAIN.address, free)
    udp = sources([MAIN], {f"10.0.0.2:{ports}/udp": []})
    assert of_check(udp, "10.0.0.12", "10.0.0.2") == Source(MAIN.address, datagram_ports=free)


@pytest.mark.parametrize("vips", [{f"{VIP}:80/tcp": ["10.0.0.11"]}, {f"{VIP}:0/tcp": []}])
def test_without_a_right_address_it_is_said(vips: dict[str, list[str]]) -> None:
    said = of_check(sources([ON_NIC], vips), "10.0.0.11", VIP)
    assert said.obstacle == (
        f"checks would leave from {VIP}, which is the address of VIP {next(iter(vips))}: give this host an IPv4 address"
        " that is no VIP's"
    )


ADDRESSES = {4: ("10.0.0.11", MAIN.address), 6: ("2001:db8::11", ip_address("2001:db8::2"))}


@pytest.mark.parametrize("forward", [Forward.IPIP, Forward.GUE])
@pytest.mark.parametrize("outer", [4, 6])
def test_tunnels_leave_from_another_address_as_soon_as_there_is_one(forward: Forward, outer: int) -> None:
    backend, better = ADDRESSES[outer]
    vip = {4: VIP, 6: "[2001:db8:f::10]"}[outer]
    kernels = vip.strip("[]")
    state = snapshot({f"{vip}:80/tcp": [backend]}, forward)
    resolution = resolved(backend, kernels)

    def source(held: Held, *addresses: OwnAddress) -> tuple[Held, IPAddress, str]:
        known = {1: KnownHealth(Health.UP, "", NOW)}
        host = Sources.of(Host(addresses, EPHEMERAL), state.desired)
        seen = Observed(known, {ip_address(backend): resolution}, sources=host)
        (standing,) = assess(next(iter(state.vips.values())), seen).values()
        after = plan(state, seen, held).after(held)
        (entry,) = after.backends.values()
        assert entry.next_hop is not None
        return after, entry.next_hop.source, standing.reason

    lone, other = own(f"{kernels}/{32 if outer == 4 else 128}"), own(f"{better}/{24 if outer == 4 else 64}")
    held, used, reason = source(Held(), lone)
    assert (used, f"its tunnel leaves from {kernels}, which is the address of VIP" in reason) == (
        ip_address(kernels),
        True,
    )
    held, used, reason = source(held, lone, other)
    assert (used, reason) == (better, "")
    assert source(held, other)[1:] == (ip_address(kernels), "")  # the kernel says so, and it is this host's no more


def test_the_kernel_s_ports_are_read_without_the_reserved_ones(tmp_path: Path) -> None:
    def read(local: str, reserved: str) -> tuple[range, ...]:
        (tmp_path / "ip_local_port_range").write_text(local)
        (tmp_path / "ip_local_reserved_ports").write_text(reserved)
        return ephemeral_ports(tmp_path)

    assert read("32768\t60999\n", "\n") == EPHEMERAL
    assert read("40000\t40009\n", "40000,40003-40005,50000\n") == (range(40001, 40003), range(40006, 40010))
    assert read("40000\t40009\n", "30000-50000\n") == ()
    assert read("40000\t40009\n", "30000-40004\n") == (range(40005, 40010),)
    assert ephemeral_ports(tmp_path / "nowhere") == EPHEMERAL


def test_a_prefix_of_outer_sources_that_has_a_vip_is_warned_about() -> None:
    vips = list(snapshot({"203.0.113.10:80/tcp": [], "10.0.9.9:80/tcp": [], "[2001:db8::10]:80/tcp": []}).vips)
    (warned,) = host_concerns(vips, NO_SOURCES, (ip_network("203.0.113.0/24"), ip_network("2001:db8:1::/64")))
    assert warned.vip == VipKey.parse("203.0.113.10:80/tcp")
    assert warning_sentence(warned).startswith(
        "packets of tunnels leave from 203.0.113.0/24, which has addresses of VIP 203.0.113.10:80/tcp"
    )
