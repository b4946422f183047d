# SPDX-License-Identifier: Apache-2.0
"""What goes to peers and comes back: records, moving slots, and what is refused."""

from __future__ import annotations

import random
from ipaddress import ip_address

import numpy as np
import pytest

from tests.unit.peers.wires import record
from xdplb.model.key import VipKey
from xdplb.model.shared_record import NO_RECORDS, SharedSlots, SharedState
from xdplb.peers.records import decode_records, encode_records
from xdplb.peers.state import decode_state, encode_state
from xdplb.peers.window import WINDOW, Window

MOST = 1 << 30


def _all_families():
    return np.concatenate(
        [
            record(port=1),
            record(backend="2001:db8:1::11", port=2),
            record("2001:db8::7", "10.0.0.11", vip="2001:db8::10", port=3),
            record("2001:db8::7", "2001:db8:1::11", vip="2001:db8::10", port=4),
        ]
    )


def test_records_of_all_families_come_back_as_they_were():
    records = _all_families()
    body, count = next(encode_records(records, 1300))
    assert count == 4
    back = decode_records(body)
    assert back.tobytes() == records.tobytes()


@pytest.mark.parametrize(("age", "held"), [(0, 0), (1.5, 1.5), (1e30, 4294967.295), (np.inf, 4294967.295), (-3, 0)])
def test_ages_that_do_not_fit_are_cut(age: float, held: float):
    one = record()
    one["age"] = age
    body, _ = next(encode_records(one, 1300))
    assert decode_records(body)["age"][0] == pytest.approx(held, rel=1e-6)


def test_no_records_are_no_body():
    assert list(encode_records(NO_RECORDS, 1300)) == []
    assert len(decode_records(b"")) == 0


def test_a_part_of_a_kind_that_is_not_known_is_skipped():
    body, _ = next(encode_records(record(port=9), 1300))
    newer = bytes([99, 2, 0, 3]) + b"abc"
    assert decode_records(newer + body + newer)["source_port"].tolist() == [9]


@pytest.mark.parametrize("cut", [1, 3, 5, 20])
def test_a_body_that_is_cut_short_is_refused(cut: int):
    body, _ = next(encode_records(record(), 1300))
    with pytest.raises(ValueError, match="a part"):
        decode_records(body[:-cut])


def _state() -> SharedState:
    slots = SharedSlots(
        VipKey.parse("203.0.113.10:443/tcp"),
        (ip_address("10.0.0.11"), ip_address("2001:db8::11")),
        np.array([0, 65536, 7], np.uint32),
        np.array([0, 1, 1], np.uint16),
        np.array([0.5, 12, 0], np.float32),
    )
    none = np.zeros(0, np.uint32), np.zeros(0, np.uint16), np.zeros(0, np.float32)
    six = SharedSlots(VipKey.parse("[2001:db8::/64]:0/tcp+udp"), (), *none)
    return SharedState((slots, six), np.concatenate([record(port=port) for port in range(1, 5000)]))


def test_a_state_comes_back_as_it_was_whatever_pieces_it_comes_in():
    state, rng = _state(), random.Random(1)
    whole = b"".join(encode_state(state))
    pieces, at = [], 0
    while at < len(whole):
        size = rng.choice([1, 7, 4000, 70_000])
        pieces.append(whole[at : at + size])
        at += size
    back = decode_state(pieces, MOST)
    assert sorted(back.records["source_port"].tolist()) == list(range(1, 5000))
    for one, other in zip(back.slots, state.slots, strict=True):
        assert (one.key, one.addresses) == (other.key, other.addresses)
        assert one.numbers.tolist() == other.numbers.tolist()
        assert one.previous.tolist() == other.previous.tolist()
        assert one.ages.tolist() == pytest.approx(other.ages.tolist())


def test_a_state_that_is_cut_off_too_long_or_something_else_is_refused():
    whole = b"".join(encode_state(_state()))
    for bad in ([whole[:-1]], [whole[:5]], [], [b"<html>"], [b"xdplb records 2\n"]):
        with pytest.raises(ValueError, match="it"):
            decode_state(bad, MOST)
    with pytest.raises(ValueError, match="longer"):
        decode_state([whole], 1000)
    with pytest.raises(ValueError, match="too long"):
        decode_state([whole[:16] + b"\xff\xff\xff\xff\x01"], MOST)


def test_a_frame_of_a_kind_that_is_not_known_is_skipped():
    first, *rest = encode_state(_state())
    assert len(decode_state([first, b"\0\0\0\3\x63abc", *rest], MOST).records) == 4999


def test_a_state_with_anything_in_it_raises_nothing_but_value_errors():
    whole, rng = b"".join(encode_state(_state()))[:9000], random.Random(2)
    for _ in range(1500):
        bad = bytearray(whole)
        for _ in range(rng.randint(1, 5)):
            bad[rng.randrange(16, 200)] = rng.randrange(256)
        with pytest.raises(ValueError, match=r"."):
            decode_state([bytes(bad)], MOST)


def test_a_window_takes_each_number_once_and_none_that_is_too_old():
    window = Window()
    assert not window.accept(0, 0.0)
    assert window.accept(5000, 0.0)
    assert not window.accept(5000, 0.0)
    assert window.accept(5000 - WINDOW + 1, 0.0)
    assert not window.accept(5000 - WINDOW, 0.0)
    assert window.lost(1.0) == 4998
    assert window.lost(2.0) == 0
    assert window.accept(1 << 63, 3.0)
    assert window.lost(9.0) == (1 << 63) - 5001
