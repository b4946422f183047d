# SPDX-License-Identifier: Apache-2.0
"""VIPs on the addresses of the balancer's host: what is refused, what is warned about, and in which words."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_address, ip_interface
from typing import Any

import pytest

from tests.fakes import FakeNextHops
from xdplb.control.edits.apply import apply_edit
from xdplb.control.edits.edit import Batch, CreateVip
from xdplb.control.state.desired import Desired
from xdplb.model.errors import ConflictError
from xdplb.model.host import Host, OwnAddress, OwnSocket
from xdplb.model.vip import Protocol, Vip, VipKey

from .api_harness import Api, problem_of, running_api

VIPS = "/v1/vips"
EPHEMERAL = (range(32768, 61000),)


def own(address: str, interface: str = "eth0", *, is_source: bool = True) -> OwnAddress:
    given = ip_interface(address)
    return OwnAddress(given.ip, given.network, interface, is_source)


MAIN, MAIN6 = own("10.77.0.2/24"), own("2001:db8:77::2/64")
VRRP = own("203.0.113.10/32", is_source=False)
HOST = Host((MAIN, MAIN6, VRRP), EPHEMERAL)


@pytest.fixture
def api() -> Iterator[Api]:
    with running_api() as running:
        hops_of(running).own = HOST
        yield running


def hops_of(api: Api) -> FakeNextHops:
    hops: Any = api.manager._next_hops
    assert isinstance(hops, FakeNextHops)
    return hops


def body(address: str, ports: str, protocol: str = "tcp") -> dict[str, object]:
    first, dash, last = ports.partition("-")
    return {"address": address, "port": int(first), "protocol": protocol} | ({"last_port": int(last)} if dash else {})


@pytest.mark.parametrize(
    ("address", "ports", "protocol", "taken"),
    [
        ("10.77.0.2", "0", "tcp", "32768-60999"),
        ("10.77.0.2", "0", "udp", "32768-60999"),
        ("10.77.0.2", "1-32768", "tcp", "32768"),
        ("10.77.0.2", "60000-65535", "tcp+udp", "60000-60999"),
        ("10.77.0.2", "40000", "tcp", "40000"),
        ("10.77.0.0/24", "0", "tcp", "32768-60999"),
        ("10.64.0.0/10", "50000-50009", "udp", "50000-50009"),
        ("2001:db8:77::2", "0", "tcp", "32768-60999"),
        ("2001:db8:77::/64", "0", "tcp+udp", "32768-60999"),
    ],
)
def test_a_vip_over_the_ports_that_the_host_connects_from_is_refused(
    api: Api, address: str, ports: str, protocol: str, taken: str
) -> None:
    for query in ("?dry_run=true", ""):
        problem = problem_of(api.ask("POST", VIPS + query, body(address, ports, protocol)), 409)
        assert "connections of this host leave from ports 32768-60999" in problem["detail"]
        assert f"is an address of {MAIN.interface}" in problem["detail"]
        assert "ports outside of 32768-60999" in problem["hint"]
        assert (f"add {taken} to net.ipv4.ip_local_reserved_ports" in problem["hint"]) is (taken != "32768-60999")
        assert problem["errors"][0]["pointer"] == ("/address" if "/" in address else "/port")
    key = VipKey.parse(f"[{address}]:{ports}/{protocol}")
    problem_of(api.ask("PUT", f"{VIPS}/{key.path}", {}), 409)
    assert api.ask("GET", VIPS).json()["vips"] == []


@pytest.mark.parametrize(
    ("address", "ports"),
    [("10.77.0.2", "80"), ("10.77.0.2", "1-32767"), ("10.77.0.0/24", "443"), ("10.77.0.9", "0"), ("10.78.0.0/24", "0")],
)
def test_ports_below_and_addresses_beside_are_nobodys_business(api: Api, address: str, ports: str) -> None:
    response = api.ask("POST", VIPS, body(address, ports))
    assert (response.status_code, response.json()["warnings"]) == (201, [])
    assert api.ask("GET", "/v1/status").json()["warnings"] == []


def test_reserved_ports_are_not_the_hosts_own(api: Api) -> None:
    hint = problem_of(api.ask("POST", VIPS, body("10.77.0.2", "40000")), 409)["hint"]
    assert "add 40000 to net.ipv4.ip_local_reserved_ports" in hint
    hops_of(api).own = Host(HOST.addresses, (range(32768, 40000), range(40001, 61000)))
    assert api.ask("POST", VIPS, body("10.77.0.2", "40000")).status_code == 201
    # To reserve all of them would leave none to the host.
    assert "reserved" not in problem_of(api.ask("POST", VIPS, body("10.77.0.2", "0")), 409)["hint"]


def test_an_address_that_the_host_does_not_send_from_is_warned_about(api: Api) -> None:
    """As on the master of two balancers, where VRRP has put the VIP's address on the NIC."""
    told = api.ask("POST", VIPS, body("203.0.113.10", "0"))
    assert told.status_code == 201
    (warning,) = told.json()["warnings"]
    assert (warning["code"], warning["vip"]) == ("host_ports", "203.0.113.10:0/tcp")
    assert warning["detail"].startswith("VIP 203.0.113.10:0/tcp takes answers to this host's own connections")
    assert api.ask("GET", "/v1/status").json()["warnings"] == [warning["detail"]]


def test_the_only_address_of_a_host_as_a_vip_is_warned_about(api: Api) -> None:
    hops_of(api).own = Host((MAIN, MAIN6), EPHEMERAL)
    for query in ("?dry_run=true", ""):
        (warning,) = api.ask("POST", VIPS + query, body("10.77.0.2", "80")).json()["warnings"]
        assert warning["code"] == "host_source"
        assert "this host can send only from 10.77.0.2, the address of VIP 10.77.0.2:80/tcp" in warning["detail"]


def test_an_address_that_comes_later_is_warned_about_and_one_that_goes_is_not_any_more(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    assert api.ask("POST", VIPS, body("10.77.0.9", "0")).json()["warnings"] == []
    late = own("10.77.0.9/24", "eth1")
    assert api.client.portal is not None
    api.client.portal.call(hops_of(api).own_addresses, Host((*HOST.addresses, late), EPHEMERAL))
    (warning,) = api.ask("GET", "/v1/status").json()["warnings"]
    assert "10.77.0.9 is an address of eth1" in warning
    assert "a VIP is in the way of this host's own connections: vip=10.77.0.9:0/tcp reason=" in caplog.text
    changed = api.ask("PATCH", f"{VIPS}/10.77.0.9:0:tcp", {"name": "late"})
    assert changed.status_code == 200
    api.client.portal.call(hops_of(api).own_addresses, HOST)
    assert api.ask("GET", "/v1/status").json()["warnings"] == []


def test_the_error_of_a_batch_names_the_edit() -> None:
    fine, bad = (CreateVip(Vip(VipKey.parse(f"10.77.0.2:{port}/tcp"))) for port in (80, 0))
    with pytest.raises(ConflictError) as caught:
        apply_edit(Desired(), Batch((fine, bad)), datetime.now(UTC), HOST)
    assert caught.value.problems[0].pointer == "/edits/1/port"


def socket(address: str, port: int, peer: str | None = None, protocol: Protocol = Protocol.TCP) -> OwnSocket:
    return OwnSocket(protocol, ip_address(address), port, None if peer is None else ip_address(peer))


SSHD, SESSION = socket("0.0.0.0", 22), socket("203.0.113.10", 22, "198.51.100.9")


@pytest.mark.parametrize(
    ("sockets", "ports", "protocol", "detail"),
    [
        ([SSHD, SESSION], "22", "tcp", "port 22, with an open connection from 198.51.100.9"),
        ([SSHD], "1-1023", "tcp+udp", "port 22"),
        (
            [SESSION, socket("203.0.113.10", 22, "198.51.100.8")],
            "22",
            "tcp",
            "2 open connections from 198.51.100.8 and",
        ),
        ([SSHD, socket("::", 8443)], "1-9000", "tcp", "2 ports, such as 22"),
        ([SSHD, SESSION], "443", "tcp", None),
        ([SSHD], "22", "udp", None),
        ([socket("10.77.0.2", 22)], "22", "tcp", None),
        ([socket("203.0.113.10", 40000, "198.51.100.9")], "40000", "tcp", None),
    ],
)
def test_a_vip_that_takes_the_packets_of_the_hosts_own_services_is_told(
    api: Api, sockets: list[OwnSocket], ports: str, protocol: str, detail: str | None
) -> None:
    hops_of(api).own_sockets = sockets
    response = api.ask("POST", f"{VIPS}?dry_run=true", body("203.0.113.10", ports, protocol))
    told = [each["detail"] for each in response.json()["warnings"] if each["code"] == "own_service"]
    assert len(told) == (detail is not None), response.text
    assert detail is None or detail in told[0]
