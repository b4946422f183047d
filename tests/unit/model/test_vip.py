# SPDX-License-Identifier: Apache-2.0
"""What settings of a VIP go together."""

from __future__ import annotations

import pytest

from xdplb.model.errors import InvalidError
from xdplb.model.vip import HashKind, QuicIds, RateLimits, Scheduler, Tracking, Vip, VipKey

TCP = VipKey.parse("203.0.113.10:443/tcp")
PER_CONNECTION = {Scheduler.RR, Scheduler.WRR, Scheduler.LC, Scheduler.WLC, Scheduler.P2C}


@pytest.mark.parametrize("scheduler", Scheduler)
def test_a_scheduler_that_chooses_per_connection_records_every_flow(scheduler: Scheduler):
    assert scheduler.is_per_connection is (scheduler in PER_CONNECTION)
    assert Vip(TCP, scheduler=scheduler).tracks_always is (scheduler in PER_CONNECTION)
    assert Vip(TCP, scheduler=scheduler, tracking=Tracking.ALWAYS).tracks_always


@pytest.mark.parametrize(
    ("scheduler", "traits"),
    [
        (Scheduler.MAGLEV, ""),
        (Scheduler.SH, ""),
        (Scheduler.RR, "takes_turns"),
        (Scheduler.WRR, "takes_turns weighs_turns"),
        (Scheduler.LC, "is_by_load compares_all"),
        (Scheduler.WLC, "is_by_load compares_all weighs_load"),
        (Scheduler.P2C, "is_by_load weighs_load"),
    ],
)
def test_the_traits_of_a_scheduler(scheduler: Scheduler, traits: str):
    names = ["is_by_load", "compares_all", "takes_turns", "weighs_turns", "weighs_load"]
    assert {name for name in names if getattr(scheduler, name)} == set(traits.split())


def test_what_is_omitted_is_the_scheduler_s_default():
    assert Vip(TCP).hash is HashKind.FIVE_TUPLE
    assert Vip(TCP, scheduler=Scheduler.SH).hash is HashKind.SOURCE
    assert Vip(TCP, hash=HashKind.SOURCE).hash is HashKind.SOURCE


@pytest.mark.parametrize(
    ("asked", "pointer"),
    [
        ({"scheduler": Scheduler.RR, "tracking": Tracking.AUTO}, "/tracking"),
        ({"scheduler": Scheduler.SH, "hash": HashKind.FIVE_TUPLE}, "/hash"),
        ({"quic": QuicIds(2)}, "/quic"),
        ({"idle_timeout_seconds": 0}, "/idle_timeout_seconds"),
        ({"name": "Web"}, "/name"),
    ],
)
def test_what_cannot_be_is_refused_with_its_field_and_a_remedy(asked: dict[str, object], pointer: str):
    with pytest.raises(InvalidError) as raised:
        Vip(TCP, **asked)  # type: ignore[arg-type]
    assert [problem.pointer for problem in raised.value.problems] == [pointer]
    assert raised.value.hint


@pytest.mark.parametrize(("length", "config_id"), [(0, 0), (9, 0), (2, 7), (2, -1)])
def test_server_ids_and_config_ids_have_ranges(length: int, config_id: int):
    with pytest.raises(InvalidError, match="quic"):
        QuicIds(length, config_id)


def test_limits_are_told_with_their_names():
    assert str(RateLimits(packets=1000, source_new_flows=5)) == "packets 1000/s, source_new_flows 5/s"
    assert str(RateLimits()) == "none"
    with pytest.raises(InvalidError, match=r"limits\.new_flows is -1"):
        RateLimits(new_flows=-1)
