# SPDX-License-Identifier: Apache-2.0
"""What cannot be accepted is refused with a problem that names the field, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.contract.api_harness import ACCESS, BACKEND, BACKENDS, CHECK, DRAIN, VIP, WEB, Api, problem_of, running_api
from xdplb.dataplane.plane import Capacity

OTHER = {"address": "203.0.113.20", "port": 80, "protocol": "tcp"}


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with running_api(capacity=Capacity(vips=2, backends=4, flows=64)) as api:
        api.add("/v1/vips", WEB)
        api.add(BACKENDS, {"address": "10.0.0.11"})
        api.ask("PUT", CHECK, {"type": "tcp"})
        yield api


@dataclass(frozen=True, slots=True)
class Bad:
    """A request, and the field its problem must name."""

    method: str
    path: str
    body: object
    pointer: str
    status: int = 422
    says: str = ""

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.pointer} {str(self.body)[:60]}"


def _vip(pointer: str, says: str = "", status: int = 422, **fields: object) -> Bad:
    return Bad("POST", "/v1/vips", {**OTHER, **fields}, pointer, status, says)


def _backend(pointer: str, says: str = "", **fields: object) -> Bad:
    return Bad("POST", BACKENDS, {"address": "10.0.0.12", **fields}, pointer, says=says)


def _check(pointer: str, says: str = "", **fields: object) -> Bad:
    return Bad("PUT", CHECK, {"type": "http", **fields}, pointer, says=says)


CASES = [
    _vip("/address", "link-local", address="fe80::1"),
    _vip("/address", "is not an IP prefix", address="203.0.113.7/24"),
    _vip("/address", "not an IP address", address="example.org"),
    _vip("/address", "string", address=3405803786),
    _vip("/address", "multicast", address="224.0.0.1"),
    _vip("/address", "string", address=None),
    _vip("/port", "65535", port=65536),
    _vip("/port", "at least 0", port=-1),
    _vip("/last_port", "not a range of ports", last_port=79),
    _vip("/last_port", "not a range of ports", port=0, last_port=79),
    _vip("/last_port", "65535", last_port=65536),
    _vip("/port", "whole number", port="80"),
    _vip("/port", "whole number", port=True),
    _vip("/port", "whole number", port=80.0),
    _vip("/protocol", "'tcp', 'udp' or 'tcp+udp'", protocol="sctp"),
    _vip("/protocol", "'tcp+udp'", protocol=6),
    _vip("/forward", "'dr', 'ipip', 'gue' or 'nat'", forward="gre"),
    _vip("/scheduler", "'maglev'", scheduler="random"),
    _vip("/tracking", "'auto' or 'always'", tracking="never"),
    _vip("/tracking", "must be recorded", scheduler="rr", tracking="auto"),
    _vip("/hash", "sh hashes the source", scheduler="sh", hash="5-tuple"),
    _vip("/vlan", "'next-hop' or 'keep'", vlan="strip"),
    _vip("/quic", "QUIC runs over UDP", quic={"server_id_bytes": 2}),
    _vip("/quic/server_id_bytes", "at most 8", quic={"server_id_bytes": 9}),
    _vip("/quic/server_id_bytes", "missing", quic={}),
    _vip("/quic/config_id", "at most 6", quic={"server_id_bytes": 2, "config_id": 7}),
    _vip("/quic/nonce", "not a field", quic={"server_id_bytes": 2, "nonce": 4}),
    _vip("/quic", "object", quic=2),
    _vip("/limits/packets", "at least 0", limits={"packets": -1}),
    _vip("/limits/source_new_flows", "whole number", limits={"source_new_flows": 1.5}),
    _vip("/limits/bytes", "not a field", limits={"bytes": 1}),
    _vip("/limits", "object", limits=None),
    _vip("/limits/new_flows", "only UDP", protocol="udp", limits={"new_flows": 1}),
    _vip("/limits/source_new_flows", "only UDP", protocol="udp", limits={"packets": 1, "source_new_flows": 1}),
    _vip("/hash", "'5-tuple', 'source', 'destination-port' or 'addresses'", hash="url"),
    _vip("/hash", "would go to one backend", hash="destination-port"),
    _vip("/hash", "sh hashes the source", scheduler="sh", hash="addresses"),
    _vip("/on_unhealthy", "'reset' or 'keep'", on_unhealthy="drop"),
    _vip("/all_unhealthy", "'fail-open'", all_unhealthy=False),
    _vip("/idle_timeout_seconds", "at least 1", idle_timeout_seconds=0),
    _vip("/idle_timeout_seconds", "65535", idle_timeout_seconds=65536),
    _vip("/name", "is not a valid name", name="-"),
    _vip("/name", "is not a valid name", name="web\n"),
    _vip("/name", "63", name="a" * 64),
    _vip("/forwrad", "not a field", forwrad="dr"),
    _vip("/genration", "not a field", genration=1),
    _vip("/a~1b~0c", "not a field", **{"a/b~c": 1}),
    _vip("/address", "is a backend", address="10.0.0.11"),
    _vip("/address", "is a backend", address="10.0.0.0/24"),
    _vip("/protocol", "match the same packets", 409, address="203.0.113.10", port=443, protocol="tcp+udp"),
    Bad("POST", "/v1/vips", {"port": 80, "protocol": "tcp"}, "/address", says="missing"),
    Bad("POST", "/v1/vips", [], "", says="object"),
    Bad("POST", "/v1/vips", "web", "", says="object"),
    Bad("PUT", VIP, {"forward": "masq"}, "/forward"),
    Bad("PATCH", VIP, {"idle_timeout_seconds": "900"}, "/idle_timeout_seconds"),
    Bad("PATCH", VIP, {"weight": 1}, "/weight", says="not a field"),
    Bad("PATCH", VIP, {"quic": {"config_id": 1}}, "/quic/server_id_bytes", says="missing"),
    Bad("PATCH", VIP, {"quic": {"server_id_bytes": None}}, "/quic/server_id_bytes", says="missing"),
    Bad("PATCH", VIP, {"quic": {"server_id_bytes": 2}}, "/quic", says="QUIC runs over UDP"),
    Bad("PUT", "/v1/vips/203.0.113.20:53:udp", {"limits": {"new_flows": 1}}, "/limits/new_flows", says="only UDP"),
    Bad("PATCH", VIP, {"limits": {"packets": 10**10}}, "/limits/packets", says="at most 1000000000"),
    Bad("PATCH", VIP, {"scheduler": "lc", "tracking": "auto"}, "/tracking", says="must be recorded"),
    Bad("PATCH", VIP, {"last_port": 444}, "/last_port", says="cannot be changed"),
    Bad("PATCH", VIP, [{"op": "remove", "path": "/name"}], "", says="object"),
    _backend("/weight", "65535", weight=65536),
    _backend("/weight", "at least 0", weight=-1),
    _backend("/weight", "whole number", weight=1.5),
    _backend("/weight", "whole number", weight=None),
    _backend("/weight", "65535", weight=10**400),
    _backend("/admin_state", "'ready'", admin_state="off"),
    _backend("/forward", "'dr', 'ipip', 'gue' or 'nat'", forward="gre"),
    _backend("/forward", "cannot be reached by dr", address="2001:db8::11", forward="dr"),
    _backend("/quic_server_id", "is not a valid quic_server_id", quic_server_id="0g"),
    _backend("/quic_server_id", "is not a valid quic_server_id", quic_server_id="0A"),
    _backend("/quic_server_id", "has no quic", quic_server_id="00a7"),
    _backend("/address", "the VIP itself", address="203.0.113.10"),
    _backend("/address", "is IPv4", address="2001:db8::11"),
    _backend("/wieght", "not a field", wieght=1),
    Bad("PUT", BACKEND, {"address": "10.0.0.12"}, "/address"),
    Bad("PATCH", BACKEND, {"address": "10.0.0.12"}, "/address"),
    Bad("PATCH", BACKEND, {"weight": "2"}, "/weight"),
    Bad("PUT", f"{BACKENDS}/10.0.0.300", {}, "/path/address"),
    Bad("PATCH", f"{BACKENDS}/10.0.0.300", {}, "/path/address"),
    Bad("PUT", f"{BACKENDS}/2001:db8::1", {}, "/address", says="is IPv4"),
    Bad("PUT", BACKENDS, {"backends": [{"address": "10.0.0.1"}, {"address": "10.0.0.1"}]}, "/backends/1/address"),
    Bad(
        "PUT",
        BACKENDS,
        {"backends": [{"address": "10.0.0.1"}, {"address": "203.0.113.10"}]},
        "/backends/1/address",
        says="the VIP itself",
    ),
    Bad("PUT", BACKENDS, {"backends": [{"address": "10.0.0.1"}, {"weight": 1}]}, "/backends/1/address"),
    Bad("PUT", BACKENDS, {"backends": [{"address": "10.0.0.1", "weight": 70000}]}, "/backends/0/weight"),
    Bad("PUT", BACKENDS, {"backends": [7]}, "/backends/0", says="object"),
    Bad("PUT", BACKENDS, {"backends": {}}, "/backends", says="array"),
    Bad("PUT", BACKENDS, {}, "/backends", says="missing"),
    Bad("POST", DRAIN, {"timeout_seconds": 0}, "/timeout_seconds"),
    Bad("POST", DRAIN, {"timeout_seconds": "10m"}, "/timeout_seconds"),
    Bad("POST", DRAIN, {"quiet_seconds": -1}, "/quiet_seconds"),
    Bad(
        "POST",
        DRAIN,
        {"timeout_seconds": 5, "quiet_seconds": 9},
        "/quiet_seconds",
        says="the drain times out after 5 s",
    ),
    Bad("POST", DRAIN, {"wait": True}, "/wait"),
    Bad("PUT", ACCESS, {"deny": ["192.0.2.0/24", "192.0.2.7/24"]}, "/deny/1", says="is not an IP prefix"),
    Bad("PUT", ACCESS, {"allow": ["2001:db8::/32"]}, "/allow/0", says="the VIP is IPv4"),
    Bad("PUT", ACCESS, {"deny": "192.0.2.0/24"}, "/deny", says="array"),
    Bad("PUT", ACCESS, {"deny": [7]}, "/deny/0", says="string"),
    Bad("PUT", ACCESS, {"dney": []}, "/dney", says="not a field"),
    Bad("PATCH", ACCESS, {"allow": [""]}, "/allow/0", says="is not an IP prefix"),
    _check("/type", "'exec' or 'agent'", type="tpc"),
    _check("/type", "there is no smtp check, only http, https", type="smtp"),
    _check("/type", "there is no ping check, only http, https", type="ping"),
    _check("/reset", "true or false", reset="yes"),
    _check("/target", "'backend' or 'vip'", target="client"),
    _check("/port", "65535", port=70000),
    _check("/path", "is not a valid path", path="healthz"),
    _check("/path", "is not a valid path", path="/a b"),
    _check("/path", "is not a valid path", path="/\r\nX: y"),
    _check("/expect_status", "at least 1", expect_status=[]),
    _check("/expect_status", "array", expect_status=200),
    _check("/expect_status/1", "999 is neither an HTTP status nor a range", expect_status=[200, 999]),
    _check("/expect_status/0", "True is neither", expect_status=[True]),
    _check("/expect_status/0", "2.5 is neither", expect_status=[2.5]),
    _check("/interval_seconds", "0.05", interval_seconds=0),
    _check("/timeout_seconds", "300", timeout_seconds=1e9),
    _check("/rise", "at least 1", rise=0),
    _check("/fall", "whole number", fall="3"),
    _check("/jitter", "0.5", jitter=1),
    Bad("PUT", CHECK, {}, "/type", says="missing"),
    Bad("POST", "/v1/vips?dry_run=perhaps", OTHER, "/query/dry_run", says="true or false"),
    Bad("POST", "/v1/vips?dry_rum=true", OTHER, "/query/dry_rum", says="not a parameter"),
    Bad("GET", "/v1/vips?limit=5", None, "/query/limit", says="not a parameter"),
]


@pytest.mark.parametrize("bad", CASES, ids=str)
def test_the_field_is_named_and_nothing_changes(api: Api, bad: Bad):
    before, generation = api.everything(), api.generation()

    problem = problem_of(api.ask(bad.method, bad.path, bad.body), bad.status)

    assert [error["pointer"] for error in problem["errors"]] == [bad.pointer]
    assert bad.says in problem["errors"][0]["detail"]
    assert problem["hint"]
    assert (api.everything(), api.generation()) == (before, generation)


@pytest.mark.parametrize(
    ("bad", "hint"),
    [
        (_vip("/forwrad", forwrad="dr"), "did you mean forward? the fields are name, forward, "),
        (_vip("/zzz", zzz=1), "the fields are name, forward, "),
        (_vip("/port", port=70000), "give a whole number from 0 to 65535"),
        (_vip("/port", port="80"), "give a whole number from 0 to 65535"),
        (_vip("/address", address=7), 'give an IP address or a prefix in quotes, such as "203.0.113.10"'),
        (_vip("/protocol", protocol="sctp"), "use tcp or udp or tcp+udp"),
        (_vip("/scheduler", scheduler="random"), "use maglev or rr or wrr or lc"),
        (_vip("/address", address="203.0.113.7/24"), "the prefix is 203.0.113.0/24"),
        (_vip("/quic", quic=7), "send a JSON object with server_id_bytes"),
        (_vip("/limits", limits={"pakets": 1}), "did you mean packets? "),
        (_vip("/limits", protocol="udp", limits={"new_flows": 1}), "limit packets instead"),
        (_backend("/quic_server_id", quic_server_id="xy"), "1 to 8 bytes as lower-case hex"),
        (_vip("/name", name="a" * 64), "1 to 63 characters of a-z, 0-9 and -"),
        (_vip("/name", name="Web"), "1 to 63 characters of a-z, 0-9 and -"),
        (_check("/path", path="healthz"), "a path starts with / and has no spaces"),
        (_check("/target", target="client"), "use backend or vip"),
        (_check("/interval_seconds", interval_seconds="2s"), "give a number from 0.05 to 3600"),
        (
            _check("/expect_status", expect_status=200),
            "give an array of 1 to 32; for each: give a whole",
        ),
        (_check("/expect_status/0", expect_status=[7]), "give statuses from 100 to 599"),
        (Bad("POST", DRAIN, {"timeout_seconds": 0}, ""), "give a number above 0 and at most 604800"),
        (Bad("POST", DRAIN, {"quiet_seconds": "1"}, ""), "give a number from 0 to 86400"),
        (Bad("PUT", BACKENDS, {"backends": [{"wieght": 1, "address": "10.0.0.1"}]}, ""), "did you mean weight? "),
        (Bad("PUT", BACKENDS, {"backends": [{}]}, ""), "give an IP address"),
        (Bad("PATCH", BACKEND, {"weight": "2"}, ""), "give a whole number from 0 to 65535"),
        (Bad("PUT", CHECK, {}, ""), "use http or https or tcp"),
        (Bad("POST", "/v1/vips", [], ""), "send a JSON object with address, port, protocol"),
        (Bad("POST", "/v1/vips?dry_run=perhaps", OTHER, ""), "give true or false"),
    ],
    ids=str,
)
def test_the_hint_says_what_would_be_accepted(api: Api, bad: Bad, hint: str):
    assert problem_of(api.ask(bad.method, bad.path, bad.body), 422)["hint"].startswith(hint)


def test_all_wrong_fields_are_named_at_once(api: Api):
    problem = problem_of(api.ask("POST", "/v1/vips", {"port": "x", "protocol": "icmp", "adress": 1}), 422)

    assert {error["pointer"] for error in problem["errors"]} == {"/address", "/port", "/protocol", "/adress"}
    assert "(and 3 more)" in problem["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"{'a': 1}",
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        "{}".encode("utf-32-be"),
        b"weight=1",
        b'{"port": ' + b"1" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a": 1}{"b": 2}',
    ],
    ids=["cut", "quotes", "no UTF-8", "BOM", "UTF-16", "UTF-32", "form", "huge number", "deep", "two"],
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/vips"), ("PATCH", VIP), ("POST", DRAIN), ("PUT", CHECK)])
def test_a_body_that_is_no_json_is_refused(api: Api, method: str, path: str, body: bytes):
    before = api.everything()

    response = api.client.request(method, path, content=body, headers={"content-type": "application/json"})

    problem = problem_of(response, 400)
    assert [error["pointer"] for error in problem["errors"]] == [""]
    assert api.everything() == before


@pytest.mark.parametrize("text", [r'{"name": "\ud800"}', r'{"\ud800": 1}', r'{"port": "\udfff"}', '{"port": NaN}'])
def test_what_json_can_spell_but_utf8_cannot_hold_is_refused_in_readable_ascii(api: Api, text: str):
    response = api.client.patch(VIP, content=text, headers={"content-type": "application/json"})

    assert problem_of(response, 422)["errors"]


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "json"]
)
def test_a_body_that_does_not_say_it_is_json_is_refused(api: Api, media_type: str):
    before = api.everything()

    response = api.client.post(DRAIN, content=b'{"timeout_seconds": 1}', headers={"content-type": media_type})

    assert "application/json" in problem_of(response, 415)["hint"]
    assert api.everything() == before


def test_a_body_without_end_is_refused_whether_or_not_it_says_its_length(api: Api):
    piece = b" " * (1 << 20)

    said = api.client.post("/v1/vips", content=piece * 9, headers={"content-type": "application/json"})
    unsaid = api.client.post(
        "/v1/vips", content=(piece for _ in range(9)), headers={"content-type": "application/json"}
    )

    assert "8388608 bytes" in problem_of(said, 413)["detail"]
    problem_of(unsaid, 413)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/vips/203.0.113.99:443:tcp", None),
        ("GET", "/v1/vips/nobody", None),
        ("PATCH", "/v1/vips/nobody", {"forward": "dr"}),
        ("DELETE", "/v1/vips/nobody", None),
        ("GET", "/v1/vips/nobody/backends", None),
        ("POST", "/v1/vips/nobody/backends", {"address": "10.0.0.1"}),
        ("PUT", "/v1/vips/nobody/backends", {"backends": []}),
        ("GET", "/v1/vips/nobody/stats", None),
        ("GET", "/v1/vips/nobody/health-check", None),
        ("PUT", "/v1/vips/nobody/health-check", {"type": "tcp"}),
        ("DELETE", "/v1/vips/nobody/health-check", None),
        ("GET", f"{BACKENDS}/10.0.0.99", None),
        ("PATCH", f"{BACKENDS}/10.0.0.99", {"weight": 1}),
        ("DELETE", f"{BACKENDS}/10.0.0.99", None),
        ("POST", f"{BACKENDS}/10.0.0.99/drain", {}),
        ("DELETE", f"{BACKENDS}/10.0.0.99/drain", None),
    ],
)
def test_what_is_not_there_is_not_found(api: Api, method: str, path: str, body: object):
    before = api.everything()

    problem = problem_of(api.ask(method, path, body), 404)

    assert problem["type"] == "urn:xdplb:problem:not-found"
    unknown = "address" if path.startswith(BACKENDS) else "vip"
    assert [error["pointer"] for error in problem["errors"]] == [f"/path/{unknown}"]
    assert problem["hint"]
    assert api.everything() == before


def test_a_misspelled_vip_is_answered_with_the_nearest(api: Api):
    assert "did you mean web" in problem_of(api.ask("GET", "/v1/vips/wbe"), 404)["hint"]


def test_more_than_the_maps_hold_is_refused_with_the_option_that_helps(api: Api):
    many = {"backends": [{"address": f"10.0.1.{number}"} for number in range(1, 10)]}
    before = api.everything()

    problem = problem_of(api.ask("PUT", BACKENDS, many), 409)

    assert problem["type"] == "urn:xdplb:problem:capacity"
    assert "--max-backends" in problem["hint"]
    assert api.everything() == before


def test_more_vips_than_the_maps_hold_are_refused_with_the_option_that_helps():
    with running_api(capacity=Capacity(vips=1, backends=4, flows=64)) as api:
        api.add("/v1/vips", WEB)
        before = api.everything()
        problem = problem_of(api.ask("POST", "/v1/vips", OTHER), 409)
        assert "--max-vips" in problem["hint"]
        assert api.everything() == before


def test_a_name_is_of_one_vip(api: Api):
    before = api.everything()
    problem = problem_of(api.ask("POST", "/v1/vips", {**OTHER, "name": "web"}), 409)
    assert "web" in problem["detail"]
    assert [error["pointer"] for error in problem["errors"]] == ["/name"]
    assert api.everything() == before
