# SPDX-License-Identifier: Apache-2.0
"""Sets of prefixes as arrays: what they hold is what networks of the same texts would say."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest

from xdplb.model.errors import InvalidError
from xdplb.model.prefixes import Prefixes

TEXTS = {
    4: ["192.0.2.0/24", "0.0.0.0/0", "192.0.2.7", "192.0.2.0/25", "255.255.255.255/32", "10.0.0.0/8"],
    6: ["2001:db8::/32", "::/0", "2001:db8::7", "2001:db8::/64", "2001:db8::/65", "8000::/1", "ffff::ffff/128"],
}


@pytest.mark.parametrize("version", [4, 6])
def test_it_is_what_the_networks_are(version: int):
    wanted = sorted({ip_network(text) for text in TEXTS[version]})
    found = Prefixes.parse(TEXTS[version] * 2, version, "/deny")
    assert list(found) == wanted
    assert found.texts() == [str(network) for network in wanted]
    assert Prefixes.unpack(version, found.pack()) == found == Prefixes.of(reversed(wanted))
    assert hash(Prefixes.of(wanted)) == hash(found)


@pytest.mark.parametrize("version", [4, 6])
def test_one_prefix_more_less_or_shorter_is_another_set(version: int):
    found = Prefixes.parse(TEXTS[version], version, "/deny")
    assert found != Prefixes.parse(TEXTS[version][1:], version, "/deny")
    assert found != Prefixes.parse([*TEXTS[version][1:], f"{TEXTS[version][0].partition('/')[0]}/31"], version, "/deny")
    assert found != Prefixes.of(())
    assert Prefixes.parse([], version, "/deny") == Prefixes.of(())


@pytest.mark.parametrize(
    ("version", "address", "longest"),
    [
        (4, "192.0.2.7", "192.0.2.7/32"),
        (4, "192.0.2.8", "192.0.2.0/25"),
        (4, "192.0.2.200", "192.0.2.0/24"),
        (4, "203.0.113.1", "0.0.0.0/0"),
        (6, "2001:db8::7", "2001:db8::7/128"),
        (6, "2001:db8::8", "2001:db8::/65"),
        (6, "2001:db8::8000:0:0:1", "2001:db8::/64"),
        (6, "2001:db8:1::", "2001:db8::/32"),
        (6, "::1", "::/0"),
    ],
)
def test_the_longest_that_holds_an_address(version: int, address: str, longest: str):
    found = Prefixes.parse(TEXTS[version], version, "/deny")
    assert found.longest(ip_address(address)) == ip_network(longest)


def test_none_holds_an_address_of_the_other_family_or_beside_all():
    found = Prefixes.of([IPv4Network("192.0.2.0/24")])
    assert found.longest(ip_address("192.0.3.0")) is None
    assert found.longest(ip_address("::")) is None
    assert Prefixes.of(()).longest(ip_address("192.0.2.1")) is None


def test_a_netmask_is_a_length_too():
    assert Prefixes.parse(["10.0.0.0/255.0.0.0"], 4, "/deny").texts() == ["10.0.0.0/8"]
    assert list(Prefixes.parse(["::ffff:192.0.2.1"], 6, "/deny")) == [IPv6Network("::ffff:c000:201/128")]


@pytest.mark.parametrize(
    ("version", "wrong"),
    [
        (4, "192.0.2.1/24"), (4, "192.0.2.0/33"), (4, "192.0.2.0/"), (4, "192.0.2.0/024 "), (4, "192.0.2"), (4, ""),
        (4, "192.0.02.1"), (4, "2001:db8::/32"), (4, "a\0b"), (4, "192.0.2.\N{ARABIC-INDIC DIGIT ONE}"),
        (6, "2001:db8::1/64"), (6, "2001:db8::/129"), (6, "192.0.2.0/24"), (6, "2001:db8::1::"), (6, "::1/0"),
    ],
)  # fmt: skip
def test_what_is_none_is_named_by_its_place(version: int, wrong: str):
    with pytest.raises(InvalidError) as raised:
        Prefixes.parse([TEXTS[version][0], wrong, TEXTS[version][1]], version, "/deny")
    assert [problem.pointer for problem in raised.value.problems] == ["/deny/1"]
    assert raised.value.hint
