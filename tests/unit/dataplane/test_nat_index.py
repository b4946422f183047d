# SPDX-License-Identifier: Apache-2.0
"""The index of NAT backends: whenever a packet looks, it finds each backend there or is told that the map has it."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from xdplb.dataplane import layout
from xdplb.dataplane.backend_codec import nat_keys
from xdplb.dataplane.nat_index import arranged, group_and_tag
from xdplb.dataplane.plane import BackendEntry, NatWay
from xdplb.model.vip import Forward

EMPTY = [0] * layout.NAT_WAYS
ENTRIES = st.integers(1, 9).flatmap(lambda tag: st.integers(1, 3).map(lambda number: tag << 40 | number))
GROUPS = st.sets(ENTRIES, max_size=7)


def find(places: list[int], wanted: int) -> int | None:
    """Return what a packet finds by an entry's tag, as nat_find.h does; None if it is to ask the map."""
    for place in places:
        if place >> layout.NAT_TAG_SHIFT == wanted >> layout.NAT_TAG_SHIFT:
            return place
    return None if places[-1] == layout.NAT_ELSEWHERE else 0


def stores(before: list[int], after: list[int]) -> Iterator[list[int]]:
    """Yield the places as they are between any two stores, and at last."""
    now = list(before)
    for place, entry in enumerate(after):
        now[place] = entry
        yield list(now)


def is_alone(entry: int, entries: set[int]) -> bool:
    return [other >> 40 for other in entries].count(entry >> 40) == 1


@given(GROUPS, GROUPS)
def test_what_is_there_before_and_after_a_change_is_found_all_the_time(first: set[int], second: set[int]) -> None:
    before = arranged(EMPTY, first)
    for places in stores(before, arranged(before, second)):
        for entry in first & second:
            if is_alone(entry, first) and is_alone(entry, second):
                assert find(places, entry) in {entry, None}


@given(GROUPS)
def test_each_is_found_or_the_map_is_asked_and_nothing_else_is_found(entries: set[int]) -> None:
    places = arranged(EMPTY, entries)
    for entry in entries:
        found = find(places, entry)
        assert found == entry if found else found is None
    if len(entries) <= layout.NAT_WAYS and all(is_alone(entry, entries) for entry in entries):
        assert sorted(filter(None, places)) == sorted(entries)


def test_entries_that_look_the_same_are_all_left_to_the_map() -> None:
    twins = {7 << 40 | 1, 7 << 40 | 2}
    assert arranged(EMPTY, twins) == [0, 0, 0, layout.NAT_ELSEWHERE]


def test_backends_of_neighbouring_addresses_and_ports_are_spread_over_the_groups() -> None:
    for first in ("10.0.0.1", "2001:db8::1"):
        found: dict[int, set[int]] = {}
        for host in range(64):
            way = NatWay(ip_address(first), 0, 8000, 8015, (6, 17))
            entry = BackendEntry(1, 0, 0, ip_address(first) + host, Forward.NAT, usable=True, next_hop=None, nat=way)
            for key in nat_keys(entry):
                group, tag = group_and_tag(key, 4096)
                assert 0 <= group < 4096
                assert tag not in found.setdefault(group, set())
                found[group].add(tag)
        assert max(map(len, found.values())) <= 2 * layout.NAT_WAYS, "2048 keys in 4096 groups"
