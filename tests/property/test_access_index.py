# SPDX-License-Identifier: Apache-2.0
"""The access lists' index against the sentence that says what a list means, for any prefixes."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xdplb.dataplane import access_index
from xdplb.model.access import AccessList
from xdplb.model.address import IPAddress, IPNetwork

ADDRESS: dict[int, type[IPAddress]] = {4: IPv4Address, 6: IPv6Address}
NETWORK: dict[int, type[IPNetwork]] = {4: IPv4Network, 6: IPv6Network}
BITS = {4: 32, 6: 128}
BUILD = {4: access_index.build4, 6: access_index.build6}
NUMBERS = (0, 1, 63, 64, 255)


def addresses(bits: int) -> st.SearchStrategy[int]:
    """Addresses that lie close to each other and to the ends of the address space, of its halves and of blocks."""
    corners = [0, (1 << bits) - 1, 1 << (bits // 2), 1 << (bits - 1), (1 << (bits - 1)) - 1, 0xFFFF, 0x10000]
    near = st.builds(lambda corner, step: (corner + step) % (1 << bits), st.sampled_from(corners), st.integers(-9, 9))
    return near | st.integers(0, (1 << bits) - 1)


def networks(version: int) -> st.SearchStrategy[IPNetwork]:
    network, bits = NETWORK[version], BITS[version]

    def holding(value: int, length: int) -> IPNetwork:
        return network((value >> (bits - length) << (bits - length), length))

    return st.builds(holding, addresses(bits), st.integers(0, bits))


def access_lists(version: int) -> st.SearchStrategy[AccessList]:
    some = st.lists(networks(version), max_size=6).map(tuple)
    return st.builds(AccessList, some, some)


def denies(access_list: AccessList, address: IPAddress) -> bool:
    """The model: of the prefixes that hold the address the longest decides, of equal ones deny."""
    holding = [(network.prefixlen, False) for network in access_list.allow if address in network]
    holding += [(network.prefixlen, True) for network in access_list.deny if address in network]
    return max(holding)[1] if holding else bool(access_list.allow)


def interesting(version: int, lists: list[AccessList]) -> list[IPAddress]:
    """The addresses at which and beside which an answer may change."""
    address, bits = ADDRESS[version], BITS[version]
    values = {0, (1 << bits) - 1}
    for network in (network for one in lists for network in (*one.allow, *one.deny)):
        first, last = int(network.network_address), int(network.broadcast_address)
        values |= {first - 1, first, last, last + 1}
    return [address(value) for value in sorted(values) if 0 <= value < 1 << bits]


@pytest.mark.parametrize("version", [4, 6])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_the_longest_prefix_decides(version: int, data: st.DataObject):
    lists = data.draw(st.dictionaries(st.sampled_from(NUMBERS), access_lists(version), max_size=4))
    index = BUILD[version](lists)
    address, bits = ADDRESS[version], BITS[version]
    asked: list[IPAddress] = [
        *interesting(version, list(lists.values())),
        *(address(value) for value in data.draw(st.lists(addresses(bits), max_size=5))),
    ]
    for number in NUMBERS:
        of = lists.get(number, AccessList())
        for one in asked:
            assert access_index.is_denied(index, one, number) == denies(of, one), (number, one)
