# SPDX-License-Identifier: Apache-2.0
"""Rates from two answers of the API."""

from __future__ import annotations

import pytest

from xdplb.cli.rates import rates
from xdplb.cli.top_tables import cut, short


def test_a_counter_counts_from_what_it_was_from_zero_if_new_and_has_no_rate_if_it_fell():
    before = {"vips": [{"vip": "a", "packets": 10, "bytes": 900}], "drops": {"ttl": 1}}
    now = {
        "vips": [{"vip": "b", "packets": 4, "bytes": 8}, {"vip": "a", "packets": 30, "bytes": 100}],
        "drops": {"ttl": 3},
    }
    assert rates(before, now, 2.0) == {
        "vips": [{"vip": "b", "packets": 2.0, "bytes": 4.0}, {"vip": "a", "packets": 10.0, "bytes": None}],
        "drops": {"ttl": 1.0},
    }


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"), (0, "0"), (0.04, "0.0"), (1.25, "1.2"), (9.96, "10"), (999.4, "999"), (999.6, "1.00k"),
        (12_345, "12.3k"), (999_600, "1.00M"), (1e9, "1.00G"), (1.5e18, "1500P"),
    ],
)  # fmt: skip
def test_a_number_has_five_characters(value: float | None, shown: str):
    assert short(value) == shown
    assert len(short(value)) <= 5


def test_an_address_is_cut_in_front_and_drives_no_terminal():
    assert cut("[2001:db8::1]:443/tcp", 9) == "…:443/tcp"
    assert cut("\x1b[31m", 20) == "\\x1b[31m"
