# SPDX-License-Identifier: Apache-2.0
"""What nodes tell each other of the health of backends."""

from __future__ import annotations

import json

import pytest

from xdplb.model.backend import Health
from xdplb.model.node_health import MOST_OUT, NodeHealth, SeenHealth

WEB = "203.0.113.10:443:tcp"
DOWN = SeenHealth(Health.DOWN, "connection refused", 1700000000.5)


def test_there_and_back():
    told = NodeHealth.made(7, [((WEB, "10.0.0.11"), DOWN), ((WEB, "10.0.0.12"), SeenHealth(Health.UNKNOWN, "", 0.0))])
    assert NodeHealth.of(json.loads(json.dumps(told.data()))) == told


def test_what_is_not_told_is_up_if_the_node_knows_the_backend():
    told = NodeHealth.made(7, [((WEB, "10.0.0.11"), DOWN)])
    assert told.of_backend(WEB, "10.0.0.11", 9) == DOWN
    assert told.of_backend(WEB, "10.0.0.12", 7) == SeenHealth(Health.UP, "", 0.0)
    assert told.of_backend(WEB, "10.0.0.12", 8) is None


def test_of_many_that_are_out_only_some_are_told():
    told = NodeHealth.made(1, [((WEB, str(number)), DOWN) for number in range(MOST_OUT + 5)])
    assert (len(told.out), told.left_out) == (MOST_OUT, 5)
    assert told.of_backend(WEB, "another", 1) is None


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "x",
        {},
        {"out": []},
        {"out": {WEB: []}},
        {"out": {WEB: {"10.0.0.11": 5}}},
        {"generation": True, "left_out": -1, "out": None},
        {"generation": 10**400, "left_out": 1 << 64},
    ],
)
def test_what_is_not_understood_is_left_out(data):
    assert NodeHealth.of(data) == NodeHealth()


@pytest.mark.parametrize("health", ["fine", [], {}, 10**400])
@pytest.mark.parametrize("since", [float("nan"), 10**400, 1e12, -1, []])
def test_bad_fields_are_made_harmless(health, since):
    told = NodeHealth.of({"out": {WEB: {"10.0.0.11": {"health": health, "reason": "a\x1b[1m\n", "since": since}}}})
    assert told.out == {(WEB, "10.0.0.11"): SeenHealth(Health.UNKNOWN, r"a\x1b[1m\n", 0.0)}
