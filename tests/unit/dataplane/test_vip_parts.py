# SPDX-License-Identifier: Apache-2.0
"""The parts of the VIP maps, kept up to date change by change, are those that the same VIPs would make anew."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st

from xdplb.dataplane.plane import Capacity, VipEntry
from xdplb.dataplane.vip_parts import FAMILIES, VipParts
from xdplb.model.vip import Protocol, VipKey

ADDRESSES = st.sampled_from([IPv4Address("10.0.0.0"), IPv4Address("10.0.0.16"), IPv6Address("2001:db8::")])
KEYS = st.builds(
    lambda address, port, protocol, bits: VipKey(address, port, protocol, address.max_prefixlen - bits),
    ADDRESSES,
    st.sampled_from([0, 53, 80]),
    st.sampled_from(Protocol),
    st.sampled_from([0, 0, 4]),
)
CHANGES = st.lists(
    st.tuples(
        st.dictionaries(st.integers(0, 7), st.tuples(KEYS, st.integers(1, 3)), max_size=4), st.sets(st.integers(0, 7))
    ),
    max_size=6,
)


@given(CHANGES)
def test_changes_lead_to_the_same_parts_as_a_new_start(changes) -> None:
    parts = VipParts()
    for wanted, gone in changes:
        left = {vip_id: vip for vip_id, vip in parts.vips.items() if vip_id not in gone and vip_id not in wanted}
        new = {
            vip_id: VipEntry(vip_id, key, track_always=False, idle_seconds=seconds)
            for vip_id, (key, seconds) in wanted.items()
            if key not in {vip.key for vip in left.values()}
        }
        by_key = {vip.key: vip for vip in new.values()}
        replaced = parts.vips.keys() - left.keys()
        before = {part: _content(parts, part) for part in _PARTS}
        touched = parts.replace(by_key.values(), replaced)
        anew = VipParts(list(parts.vips.values()))
        assert parts.vips == left | {vip.id: vip for vip in by_key.values()}
        for part in _PARTS:
            assert _content(parts, part) == _content(anew, part)
            assert part in touched or _content(parts, part) == before[part]


_PARTS = [(version, exact) for version in FAMILIES for exact in (True, False)]


def _content(parts: VipParts, part: tuple[int, bool]) -> object:
    version, exact = part
    if exact:
        return sorted(entry.tobytes() for entry in parts.entries(version))
    built = parts.build(Capacity(vips=64), part, None)
    assert isinstance(built, dict)
    return {key: value.tobytes() for key, value in built.items()}
