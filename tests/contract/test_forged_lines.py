# SPDX-License-Identifier: Apache-2.0
"""No word from outside ends a line of the log, begins another, or drives a terminal."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.asking import ApiConnection
from tests.contract.api_harness import ACCESS, BACKENDS, WEB, Api, problem_of, running_api
from tests.contract.cli_harness import Daemon, running_daemon
from tests.probing import probe
from xdplb.cli.output import Column, note, print_fields, print_json, table
from xdplb.control.events import DAEMON, CaptureBegan, DriftFound, DriftKind, HealthChanged
from xdplb.daemon.log_line import LineFormatter
from xdplb.model.health import CheckType, HealthCheck

FORGED = "\nINFO change: actor=daemon generation=7\u2028\x1b[2J\u202e"


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with running_api() as api:
        api.add("/v1/vips", WEB)
        yield api


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running_daemon(tmp_path) as daemon:
        yield daemon


@pytest.mark.parametrize(
    ("method", "path", "body", "pointer"),
    [
        ("GET", f"/v1/capture?client={quote('fe80::1%a' + FORGED)}", None, "/query/client"),
        ("GET", "/v1/capture?client=fe80::%25eth0/64", None, "/query/client"),
        ("GET", "/v1/capture?client=[2001:db8::9%25a%0Ab]:80", None, "/query/client"),
        ("GET", "/v1/explain?vip=web&client=[2001:db8::9%25a%0Ab]:80", None, "/query/client"),
        ("POST", "/v1/vips", {**WEB, "address": "2001:db8::1%eth0"}, "/address"),
        ("POST", "/v1/vips", {**WEB, "address": "2001:db8::%eth0/64"}, "/address"),
        ("POST", BACKENDS, {"address": "2001:db8::1%" + FORGED}, "/address"),
        ("PUT", f"{BACKENDS}/2001:db8::1%25{quote(FORGED)}", {}, "/path/address"),
        ("PUT", "/v1/vips/%5B2001:db8::1%25a%0Ab%5D:80:tcp", {}, "/path/vip"),
        ("PUT", ACCESS, {"deny": ["fe80::%eth0/64"]}, "/deny/0"),
    ],
)
def test_a_zone_is_refused_by_the_field_s_name(api: Api, method: str, path: str, body: object, pointer: str) -> None:
    problem = problem_of(api.ask(method, path, body), 422)
    assert pointer in {error["pointer"] for error in problem["errors"]}, problem
    assert "zone" in problem["detail"]
    assert problem["detail"].isprintable()
    assert problem["hint"].isprintable()


def _ask(daemon: Daemon, target: str) -> int:
    with closing(ApiConnection(daemon.socket, timeout=10)) as connection:
        connection.request("GET", target, headers={"Content-Type": "application/json", "User-Agent": "a\tb"})
        return connection.getresponse().status


def test_requests_cannot_write_lines_into_the_log(daemon: Daemon) -> None:
    for client in (f"fe80::1%a{FORGED}", f"192.0.2.7{FORGED}"):
        assert _ask(daemon, f"/v1/capture?client={quote(client)}") == 422
    assert _ask(daemon, f"/v1/vips/{quote(FORGED)}") == 404
    raw = socket.socket(socket.AF_UNIX)
    raw.connect(str(daemon.socket))
    raw.sendall(b"GET / HTTP/1.1\r\nX\x1b[2J\nINFO forged\r\n\r\n")
    raw.recv(1000)
    raw.close()
    log = daemon.stop()
    assert log.replace("\n", "").isprintable()
    assert not [line for line in log.splitlines() if line.startswith(("INFO change", "NOTICE change"))]
    assert "forged" not in log


@pytest.mark.parametrize(
    "event",
    [
        CaptureBegan(DAEMON, f"web{FORGED}", f"192.0.2.7{FORGED}"),
        HealthChanged("web", f"10.0.0.1{FORGED}", "down", f"status 500 {FORGED}"),
        DriftFound(DriftKind.NIC, f"eth0{FORGED}", repaired=False, reason="it's gone\"" + FORGED),
        DriftFound(DriftKind.NIC, "eth0 reason='all is well'", repaired=False, reason="gone"),
        DriftFound(DriftKind.NIC, "eth0", repaired=False, reason="x" * 1_000_000),
    ],
)
def test_every_event_is_one_line_of_bounded_length(event: CaptureBegan | HealthChanged | DriftFound) -> None:
    line = event.line()
    assert line.isprintable()
    assert len(line) < 3000
    assert "=eth0 reason='all" not in line, "one field is not two"


def test_a_message_of_any_library_is_one_line_and_its_traceback_is_indented() -> None:
    layout = LineFormatter("%(levelname)s %(message)s")
    try:
        raise ValueError(f"given {FORGED}")
    except ValueError as error:
        record = logging.LogRecord("uvicorn.error", logging.WARNING, "", 0, f"Invalid {FORGED} %s", (FORGED,), None)
        broken = logging.LogRecord("x", logging.ERROR, "", 0, "broke", (), (ValueError, error, error.__traceback__))
    assert layout.format(record).isprintable()
    first, *rest = layout.format(broken).split("\n")
    assert first == "ERROR broke"
    assert rest
    assert all(line.startswith("    ") and line.isprintable() for line in rest)


def test_what_a_backend_answers_cannot_be_long() -> None:
    async def scenario() -> str:
        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\n" + b"\x1b[2J\x0b" * 4000 + b"\r\n\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return (await probe(HealthCheck(type=CheckType.HTTP), "127.0.0.1", port)).reason

    reason = asyncio.run(scenario())
    assert "not HTTP" in reason
    assert reason.isprintable()
    assert len(reason) < 400


def test_nothing_that_is_printed_drives_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    table([Column("REASON")], [[f"down {FORGED}"]])
    print_fields([("reason", FORGED)])
    note(FORGED)
    print_json(json.dumps({"reason": FORGED}, ensure_ascii=False).encode())
    shown = capsys.readouterr()
    assert shown.out.replace("\n", "").isprintable()
    assert shown.err.replace("\n", "").isprintable()


def test_an_error_that_quotes_what_was_given_is_one_line(daemon: Daemon) -> None:
    told = daemon.run("vip", "show", f"web{FORGED}")
    assert told.returncode == 2
    assert told.stderr.replace("\n", "").isprintable()
    assert len(told.stderr.splitlines()) <= 2
