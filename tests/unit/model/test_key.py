# SPDX-License-Identifier: Apache-2.0
"""VIPs as they are written, told apart and ranked."""

from __future__ import annotations

import itertools

import pytest

from xdplb.model.errors import InvalidError
from xdplb.model.key import Protocol, VipKey


@pytest.mark.parametrize(
    ("text", "canonical", "path"),
    [
        ("203.0.113.10:443/tcp", "203.0.113.10:443/tcp", "203.0.113.10:443:tcp"),
        ("203.0.113.10:443:TCP", "203.0.113.10:443/tcp", "203.0.113.10:443:tcp"),
        ("[2001:DB8::0010]:443/udp", "[2001:db8::10]:443/udp", "[2001:db8::10]:443:udp"),
        ("203.0.113.0/24:80/tcp", "203.0.113.0/24:80/tcp", "203.0.113.0_24:80:tcp"),
        ("203.0.113.0_24:80:tcp", "203.0.113.0/24:80/tcp", "203.0.113.0_24:80:tcp"),
        ("[2001:db8::/64]:8000-8999/tcp+udp", "[2001:db8::/64]:8000-8999/tcp+udp", "[2001:db8::_64]:8000-8999:tcp+udp"),
        ("203.0.113.10/32:53-53/udp", "203.0.113.10:53/udp", "203.0.113.10:53:udp"),
        ("203.0.113.10:1-65535/tcp", "203.0.113.10:0/tcp", "203.0.113.10:0:tcp"),
        ("203.0.113.10:0-0/tcp", "203.0.113.10:0/tcp", "203.0.113.10:0:tcp"),
    ],
)
def test_every_spelling_is_the_same_vip(text: str, canonical: str, path: str):
    key = VipKey.parse(text)
    assert (str(key), key.path) == (canonical, path)
    assert VipKey.parse(canonical) == VipKey.parse(path) == key
    assert VipKey.of(key.addresses_text, key.port, key.protocol, key.last_port) == key


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        ("203.0.113.10:443", "/vip"),
        ("2001:db8::10:443/tcp", "/vip"),
        ("203.0.113.10:443/sctp", "/protocol"),
        ("203.0.113.300:443/tcp", "/address"),
        ("203.0.113.10/24:443/tcp", "/address"),
        ("224.0.0.0/8:443/tcp", "/address"),
        ("[::ffff:203.0.113.10]:443/tcp", "/address"),
        ("203.0.113.10:65536/tcp", "/port"),
        ("203.0.113.10:/tcp", "/port"),
        ("203.0.113.10:90-80/tcp", "/last_port"),
        ("203.0.113.10:0-80/tcp", "/last_port"),
        ("203.0.113.10:80-/tcp", "/last_port"),
    ],
)
def test_what_is_no_vip_is_refused_with_its_field(text: str, pointer: str):
    with pytest.raises(InvalidError) as raised:
        VipKey.parse(text)
    assert [problem.pointer for problem in raised.value.problems] == [pointer]
    assert raised.value.hint


def test_the_longest_prefix_wins_then_the_fewest_ports_then_one_protocol():
    texts = [
        "203.0.113.10:80/tcp", "203.0.113.10:80/tcp+udp", "203.0.113.10:80-90/tcp", "203.0.113.10:0/tcp",
        "203.0.113.0/24:80/tcp", "203.0.113.0/24:0/tcp+udp", "203.0.0.0/16:80/tcp",
    ]  # fmt: skip
    ranks = [VipKey.parse(text).rank for text in texts]
    assert all(better > worse for better, worse in itertools.pairwise(ranks))


def test_all_ports_are_all_but_0():
    key = VipKey.parse("203.0.113.10:0/tcp")
    assert (key.ports[0], key.ports[-1], key.is_exact) == (1, 65535, False)


def test_what_is_of_one_address_and_port_is_exact_with_both_protocols_too():
    assert VipKey.parse("203.0.113.10:53/tcp+udp").is_exact
    assert Protocol.BOTH.numbers == (6, 17)
    assert not VipKey.parse("203.0.113.10:53-54/udp").is_exact
    assert not VipKey.parse("203.0.113.0/31:53/udp").is_exact


def test_vips_are_in_order_across_families():
    texts = ["[2001:db8::10]:80/tcp", "203.0.113.10:80/udp", "203.0.113.10:80/tcp", "203.0.113.0/24:80/tcp"]
    ordered = sorted(VipKey.parse(text) for text in texts)
    assert [str(key) for key in ordered] == [texts[3], texts[2], texts[1], texts[0]]
