# SPDX-License-Identifier: Apache-2.0
"""Whatever is sent, the daemon answers: never a 5xx, and every refusal is a problem."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.api_harness import (
    ACCESS,
    BACKEND,
    BACKENDS,
    CHECK,
    DRAIN,
    VIP,
    WEB,
    Api,
    path_of,
    problem_of,
    running_api,
)

FIELDS = st.sampled_from(
    ["address", "port", "protocol", "name", "forward", "scheduler", "tracking", "hash", "weight", "admin_state",
     "backends", "type", "path", "expect_status", "interval_seconds", "timeout_seconds", "quiet_seconds", "rise",
     "jitter", "target", "idle_timeout_seconds", "last_port", "vlan", "quic", "limits", "server_id_bytes", "config_id",
     "packets", "new_flows", "source_packets", "source_new_flows", "quic_server_id", "allow", "deny"]
)  # fmt: skip
LIKELY = st.sampled_from(
    ["203.0.113.10", "203.0.113.11", "10.0.0.11", "10.0.0.12", "tcp", "udp", "web", "dr", "ipip", "maglev", "auto",
     "always", "source", "drain", "maint", "http", "/", "203.0.113.0/24", "2001:db8::10", "2001:db8::/32", "10.0.0.0/8",
     "tcp+udp", "gue", "rr", "wlc", "p2c", "sh", "keep", "00a7", ["192.0.2.0/24", "192.0.2.7"],
     {"server_id_bytes": 2}, {"packets": 1000}, 0, 1, 80, 443, 65535, 65536, 0.5, 1e308, True, None]
)  # fmt: skip
JSON = st.recursive(
    st.one_of(LIKELY, st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(FIELDS, st.text()), inner, max_size=6)
    ),
    max_leaves=12,
)
BODY = st.one_of(st.dictionaries(FIELDS, JSON, max_size=6), JSON)
ADDRESSES = ["203.0.113.10", "203.0.113.0/24", "203.0.113.8/29", "2001:db8::10", "2001:db8::/64"]
VIPS = st.fixed_dictionaries(
    {
        "address": st.sampled_from(ADDRESSES),
        "port": st.sampled_from([0, 80, 443]),
        "protocol": st.sampled_from(["tcp", "udp", "tcp+udp"]),
    },
    optional={
        "last_port": st.sampled_from([None, 79, 80, 443, 65535]),
        "scheduler": st.sampled_from(["maglev", "rr", "wrr", "lc", "wlc", "sh", "p2c"]),
        "forward": st.sampled_from(["dr", "ipip", "gue"]),
        "quic": st.sampled_from([None, {"server_id_bytes": 2}, {"server_id_bytes": 8, "config_id": 6}]),
        "limits": st.sampled_from([{}, {"packets": 1}, {"source_new_flows": 10**9}]),
        "vlan": st.sampled_from(["next-hop", "keep"]),
    },
)
VIP6 = "/v1/vips/%5B2001:db8::10%5D:443:udp"
PATHS = st.sampled_from(
    ["/v1/vips", VIP, VIP6, BACKENDS, f"{VIP6}/backends", BACKEND, DRAIN, CHECK, ACCESS, "/v1/vips/web"]
)
METHODS = st.sampled_from(["POST", "PUT", "PATCH", "DELETE"])
FUZZ = settings(max_examples=150, deadline=None)


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with running_api() as api:
        yield api


def _answered(response: Any) -> None:
    if response.status_code >= 400:
        assert response.status_code < 500, response.text
        problem_of(response, response.status_code)


@FUZZ
@given(method=METHODS, path=PATHS, body=BODY)
def test_any_json(api: Api, method: str, path: str, body: object):
    api.ask("POST", "/v1/vips", WEB)

    response = api.client.request(method, path, content=json.dumps(body), headers={"content-type": "application/json"})

    _answered(response)
    assert api.ask("GET", "/v1/vips").status_code == 200


@FUZZ
@given(vips=st.lists(VIPS, max_size=3), backend=st.sampled_from(["10.0.0.11", "2001:db8:1::11", "203.0.113.9"]))
def test_likely_vips(api: Api, vips: list[dict[str, Any]], backend: str):
    for vip in vips:
        added = api.ask("POST", "/v1/vips", vip)
        _answered(added)
        if added.status_code < 300:
            _answered(api.ask("POST", f"/v1/vips/{path_of(added.json())}/backends", {"address": backend}))
    for vip in api.ask("GET", "/v1/vips").json()["vips"]:
        assert api.ask("DELETE", f"/v1/vips/{path_of(vip)}").status_code == 204


@FUZZ
@given(method=METHODS, path=PATHS, body=st.binary(max_size=200))
def test_any_bytes(api: Api, method: str, path: str, body: bytes):
    _answered(api.client.request(method, path, content=body, headers={"content-type": "application/json"}))


@FUZZ
@given(
    method=st.one_of(METHODS, st.just("GET")),
    vip=st.text(alphabet="0123456789.:/_+abctudp-%[]", max_size=30),
    rest=st.sampled_from(["", "/backends", "/stats", "/health-check", "/access", "/backends/10.0.0.1/drain"]),
    if_match=st.text(alphabet='"W/0123456789*, ', max_size=12),
)
def test_any_path_and_precondition(api: Api, method: str, vip: str, rest: str, if_match: str):
    path = "/v1/vips/" + "".join(f"%{byte:02X}" for byte in vip.encode()) + rest

    _answered(api.ask(method, path, {} if method in {"PUT", "PATCH"} else None, headers={"If-Match": if_match}))
