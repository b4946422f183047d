# SPDX-License-Identifier: Apache-2.0
"""Where the addresses of a VIP are entered in the DNS."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from xdplb.model.dns import DnsEntry, server_of
from xdplb.model.errors import InvalidError
from xdplb.model.vip import Vip, VipKey

GIVEN: dict[str, Any] = {
    "name": "www.lb.example.com",
    "zone": "lb.example.com",
    "server": "192.0.2.53",
    "key_file": "/k",
}


def test_names_lose_their_final_dot_and_their_capitals() -> None:
    entry = DnsEntry(**{**GIVEN, "name": "WWW.lb.Example.com.", "zone": "lb.example.com."})
    assert (entry.name, entry.zone, entry.ttl) == ("www.lb.example.com", "lb.example.com", 30)


def test_a_name_may_be_the_zone_itself() -> None:
    assert DnsEntry(**{**GIVEN, "name": "lb.example.com"}).name == "lb.example.com"


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("192.0.2.53", "192.0.2.53", 53),
        ("192.0.2.53:5353", "192.0.2.53", 5353),
        ("2001:db8::53", "2001:db8::53", 53),
        ("[2001:db8::53]", "2001:db8::53", 53),
        ("[2001:db8::53]:5353", "2001:db8::53", 5353),
        ("127.0.0.1:5353", "127.0.0.1", 5353),
        ("::1", "::1", 53),
    ],
)
def test_a_server_is_an_address_with_a_port_or_without(text: str, address: str, port: int) -> None:
    assert server_of(text) == (ip_address(address), port)


def test_equal_servers_are_written_in_one_way() -> None:
    texts = ["2001:db8::53", "[2001:db8::53]:53", "[2001:DB8:0::53]"]
    assert {DnsEntry(**{**GIVEN, "server": text}).server for text in texts} == {"2001:db8::53"}


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("name", "www..example.com", "not a DNS name"),
        ("name", "-a.lb.example.com", "not a DNS name"),
        ("name", f"{'a' * 64}.lb.example.com", "not a DNS name"),
        ("name", f"{'a.' * 130}lb.example.com", "not a DNS name"),
        ("name", "www.lb.example.com\n", "not a DNS name"),
        ("name", "www.example.org", "not in the zone"),
        ("name", "wwwlb.example.com", "not in the zone"),
        ("server", "ns1.example.com", "not an IP address"),
        ("server", "192.0.2.53:0", "port of the server is 0"),
        ("server", "192.0.2.53:70000", "not a port"),
        ("server", "224.0.0.1", "multicast"),
        ("key_file", "dns.key", "not an absolute path"),
        ("key_file", "/a\nb", "not an absolute path"),
        ("ttl", 0, "ttl is 0"),
        ("ttl", 86401, "ttl is 86401"),
    ],
)
def test_a_fault_names_its_field(field: str, value: object, words: str) -> None:
    with pytest.raises(InvalidError) as caught:
        DnsEntry(**{**GIVEN, field: value})
    assert words in str(caught.value)
    assert caught.value.problems[0].pointer == f"/dns/{field}"
    assert caught.value.hint


def test_a_prefix_has_no_address_to_enter() -> None:
    with pytest.raises(InvalidError, match="has many addresses"):
        Vip(VipKey.parse("203.0.113.0/24:80/tcp"), dns=DnsEntry(**GIVEN))
