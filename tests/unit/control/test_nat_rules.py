# SPDX-License-Identifier: Apache-2.0
"""What NAT is refused for: where a reply would not tell which VIP it is of, or which of its addresses."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from xdplb.control.edits.assemble import check_assembled
from xdplb.control.edits.edit import KEEP
from xdplb.control.edits.nat_rules import check_served_ports, served_by_two
from xdplb.control.edits.rules import check_backends, check_settings
from xdplb.control.state.desired import NO_ACCESS_LIST, Desired, DesiredBackend, DesiredVip
from xdplb.model.backend import Backend
from xdplb.model.errors import ConflictError, InvalidError
from xdplb.model.nat import served_ports
from xdplb.model.vip import Forward, Vip, VipKey

HOST, HOST6 = ip_address("10.0.0.1"), ip_address("2001:db8:1::1")


def vip(key: str, *backends: Backend, forward: Forward = Forward.NAT) -> DesiredVip:
    held = {backend.address: DesiredBackend(backend) for backend in backends or (Backend(HOST),)}
    return DesiredVip(Vip(VipKey.parse(key), forward=forward), (), held, NO_ACCESS_LIST)


def desired(*vips: DesiredVip) -> Desired:
    return Desired({each.vip.key: each for each in vips})


REFUSED = {
    "a prefix": (vip("203.0.113.0/24:80/tcp"), "/address", "has many addresses, and a reply does not tell"),
    "another family": (
        vip("203.0.113.10:80/tcp", Backend(HOST6)),
        "/address",
        "cannot be reached by nat: VIP 203.0.113.10:80/tcp is IPv4",
    ),
    "its own way, with another family": (
        vip("203.0.113.10:80/tcp", Backend(HOST6, forward=Forward.NAT), forward=Forward.IPIP),
        "/forward",
        "cannot be reached by nat",
    ),
    "a long range": (vip("203.0.113.10:8000-8064/tcp"), "/address", "has 65 ports, and nat takes at most 64"),
    "a port without nat": (
        vip("203.0.113.10:80/tcp", Backend(HOST, port=8080), forward=Forward.DR),
        "/port",
        "has the port 8080, but is reached by dr",
    ),
    "a port for all ports": (
        vip("203.0.113.10:0/tcp", Backend(HOST, port=8080)),
        "/port",
        "is for all ports, so backend 10.0.0.1 cannot have a port of its own",
    ),
    "a range beyond the last port": (
        vip("203.0.113.10:8000-8003/tcp", Backend(HOST, port=65533)),
        "/port",
        "has 4 ports: from 65533 on there are fewer",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_nat_cannot_do_is_refused(what: str) -> None:
    asked, pointer, said = REFUSED[what]
    with pytest.raises(InvalidError) as refused:
        check_backends(asked, list(asked.backends))
    assert refused.value.problems[0].pointer == pointer
    assert said in refused.value.detail
    assert refused.value.hint


def test_a_vip_that_becomes_nat_is_asked_of_all_its_backends() -> None:
    with pytest.raises(InvalidError) as refused:
        check_settings(vip("203.0.113.0/24:80/tcp"))
    assert refused.value.problems[0].pointer == "/forward"


def test_a_vip_that_is_nat_no_more_is_told_of_its_own_forward_and_not_of_its_own_port() -> None:
    with pytest.raises(InvalidError) as refused:
        check_settings(vip("203.0.113.10:80/tcp", Backend(HOST, port=8080), forward=Forward.DR))
    assert refused.value.problems[0].pointer == "/forward"


def test_a_vip_that_becomes_nat_may_not_share_a_port_of_a_backend() -> None:
    other, before = vip("203.0.113.11:80/tcp"), vip("203.0.113.10:80/tcp", forward=Forward.DR)
    after = vip("203.0.113.10:80/tcp")
    with pytest.raises(ConflictError) as refused:
        check_assembled(desired(other, after), before, after, KEEP)
    assert refused.value.problems[0].pointer == "/forward"


@pytest.mark.parametrize(
    "key", ["203.0.113.10:80/tcp", "203.0.113.10:0/tcp+udp", "203.0.113.10/32:8000-8063/udp", "[2001:db8:f::10]:80/tcp"]
)
def test_what_nat_can_do(key: str) -> None:
    asked = vip(key, Backend(HOST6 if "[" in key else HOST))
    check_backends(asked, list(asked.backends))
    check_settings(asked)


SHARED = {
    "the same port": ("203.0.113.10:80/tcp", "203.0.113.11:80/tcp", None, None, 80),
    "another port of the VIP, mapped to the same": ("203.0.113.10:80/tcp", "203.0.113.11:81/tcp", 8080, 8080, 8080),
    "inside a range": ("203.0.113.10:80/tcp", "203.0.113.11:9000-9009/tcp", 9005, None, 9005),
    "one of two protocols": ("203.0.113.10:53/udp", "203.0.113.11:53/tcp+udp", None, None, 53),
    "all ports": ("203.0.113.10:443/tcp", "203.0.113.11:0/tcp", None, None, 443),
}


@pytest.mark.parametrize("what", SHARED)
def test_one_port_of_a_backend_for_two_vips_is_refused(what: str) -> None:
    one, two, port, other_port, shared = SHARED[what]
    first, second = vip(one, Backend(HOST, port=port)), vip(two, Backend(HOST, port=other_port))
    with pytest.raises(ConflictError) as refused:
        check_served_ports(desired(first, second), second, [HOST], {HOST: "/backends/0"})
    assert refused.value.problems[0].pointer == "/backends/0/port"
    assert f"backend {HOST} serves VIP {one} with port {shared} already" in refused.value.detail


APART = {
    "other ports": (vip("203.0.113.10:80/tcp"), vip("203.0.113.11:80/tcp", Backend(HOST, port=8080))),
    "other protocols": (vip("203.0.113.10:53/tcp"), vip("203.0.113.11:53/udp")),
    "another way": (vip("203.0.113.10:80/tcp", forward=Forward.DR), vip("203.0.113.11:80/tcp")),
    "other hosts": (vip("203.0.113.10:80/tcp"), vip("203.0.113.11:80/tcp", Backend(ip_address("10.0.0.2")))),
}


@pytest.mark.parametrize("what", APART)
def test_vips_that_replies_tell_apart(what: str) -> None:
    one, two = APART[what]
    assert list(served_by_two(desired(one, two), two, list(two.backends))) == []
    assert list(served_by_two(desired(one, two), one, list(one.backends))) == []


def test_a_range_is_served_by_as_many_ports_from_the_backend_s_own_on() -> None:
    key, own = VipKey.parse("203.0.113.10:8000-8003/tcp"), Backend(HOST, port=9000)
    assert served_ports(key, own) == range(9000, 9004)
    assert served_ports(key, replace(own, port=None)) == range(8000, 8004)
