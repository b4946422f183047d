# SPDX-License-Identifier: Apache-2.0
"""When a newer program is worse than the one before, by what both counted; and what only looks like it."""

from __future__ import annotations

import pytest

from xdplb.dataplane.spans import SENT, UNCOUNTED, Span
from xdplb.upgrade.judging import worse

BEFORE = Span(3.0, {SENT: 3000, "pass_not_ip": 30, "drop_denied": 60, UNCOUNTED: 0})


def after(seconds: float = 1.0, **packets: int) -> Span:
    return Span(seconds, packets)


@pytest.mark.parametrize(
    ("now", "what"),
    [
        (after(0.1, sent=0, drop_no_backend=100, drop_denied=2), "drop_no_backend"),
        (after(0.5, sent=420, drop_internal=80, drop_denied=10), "drop_internal"),
        (after(0.2, sent=100, pass_no_vip=100, drop_denied=4), "pass_no_vip"),
        (after(0.2, sent=10, pass_not_ip=190, drop_denied=4), "pass_not_ip"),
        (after(1.0, sent=600, drop_denied=400), "drop_denied"),
        (after(0.3, sent=5, drop_denied=6, uncounted=290), "counted nowhere"),
        (after(3.0, sent=2700, drop_denied=60, reason_61=300), "reason_61"),
        (after(1.1, drop_no_backend=4, pass_not_ip=10), "drop_no_backend"),
        (after(1.1, drop_internal=5, sent=20), "drop_internal"),
    ],
)
def test_packets_that_get_another_result_are_noticed(now: Span, what: str) -> None:
    told = worse(BEFORE, now, alone=True)
    assert told is not None
    assert what in told


@pytest.mark.parametrize(
    "now",
    [
        after(1.0, sent=1000, drop_denied=20, pass_not_ip=10),
        after(1.0, sent=100, drop_denied=2, pass_not_ip=1),
        after(1.0, sent=9000, drop_denied=180),
        after(1.0, sent=1000, drop_denied=5000),
        after(1.0, sent=980, drop_denied=20, pass_no_vip=1000),
        after(1.0, sent=970, drop_denied=20, drop_internal=30),
        after(0.1, sent=88, drop_denied=2, drop_internal=12),
        after(1.0, answer_echo=1000),
        after(1.0, sent=0),
        after(1.0),
        after(2.0, sent=300, drop_denied=24, pass_not_ip=26),
        after(1.5, sent=0, drop_denied=32),
        after(1.5, sent=0, drop_denied=30, drop_internal=3),
        after(1.5, sent=0, pass_no_vip=10),
        after(1.5, sent=500, drop_internal=10),
        after(0.05, sent=0, drop_internal=6),
        after(1.5, sent=100, drop_internal=10),
        after(1.5, uncounted=10),
        after(2.0, sent=0, drop_denied=40, pass_not_ip=20),
        after(5.0, sent=20, drop_denied=110, pass_not_ip=45),
    ],
    ids=[
        "the same",
        "less traffic",
        "more traffic",
        "a flood from a denied source",
        "a scan of other ports",
        "a share too small to tell",
        "too few packets to tell",
        "pings",
        "no packets of VIPs",
        "no packets",
        "fewer of one kind, as many of another as before",
        "the clients have ended, a denied source has not",
        "the clients have ended, and there were three drops",
        "the clients have ended, and somebody scans other ports",
        "half of the clients have ended, and there were a few drops",
        "a pause too short to be a silence",
        "nine tenths of the clients have ended, and there were a few drops",
        "the clients have ended, and a few packets came while counters were read",
        "the clients are gone, and denied sources go on",
        "nearly all clients are gone, and denied sources go on",
    ],
)
def test_traffic_that_changes_by_itself_rolls_nothing_back(now: Span) -> None:
    assert worse(BEFORE, now, alone=True) is None


def test_without_traffic_before_nothing_can_be_said() -> None:
    assert worse(Span(3.0, {SENT: 10}), after(1.0, drop_no_backend=1000), alone=True) is None


def test_both_shares_are_told() -> None:
    told = worse(BEFORE, after(0.5, drop_no_backend=500), alone=True)
    assert told == "packets with drop_no_backend: 100.0% of 500 packets in 0.5 s, before 0.0% of 3090 in 3.0 s"


@pytest.mark.parametrize(
    ("now", "is_told"),
    [
        (after(1.0, sent=100, pass_no_vip=500), False),
        (after(1.0, drop_no_backend=1000), False),
        (after(1.0, sent=100, drop_denied=900), False),
        (after(1.0, sent=100, drop_internal=900), True),
        (after(1.0, sent=100, uncounted=900), True),
    ],
)
def test_what_the_daemon_itself_leads_to_says_nothing_once_it_works(now: Span, is_told: bool) -> None:
    assert (worse(BEFORE, now, alone=False) is not None) is is_told
    assert worse(BEFORE, now, alone=True)
