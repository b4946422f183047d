# SPDX-License-Identifier: Apache-2.0
"""Each thing is said once and in one way: what two readers could take for two values is refused, by its name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.contract.api_harness import ACCESS, BACKEND, BACKENDS, CHECK, DRAIN, VIP, Api, problem_of
from tests.contract.cli_harness import Daemon, running_daemon

JSON = {"content-type": "application/json"}
NUMBERS = [
    "080",
    "+80",
    " 80",
    "80 ",
    "8_0",
    "\uff18\uff10",
    "8\u0660",
    "0x50",
    "80.0",
    "8e1",
    "",
    "-1",
    "65536",
    "80\n",
]
DRY = "dry_run=true&dry_run=false"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_daemon(tmp_path_factory.mktemp("daemon")) as daemon:
        daemon.ok("vip", "add", "203.0.113.10:80/tcp", "--name", "web")
        yield daemon


def pointers(problem: Any) -> list[str]:
    return [error["pointer"] for error in problem["errors"]]


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("DELETE", f"{VIP}?{DRY}", "dry_run"),
        ("DELETE", f"{VIP}?dry_run=true&dry%5Frun=true", "dry_run"),
        ("DELETE", f"{BACKEND}?{DRY}", "dry_run"),
        ("DELETE", f"{ACCESS}?{DRY}", "dry_run"),
        ("DELETE", f"{CHECK}?{DRY}", "dry_run"),
        ("POST", f"{DRAIN}?{DRY}", "dry_run"),
        ("GET", "/v1/explain?client=192.0.2.7:1&vip=web&vip=mail", "vip"),
        ("GET", "/v1/capture?seconds=1&seconds=2", "seconds"),
    ],
)
def test_a_parameter_that_is_given_twice_is_refused(api: Api, method: str, path: str, name: str) -> None:
    before = api.generation()
    problem = problem_of(api.ask(method, path, headers=JSON), 422)
    assert pointers(problem) == [f"/query/{name}"]
    assert "more than once" in problem["detail"]
    assert api.generation() == before


@pytest.mark.parametrize("given", ["1", "yes", "on", "TRUE", "True", "", "0", "false ", "t"])
def test_a_flag_is_true_or_false(api: Api, given: str) -> None:
    problem = problem_of(api.ask("DELETE", f"{BACKEND}?dry_run={quote(given)}"), 422)
    assert pointers(problem) == ["/query/dry_run"]
    assert problem["hint"] == "give true or false"


def test_an_if_match_that_is_given_twice_is_refused(api: Api) -> None:
    answer = api.client.request("DELETE", VIP, headers=[("If-Match", '"1"'), ("If-Match", '"2"')])
    assert pointers(problem_of(answer, 422)) == ["/header/If-Match"]


@pytest.mark.parametrize("change", ["0{}", "00{}", "+{}", "{} ", "{}.0", "{}_"])
def test_an_entity_tag_is_written_in_one_way(api: Api, change: str) -> None:
    tag = api.client.get(VIP).headers["etag"]
    problem_of(api.client.request("DELETE", VIP, headers={"If-Match": f'"{change.format(tag[1:-1])}"'}), 412)
    assert api.client.get(VIP).headers["etag"] == tag


@pytest.mark.parametrize(
    ("method", "path", "body", "pointer"),
    [
        ("PATCH", BACKEND, '{"weight": 1, "weight": 60}', "/weight"),
        ("PATCH", BACKEND, '{"weight": 1, "w\\u0065ight": 60}', "/weight"),
        ("PUT", BACKENDS, '{"backends": [{"address": "10.0.0.11"}, {"address": "10.0.0.12", "address": "10.0.0.13"}]}',
         "/backends/1/address"),
        ("PATCH", VIP, '{"limits": {"packets": 1, "packets": 2}}', "/limits/packets"),
        ("POST", "/v1/vips", '{"a/b": 1, "a/b": 2}', "/a~1b"),
        ("PUT", ACCESS, '{"deny": [], "deny": ["192.0.2.0/24"]}', "/deny"),
        ("PUT", CHECK, '{"type": "tcp", "type": "http"}', "/type"),
        ("POST", DRAIN, '{"timeout_seconds": 1, "timeout_seconds": 2}', "/timeout_seconds"),
    ],
)  # fmt: skip
def test_a_field_that_is_given_twice_is_refused(api: Api, method: str, path: str, body: str, pointer: str) -> None:
    before = api.generation()
    assert pointers(problem_of(api.client.request(method, path, content=body, headers=JSON), 422)) == [pointer]
    assert api.generation() == before


@pytest.mark.parametrize("text", NUMBERS)
def test_a_port_in_a_path_has_one_spelling(api: Api, text: str) -> None:
    key = f"203.0.113.20:{quote(text)}:tcp"
    for method, path, body in (
        ("PUT", f"/v1/vips/{key}", {}),
        ("GET", f"/v1/vips/{key}", None),
        ("GET", f"/v1/explain?client=192.0.2.7:1&vip={key}", None),
        ("GET", f"/v1/explain?client=192.0.2.7:{quote(text)}&vip=web", None),
        ("GET", f"/v1/capture?client=192.0.2.7:{quote(text)}", None),
    ):
        assert api.ask(method, path, body, headers=JSON).status_code in {404, 422}, (method, path)
    assert len(api.ask("GET", "/v1/vips").json()["vips"]) == 1


def test_a_port_that_is_none_is_said_to_be_none(api: Api) -> None:
    for path in ("/v1/vips/203.0.113.10:0443:tcp", "/v1/vips/203.0.113.10:0443:tcp/backends"):
        problem = problem_of(api.ask("GET", path), 422)
        assert pointers(problem) == ["/path/vip"]
        assert "'0443' is not a port" in problem["detail"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("address", "203.0.113.010"),
        ("address", "203.0.113.0/024"),
        ("address", "203.0.113.0/+24"),
        ("address", "203.0.113.0/\uff12\uff14"),
        ("address", "2001:db8::/064"),
        ("address", " 203.0.113.10"),
        ("address", "203.0.113.10\n"),
        ("address", "\uff1203.0.113.10"),
        ("address", "0xcb.0.113.10"),
        ("address", "3405803786"),
        ("port", "80"),
        ("port", 80.0),
        ("last_port", "81"),
    ],
)
def test_a_field_has_one_spelling(api: Api, field: str, value: object) -> None:
    body = {"address": "203.0.113.20", "port": 80, "protocol": "tcp", field: value}
    assert pointers(problem_of(api.ask("POST", "/v1/vips", body), 422)) == [f"/{field}"]
    deny = {"deny": [value]} if field == "address" else {"deny": ["203.0.113.0/024"]}
    assert pointers(problem_of(api.ask("PUT", ACCESS, deny), 422)) == ["/deny/0"]


@pytest.mark.parametrize("name", ["packets", "sample", "snaplen", "seconds"])
@pytest.mark.parametrize("text", ["+80", "080", " 80", "8_0", "\uff18\uff10", "8e1", "nan", "inf"])
def test_a_number_in_a_query_has_one_spelling(api: Api, name: str, text: str) -> None:
    problem = problem_of(api.ask("GET", f"/v1/capture?{name}={quote(text)}", headers=JSON), 422)
    assert pointers(problem) == [f"/query/{name}"]
    assert "in digits" in problem["hint"]


@pytest.mark.parametrize(
    ("once", "again"),
    [
        ("203.0.113.30:80:tcp", "203.0.113.30:80-80:TCP"),
        ("203.0.113.30:80:tcp", "203.0.113.30_32:80:tcp"),
        ("%5B2001:db8::30%5D:80:tcp", "%5B2001:DB8:0::0030%5D:80:tcp"),
        ("203.0.113.31:0:udp", "203.0.113.31:1-65535:udp"),
    ],
)
def test_a_key_has_one_form(api: Api, once: str, again: str) -> None:
    try:
        made = api.ask("PUT", f"/v1/vips/{once}", {})
        assert made.status_code == 201
        assert api.ask("PUT", f"/v1/vips/{again}", {}).status_code == 200
        assert api.ask("GET", f"/v1/vips/{again}").json()["address"] == made.json()["address"]
        assert len(api.ask("GET", "/v1/vips").json()["vips"]) == 2
    finally:
        api.ask("DELETE", f"/v1/vips/{once}")


@pytest.mark.parametrize("text", [text for text in NUMBERS if text not in {"-1", "65536"}])
@pytest.mark.parametrize(
    "words",
    [
        ("backend", "add", "web", "10.0.0.12", "--weight"),
        ("backend", "set", "web", "10.0.0.12", "--weight"),
        ("health", "set", "web", "--type", "tcp", "--port"),
        ("health", "set", "web", "--type", "tcp", "--rise"),
        ("vip", "set", "web", "--limit-packets"),
        ("vip", "set", "web", "--if-generation"),
        ("capture", "-w", "/dev/null", "--packets"),
        ("up", "eth0", "--max-vips"),
    ],
)
def test_a_number_of_a_command_has_one_spelling(daemon: Daemon, words: tuple[str, ...], text: str) -> None:
    told = daemon.run(*words, text)
    assert told.returncode == 2, (told.stdout, told.stderr)
    assert not told.stdout


@pytest.mark.parametrize("text", ["\uff18s", "1_0s", "+5s", " 5s"])
def test_a_time_of_a_command_has_one_spelling(daemon: Daemon, text: str) -> None:
    assert daemon.run("vip", "set", "web", "--idle-timeout", text).returncode == 2


@pytest.mark.parametrize("text", NUMBERS)
def test_a_port_of_a_command_has_one_spelling(daemon: Daemon, text: str, tmp_path: Path) -> None:
    assert daemon.run("vip", "add", f"203.0.113.20:{text}/tcp").returncode == 2
    assert daemon.run("vip", "show", f"203.0.113.10:{text}/tcp").returncode == 2
    assert len(json.loads(daemon.get("/v1/vips"))["vips"]) == 1
