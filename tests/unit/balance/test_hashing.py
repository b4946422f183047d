# SPDX-License-Identifier: Apache-2.0
"""The hash against vectors computed by a C program that reads the bytes of a header as the packet path does."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import numpy as np
import pytest

from xdplb.balance.hashing import TABLE_SIZE, flow_hash, flow_hash6, slot_of
from xdplb.model.vip import HashKind

VECTORS = [
    ("198.51.100.7", 40000, 443, 0x602558304FC44BD7, 24613, 0xB1F5BF949356F9B8),
    ("198.51.100.7", 40001, 443, 0x236F69FFFF4B4345, 9071, 0xB1F5BF949356F9B8),
    ("10.0.0.1", 1, 65535, 0xB4EBE42CD398B6CF, 46316, 0xCB68CE0B3D690947),
    ("255.255.255.254", 65535, 1, 0x83A80A83225829BA, 33704, 0xC7E9F70C99E94FE7),
    ("192.0.2.1", 53, 53, 0xC157F7EF855FCB3D, 49496, 0x7F645907E5B51D7A),
]

VECTORS6 = [
    ("2001:db8::7", 40000, 443, 0x1777DFC9B36A13E6, 6007, 0xCE1A01550BD83E77),
    ("2001:db8::7", 40001, 443, 0xD256C7C368637B57, 53847, 0xCE1A01550BD83E77),
    ("fd00:1:2:3:4:5:6:7", 1, 65535, 0x2C4140AD718FDC75, 11329, 0x12AB9853C17E4003),
    ("2001:db8:ffff:ffff:ffff:ffff:ffff:fffe", 65535, 1, 0x52C3181F215DF08C, 21187, 0x7C3CBBF5B60ABD45),
    ("2001:db8:1::", 53, 53, 0x41375B67416A292A, 16695, 0x5B4DB42DCB04698C),
]


def halves(address: str) -> tuple[int, int]:
    return divmod(int(IPv6Address(address)), 1 << 64)


@pytest.mark.parametrize(("source", "source_port", "port", "expected", "slot", "_by_source"), VECTORS)
def test_known_answers(source, source_port, port, expected, slot, _by_source):
    hashes = flow_hash(int(IPv4Address(source)), source_port, port)
    assert hashes.dtype == np.uint64
    assert hashes.tolist() == [expected]
    assert slot_of(hashes).tolist() == [slot]


@pytest.mark.parametrize(("source", "source_port", "port", "_expected", "_slot", "by_source"), VECTORS)
def test_known_answers_of_the_hash_of_the_source_alone(source, source_port, port, _expected, _slot, by_source):
    assert flow_hash(int(IPv4Address(source)), source_port, port, HashKind.SOURCE).tolist() == [by_source]


@pytest.mark.parametrize("vector", VECTORS6, ids=lambda vector: vector[0])
def test_known_answers_of_ipv6(vector):
    source, source_port, port, expected, slot, by_source = vector
    hashes = flow_hash6(halves(source), source_port, port)
    assert hashes.dtype == np.uint64
    assert hashes.tolist() == [expected]
    assert slot_of(hashes).tolist() == [slot]
    assert flow_hash6(halves(source), source_port, port, HashKind.SOURCE).tolist() == [by_source]


def test_columns_of_ipv6_give_what_single_flows_give():
    sources = np.array([halves(vector[0]) for vector in VECTORS6], np.uint64)
    source_ports = np.array([vector[1] for vector in VECTORS6], np.uint16)
    ports = np.array([vector[2] for vector in VECTORS6], np.uint16)
    assert flow_hash6(sources, source_ports, ports).tolist() == [vector[3] for vector in VECTORS6]


def test_columns_give_what_single_flows_give():
    sources = np.array([int(IPv4Address(vector[0])) for vector in VECTORS], np.uint32)
    source_ports = np.array([vector[1] for vector in VECTORS], np.uint16)
    ports = np.array([vector[2] for vector in VECTORS], np.uint16)
    assert flow_hash(sources, source_ports, ports).tolist() == [vector[3] for vector in VECTORS]


def test_flows_of_one_client_are_spread_over_all_slots():
    slots = slot_of(flow_hash(int(IPv4Address("198.51.100.7")), np.arange(1, 65536), 443))
    assert slots.max() < TABLE_SIZE
    quarters = np.bincount(slots * 4 // TABLE_SIZE, minlength=4)
    assert quarters.min() > 16000, quarters
