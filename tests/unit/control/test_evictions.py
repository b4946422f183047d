# SPDX-License-Identifier: Apache-2.0
"""What the flow table lost, from what was made, deleted and found."""

from __future__ import annotations

from xdplb.control.flows.evictions import Evictions
from xdplb.dataplane.plane import VipCounters


def made(**records: int) -> dict[int, VipCounters]:
    """Return the counters of VIPs v0, v1, …"""
    return {int(name[1:]): VipCounters(records=count) for name, count in records.items()}


def begun(present: int = 10, **records: int) -> Evictions:
    evictions = Evictions()
    evictions.begin(present, made(**(records or {"v0": 50})))
    return evictions


def test_what_is_there_or_deleted_was_not_evicted():
    evictions = begun()
    evictions.made(made(v0=55))
    evictions.present(15)
    evictions.deleted(5)
    evictions.present(10)
    assert evictions.evicted == 0


def test_what_is_neither_there_nor_deleted_was_evicted():
    evictions = begun()
    evictions.made(made(v0=150))
    evictions.deleted(20)
    evictions.present(60)
    assert evictions.evicted == 30


def test_a_count_that_comes_late_takes_nothing_back():
    evictions = begun()
    evictions.made(made(v0=150))
    evictions.present(60)
    evictions.present(70)
    assert evictions.evicted == 50


def test_vips_that_come_go_and_share_an_id_count_what_they_made():
    evictions = begun(0, v0=50)
    evictions.made(made(v0=60, v1=7))
    evictions.made(made(v0=60))
    evictions.made(made(v0=60, v1=3))
    evictions.made(made(v0=4, v1=3))  # v0 is another one now, which made 4
    evictions.present(0)
    assert evictions.evicted == 10 + 7 + 3 + 4


def test_nothing_is_counted_before_the_first_count():
    evictions = Evictions()
    evictions.made(made(v0=100))
    evictions.deleted(5)
    evictions.present(7)
    assert (evictions.evicted, evictions.has_begun) == (0, False)
