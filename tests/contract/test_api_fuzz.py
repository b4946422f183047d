"""Whatever is sent, the daemon answers: never a 5xx, and every refusal is a problem."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.api_harness import BACKEND, BACKENDS, CHECK, DRAIN, VIP, WEB, Api, problem_of, running_api

FIELDS = st.sampled_from(
    ["address", "port", "protocol", "name", "forward", "scheduler", "tracking", "hash", "weight", "admin_state",
     "backends", "type", "path", "expect_status", "interval_seconds", "timeout_seconds", "quiet_seconds", "rise",
     "jitter", "target", "idle_timeout_seconds"]
)  # fmt: skip
LIKELY = st.sampled_from(
    ["203.0.113.10", "203.0.113.11", "10.0.0.11", "10.0.0.12", "tcp", "udp", "web", "dr", "ipip", "maglev", "auto",
     "always", "source", "drain", "maint", "http", "/", 0, 1, 80, 443, 65535, 65536, 0.5, 1e308, True, None]
)  # fmt: skip
JSON = st.recursive(
    st.one_of(LIKELY, st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(FIELDS, st.text()), inner, max_size=6)
    ),
    max_leaves=12,
)
BODY = st.one_of(st.dictionaries(FIELDS, JSON, max_size=6), JSON)
PATHS = st.sampled_from(["/v1/vips", VIP, BACKENDS, BACKEND, DRAIN, CHECK, "/v1/vips/web"])
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
@given(method=METHODS, path=PATHS, body=st.binary(max_size=200))
def test_any_bytes(api: Api, method: str, path: str, body: bytes):
    _answered(api.client.request(method, path, content=body, headers={"content-type": "application/json"}))


@FUZZ
@given(
    method=st.one_of(METHODS, st.just("GET")),
    vip=st.text(alphabet="0123456789.:/abctup-%[]", max_size=30),
    rest=st.sampled_from(["", "/backends", "/stats", "/health-check", "/backends/10.0.0.1/drain"]),
    if_match=st.text(alphabet='"W/0123456789*, ', max_size=12),
)
def test_any_path_and_precondition(api: Api, method: str, vip: str, rest: str, if_match: str):
    path = "/v1/vips/" + "".join(f"%{byte:02X}" for byte in vip.encode()) + rest

    _answered(api.ask(method, path, {} if method in {"PUT", "PATCH"} else None, headers={"If-Match": if_match}))
