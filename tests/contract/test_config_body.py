# SPDX-License-Identifier: Apache-2.0
"""The body of a whole configuration: all that is wrong with it at once, and what it makes of a desired state."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from xdplb.control.edits.apply import apply_edit
from xdplb.control.edits.edit import PutConfig
from xdplb.control.state.desired import Desired
from xdplb.model.errors import ConflictError, InvalidError
from xdplb_api.schemas.config import Config, body_of, examined, refuse

NOW = datetime(2026, 1, 1, tzinfo=UTC)
VIP = {"address": "203.0.113.10", "port": 80, "protocol": "tcp"}
FULL: dict[str, Any] = {
    **VIP,
    "name": "web",
    "forward": "gue",
    "health_check": {"type": "http", "path": "/healthz"},
    "access": {"deny": ["192.0.2.0/24"]},
    "limits": {"packets": 1000},
    "backends": [{"address": "10.0.0.11", "weight": 2}, {"address": "10.0.0.12", "admin_state": "drain"}],
}


def config(*vips):
    return Config.model_validate({"vips": list(vips)})


def desired(*vips, present=Desired(), now=NOW):  # noqa: B008 - never changed
    return apply_edit(present, PutConfig(config(*vips).wanted()), now)


def told(*vips):
    """Return each error's pointers and sentence."""
    _, faults = examined(enumerate(config(*vips).vips))
    return [([problem.pointer for problem in fault.problems], fault.detail) for fault in faults]


def test_what_a_state_declares_gives_the_same_state_again():
    state = desired(FULL, {**VIP, "port": 443})
    body = json.loads(json.dumps(body_of(state)))
    again = PutConfig(Config.model_validate(body).wanted())
    assert apply_edit(state, again, datetime.now(UTC)) is state
    assert apply_edit(Desired(), again, NOW) == state


def test_what_stays_is_the_same_object_and_a_drain_keeps_its_start():
    state = desired(FULL, {**VIP, "port": 443})
    more = [*FULL["backends"], {"address": "10.0.0.13"}]
    after = desired({**FULL, "backends": more}, {**VIP, "port": 443}, present=state, now=datetime.now(UTC))
    one, other = state.vips
    assert after.vips[other] is state.vips[other]
    assert after.vips[one].access is state.vips[one].access
    kept = [
        address for address, backend in state.vips[one].backends.items() if after.vips[one].backends[address] is backend
    ]
    assert len(kept) == 2
    assert desired(FULL, present=state).vips.keys() == {one}


def test_fields_that_only_answers_have_are_ignored():
    given = {
        **FULL,
        "generation": 7,
        "status": {"operating_status": "ONLINE"},
        "warnings": [],
        "health_check": {**FULL["health_check"], "status": {"backends": []}},
        "backends": [{**FULL["backends"][0], "vip": "web", "generation": 7, "status": {}}, FULL["backends"][1]],
    }
    assert desired(given) == desired(FULL)
    with pytest.raises(ValidationError, match="stats"):
        config({**VIP, "stats": {}})


def test_all_that_is_wrong_is_told_with_its_place_and_what_it_is_in_conflict_with():
    found = told(
        {**VIP, "name": "web", "scheduler": "rr", "tracking": "auto", "quic": {"server_id_bytes": 2}},
        {**VIP, "port": 443, "name": "web", "protocol": "tcp+udp"},
        {
            **VIP,
            "address": "203.0.113.0/24",
            "port": 1,
            "last_port": 9,
            "access": {"deny": ["x", "1.2.3.4", "2001:db8::"]},
        },
        {**VIP, "address": "203.0.113.0/24", "port": 9, "last_port": 17},
        {**VIP, "port": 443},
        {
            **VIP,
            "port": 0,
            "health_check": {"type": "tcp"},
            "backends": [
                {"address": "10.0.0.1"},
                {"address": "203.0.113.10"},
                {"address": "10.0.0.1"},
                {"address": "2001:db8::1"},
            ],
        },
        {**VIP, "port": 9, "last_port": 8},
    )
    assert [pointers for pointers, _ in found] == [
        ["/vips/0/tracking"],
        ["/vips/0/quic"],
        ["/vips/2/access/deny/0"],
        ["/vips/2/access/deny/2"],
        ["/vips/5/health_check/port"],
        ["/vips/6/last_port"],
        ["/vips/1/name", "/vips/0/name"],
        ["/vips/3/port", "/vips/2/address"],
        ["/vips/4/protocol", "/vips/1/address"],
        ["/vips/5/backends/2/address", "/vips/5/backends/0/address"],
        ["/vips/5/backends/1/address"],
        ["/vips/5/backends/3/address"],
    ]


def test_a_vip_given_twice_is_told_even_if_spelt_otherwise():
    assert told(VIP, {**VIP, "last_port": 80}) == [
        (["/vips/1/address", "/vips/0/address"], "VIP 203.0.113.10:80/tcp is given twice")
    ]


def test_all_of_them_are_one_refusal():
    bad = config(
        {**VIP, "quic": {"server_id_bytes": 2}}, {**VIP, "port": 443, "protocol": "udp", "limits": {"new_flows": 1}}
    )
    with pytest.raises(InvalidError, match=r"QUIC runs over UDP \(and 1 more\)") as caught:
        refuse(examined(enumerate(bad.vips))[1])
    assert [problem.pointer for problem in caught.value.problems] == ["/vips/0/quic", "/vips/1/limits/new_flows"]
    tied = config({**VIP, "port": 1, "last_port": 9}, {**VIP, "port": 9, "last_port": 17})
    with pytest.raises(ConflictError):
        refuse(examined(enumerate(tied.vips))[1])


def test_a_vip_that_was_accepted_is_not_checked_again_and_one_that_differs_is():
    first = config(FULL, {**VIP, "port": 443})
    wanted = first.wanted()
    first.accepted(wanted)
    again = config({**VIP, "port": 443}, FULL).wanted()
    assert [vip.pointer for vip in again.vips] == ["/vips/0", "/vips/1"]
    assert again.vips[1].vip is wanted.vips[0].vip
    assert again.vips == (wanted.vips[1], wanted.vips[0])
    other = config(FULL, {**VIP, "port": 443, "name": "other"}).wanted()
    assert other.vips[1].vip.name == "other"
    with pytest.raises(ValidationError):
        config(FULL, {**VIP, "port": 65536})
    with pytest.raises(ValidationError):
        config({**FULL, "port": True})
