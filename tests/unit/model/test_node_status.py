# SPDX-License-Identifier: Apache-2.0
"""What a node says of itself, as JSON and back; also from newer versions and from whoever sends anything."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from xdplb.model.errors import InvalidError
from xdplb.model.node import NodeState
from xdplb.model.node_status import NodeStatus

STATUS = NodeStatus(
    name="lb1",
    version="1.2.3",
    generation=41,
    observed_generation=40,
    digest="ab" * 32,
    since=1_700_000_000.5,
    url="https://lb1.example.net:8443",
    peer="10.0.0.1:4815",
    state=NodeState.DRAINING,
    vips={"ONLINE": 3, "DEGRADED": 1},
    backends=12,
    backends_out=2,
    health="0badcafe",
    connections_per_second=12.5,
    packets_per_second=900.0,
    vip_generations={"203.0.113.10:443:tcp": 7},
)


def test_what_is_said_is_what_is_read():
    assert NodeStatus.of_json(json.dumps(STATUS.data())) == STATUS


def test_a_short_form_leaves_out_what_is_long():
    many = replace(STATUS, vip_generations={f"203.0.113.{number}:443:tcp": number for number in range(250)})
    short = many.compact(1000)
    assert len(short) <= 1000
    assert NodeStatus.of_json(short) == replace(STATUS, vip_generations={})
    assert NodeStatus.of_json(many.compact(100)).name == "lb1"


def test_fields_of_a_newer_version_are_ignored_and_its_words_are_kept():
    newer = {**STATUS.data(), "colour": {"deep": [1]}, "state": "hibernating"}
    assert NodeStatus.of(newer) == replace(STATUS, state="hibernating")


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{", '{"name": 7}', '{"name": "A B"}', '{"name": ""}', "[" * 100_000, '{"version":"1"}']
)
def test_what_names_no_node_is_refused(text: str):
    with pytest.raises(InvalidError):
        NodeStatus.of_json(text)


@pytest.mark.parametrize("bad", ["x", -1, 1e400, True, None, [], {}, 1 << 70, 10**400, "\x1b[2J"])
def test_a_bad_field_harms_no_other(bad: object):
    for name in STATUS.data():
        if name in {"name", "version", "digest", "url", "peer", "health"}:
            continue
        read = NodeStatus.of({**STATUS.data(), name: bad})
        assert (read.name, read.version) == ("lb1", "1.2.3")
        json.dumps(read.data(), allow_nan=False)


def test_text_of_others_cannot_drive_a_terminal():
    assert "\x1b" not in NodeStatus.of({"name": "lb1", "version": "\x1b[2J"}).version
