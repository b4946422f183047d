# SPDX-License-Identifier: Apache-2.0
"""What the API takes on: a client that floods it, or takes too long, is refused or closed; all others are served."""

from __future__ import annotations

import json
import os
import resource
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.stopwatch import Stopwatch
from xdplb.daemon.budget import budget
from xdplb_api.limits import Limits

from .cli_harness import Daemon, running_daemon, xdplb

MEBIBYTE = 1 << 20
ACCESS = "/v1/vips/203.0.113.10:443:tcp/access"
SHORT: dict[str, Any] = {"head_seconds": 1, "body_seconds": 2, "idle_seconds": 1, "unread_seconds": 1}


@contextmanager
def connected(daemon: Daemon, says: bytes = b"") -> Iterator[socket.socket]:
    """Connect and send this, as much of it as the daemon takes at once."""
    with socket.socket(socket.AF_UNIX) as made:
        made.settimeout(60)
        made.connect(str(daemon.socket))
        made.sendall(says)
        yield made


def answer(connection: socket.socket) -> tuple[int, dict[str, str], Any]:
    """Read until the connection is closed; return status, headers and body of the answer, 0 if there was none."""
    told = b""
    try:
        while more := connection.recv(1 << 16):
            told += more
    except ConnectionResetError:
        pass
    if not told:
        return 0, {}, None
    head, _, body = told.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(first.split()[1]), headers, json.loads(body)


def request(method: str, path: str, body: bytes = b"", *, length: int | None = None) -> bytes:
    length = len(body) if length is None else length
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n"
    )
    return head.encode() + b"\r\n" + body


def memory(daemon: Daemon) -> int:
    status = Path(f"/proc/{daemon.process.pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmRSS:"))


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with little patience."""
    with running_daemon(tmp_path_factory.mktemp("short"), **SHORT) as daemon:
        daemon.ok("vip", "add", "203.0.113.10:443/tcp")
        yield daemon


@pytest.mark.parametrize("says", [b"", b"GET / HTTP/1.1\r\nX-A"], ids=["silent", "half a request"])
def test_a_client_that_does_not_ask_is_closed(short: Daemon, says: bytes):
    watch = Stopwatch()
    with connected(short, says) as connection:
        status, _, problem = answer(connection)
    assert watch.seconds > 0.5
    assert watch.unhindered < 5
    assert status == (408 if says else 0)
    assert problem is None or problem["type"] == "urn:xdplb:problem:too-slow"


def test_half_a_request_that_comes_byte_by_byte_is_closed_too(short: Daemon):
    watch = Stopwatch()
    with connected(short, b"GET /v1/vips HTTP/1.1\r\nX: ") as connection:
        connection.settimeout(0.2)
        while watch.unhindered < 8:
            try:
                connection.sendall(b"x")
                if connection.recv(1000):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
    assert watch.seconds > 0.5
    assert watch.unhindered < 5


@pytest.mark.parametrize(("pause", "most"), [(30.0, 4), (0.3, 6)], ids=["stands still", "drips"])
def test_a_body_that_does_not_come_is_closed(short: Daemon, pause: float, most: float):
    watch = Stopwatch()
    told = b""
    with connected(short, request("PUT", ACCESS, b"{", length=100_000)) as connection:
        connection.settimeout(pause)
        while not told and watch.unhindered < most + 2:
            try:
                told = connection.recv(1000)
                break
            except TimeoutError:
                connection.sendall(b" ")
    assert told.startswith(b"HTTP/1.1 408 ")
    assert watch.seconds > 0.5
    assert watch.unhindered < most


def test_a_body_that_goes_on_after_its_refusal_is_closed(short: Daemon):
    watch = Stopwatch()
    with connected(short, request("PUT", "/v1/vips/web", b"{", length=9 * MEBIBYTE)) as connection:
        status, _, problem = answer(connection)
    assert (status, problem["type"]) == (413, "urn:xdplb:problem:too-large")
    assert watch.unhindered < 5


def test_a_connection_that_asks_no_more_is_closed(short: Daemon):
    watch = Stopwatch()
    with connected(short, request("GET", "/v1/version")) as connection:
        assert answer(connection)[0] == 200
    assert watch.seconds > 0.5
    assert watch.unhindered < 5


def test_a_client_that_leaves_its_answer_unread_is_closed(short: Daemon):
    allow = [f"10.{i >> 8}.{i & 255}.0/24" for i in range(60_000)]
    with connected(short, request("PUT", ACCESS, json.dumps({"allow": allow}).encode())) as connection:
        assert connection.recv(20).startswith(b"HTTP/1.1 200 ")
    with connected(short, request("GET", ACCESS)) as connection:
        time.sleep(4)
        taken = 0
        try:
            while more := connection.recv(1 << 16):
                taken += len(more)
        except ConnectionResetError:
            pass
    assert taken < MEBIBYTE


def test_what_is_not_http_gets_a_problem_and_no_line_of_log(tmp_path: Path):
    with running_daemon(tmp_path) as daemon:
        for garbage in (b"\x16\x03\x01\x02\r\n\r\n", b"GET /\r\n\r\n", b"X" * 70_000):
            with connected(daemon, garbage) as connection:
                status, headers, problem = answer(connection)
            assert (status, headers["content-type"]) == (400, "application/problem+json")
            assert problem["type"] == "urn:xdplb:problem:not-http"
        log = daemon.stop().splitlines()
    meanwhile = log[log.index(next(line for line in log if "the API is on" in line)) + 1 :]
    assert [line for line in meanwhile if "stop" not in line] == []


@pytest.mark.parametrize("body", [b"not a length\r\n", b"1;" + b"x" * 70_000], ids=["no chunk", "endless head"])
def test_a_body_that_is_not_http_is_told_so(short: Daemon, body: bytes):
    head = b"PUT %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    with connected(short, head % ACCESS.encode() + body) as connection:
        status, _, problem = answer(connection)
    assert (status, problem["type"]) == (400, "urn:xdplb:problem:not-http")


def test_more_connections_than_the_cap_get_a_503_and_lock_nobody_out(tmp_path: Path):
    with running_daemon(tmp_path, connections=8) as daemon, ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(connected(daemon))
        with connected(daemon) as one_more:
            status, headers, problem = answer(one_more)
        assert (status, headers["retry-after"]) == (503, "1")
        assert problem["type"] == "urn:xdplb:problem:too-many-connections"
        told = xdplb("--socket", str(daemon.socket), "status")  # another process has a place, at once
        assert told.returncode == 0, told.stderr
        time.sleep(1.1)
        with connected(daemon, request("GET", "/v1/version")) as later:  # one that is silent gives way
            assert later.recv(20).startswith(b"HTTP/1.1 200 ")


def test_without_descriptors_it_neither_spins_nor_fills_the_log(tmp_path: Path):
    with (tmp_path / "log").open("wb") as log, running_daemon(tmp_path / "d", log=log.fileno()) as daemon:
        pid = daemon.process.pid
        daemon.ok("status")  # it has opened what it needs
        opened = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (opened + 5, limits[1]))
        before = _cpu(pid)
        with ExitStack() as stack:
            for _ in range(100):
                stack.enter_context(connected(daemon))
            time.sleep(3)
            assert _cpu(pid) - before < 1
        assert xdplb("--socket", str(daemon.socket), "status").returncode == 0
        assert (tmp_path / "log").stat().st_size < 4000
        assert "the API cannot accept connections: Too many open files" in (tmp_path / "log").read_text()


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_unfinished_bodies_take_bounded_memory_and_a_change_still_gets_in(tmp_path: Path):
    size = 47 * MEBIBYTE
    with running_daemon(tmp_path) as daemon, ExitStack() as stack:
        daemon.ok("vip", "add", "203.0.113.10:443/tcp")
        before = memory(daemon)
        begun = request("PUT", ACCESS, b'{"allow": ["', length=size)
        clients = [stack.enter_context(connected(daemon, begun)) for _ in range(20)]
        part = b"x" * MEBIBYTE
        statuses = []
        for client in clients:
            try:
                for _ in range(46):
                    client.sendall(part)
            except OSError:
                pass
            client.settimeout(0.2)
            try:
                statuses.append(client.recv(20)[9:12])
            except (TimeoutError, OSError):
                statuses.append(b"")
        assert memory(daemon) - before < 250 * MEBIBYTE
        assert b"503" in statuses
        told = xdplb("--socket", str(daemon.socket), "backend", "add", "203.0.113.10:443/tcp", "10.0.0.1")
        assert told.returncode == 0, told.stderr


@pytest.mark.parametrize("size", [60_000, MEBIBYTE])
def test_json_that_is_nested_too_deeply_is_told_so(short: Daemon, size: int):
    with connected(short, request("PUT", ACCESS, b"[" * size)) as connection:
        status, _, problem = answer(connection)
    assert status == 400
    assert problem["detail"].startswith("the body is not JSON: it is nested too deeply")


def test_what_was_refused_does_not_stay_in_memory(short: Daemon):
    body = request("PUT", ACCESS, b"[" * MEBIBYTE)

    def refused(_: int) -> bool:
        with connected(short, body) as connection:
            return connection.recv(1 << 16).startswith(b"HTTP/1.1 400 ")

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(refused, range(16)))
        before = memory(short)
        assert all(pool.map(refused, range(100)))
    assert memory(short) - before < 24 * MEBIBYTE


def test_requests_that_nobody_has_answered_yet_take_bounded_memory(short: Daemon):
    one = b"GET /v1/vips HTTP/1.1\r\nHost: localhost\r\n\r\n"
    before, sent, answers = memory(short), 0, 0
    with connected(short) as connection:
        connection.settimeout(0.01)
        end = time.monotonic() + 4
        while time.monotonic() < end:
            with suppress(TimeoutError):
                sent += connection.send(one * 4000)
            with suppress(TimeoutError):
                answers += connection.recv(1 << 16).count(b"HTTP/1.1 200")
    assert answers > 100
    assert sent < answers * len(one) + 4 * MEBIBYTE
    assert memory(short) - before < 16 * MEBIBYTE


def test_all_requests_of_one_go_are_answered(short: Daemon):
    one = b"GET /v1/vips HTTP/1.1\r\nHost: localhost\r\nX: %s\r\n\r\n" % (b"x" * 300)
    with connected(short) as connection:
        for count in (1, 3, 700):
            told, left = b"", memoryview(one * count)
            while told.count(b"HTTP/1.1 200") < count:
                if left and select.select([], [connection], [], 0)[1]:  # who only sends while answers wait is cut off
                    left = left[connection.send(left[: 1 << 16]) :]
                told += connection.recv(1 << 16)


def test_a_capture_takes_no_turn_of_other_requests(tmp_path: Path):
    with running_daemon(tmp_path, requests=1) as daemon:
        with connected(daemon, request("GET", "/v1/capture?seconds=20")) as capturing:
            assert capturing.recv(20).startswith(b"HTTP/1.1 200 ")
            assert json.loads(daemon.get("/v1/version"))["api"] == "v1"
        daemon.ok("status")


def test_an_answer_lists_no_more_than_100_wrong_fields(short: Daemon):
    backends = [{"address": f"10.1.{i >> 8}.{i & 255}", "weight": 70000 if i > 4 else 1} for i in range(2000)]
    body = json.dumps({"backends": backends}).encode()
    with connected(short, request("PUT", "/v1/vips/203.0.113.10:443:tcp/backends", body)) as connection:
        status, _, problem = answer(connection)
    assert status == 422
    assert len(problem["errors"]) == 100
    assert problem["detail"].endswith("(and 494 more)")  # in the first part; the rest is not looked at
    assert problem["errors"][0]["pointer"] == "/backends/5/weight"


@pytest.mark.parametrize(
    ("descriptors", "asked", "connections", "probes"),
    [(1024, 256, 232, 512), (65536, 256, 256, 16384), (1024, 100, 100, 512), (64, 256, 1, 32)],
)
def test_the_api_leaves_three_quarters_of_the_descriptors_to_the_balancer(
    descriptors: int, asked: int, connections: int, probes: int
):
    divided = budget(descriptors, Limits(connections=asked))
    assert (divided.api.connections, divided.probes) == (connections, probes)
    assert bool(divided.note) is (connections < asked)


def test_clients_that_read_no_answer_keep_nobody_waiting(tmp_path: Path):
    allow = [f"10.{i >> 8}.{i & 255}.0/24" for i in range(60_000)]
    with running_daemon(tmp_path, requests=2) as daemon, ExitStack() as stack:
        daemon.ok("vip", "add", "203.0.113.10:443/tcp")
        with connected(daemon, request("PUT", ACCESS, json.dumps({"allow": allow}).encode())) as connection:
            assert connection.recv(20).startswith(b"HTTP/1.1 200 ")
        for _ in range(6):
            stack.enter_context(connected(daemon, request("GET", ACCESS)))
        time.sleep(1.5)
        told = xdplb("--socket", str(daemon.socket), "vip", "ls")
        assert told.returncode == 0, told.stderr


def test_a_process_that_asks_without_end_does_not_keep_another_waiting(tmp_path: Path):
    """The other one has its answer while most of the flood waits for its own, however fast either is answered."""
    flood = b"".join([request("GET", "/v1/backends")] * 200)
    with running_daemon(tmp_path, requests=2) as daemon, ExitStack() as stack:
        asking = stack.enter_context(another_process(daemon, request("GET", "/v1/vips")))
        floods = [stack.enter_context(connected(daemon, flood)) for _ in range(60)]
        assert asking.communicate("now", timeout=60)[0] == "HTTP/1.1 200"
        assert sum(map(answers_until_now, floods)) < 200 * len(floods) / 2
        told = xdplb("--socket", str(daemon.socket), "vip", "ls")
        assert told.returncode == 0, told.stderr


ANOTHER = """
import os, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
os.close(2)
sys.stdin.read()
connection.sendall(bytes.fromhex(sys.argv[2]))
print(connection.recv(12).decode(), end="")
"""
"""Connects, closes stderr then, and asks when its stdin ends."""


@contextmanager
def another_process(daemon: Daemon, asks: bytes) -> Iterator[subprocess.Popen[str]]:
    """Have a process of its own connect; it asks at the end of its stdin, and prints how the answer begins."""
    command = [sys.executable, "-c", ANOTHER, str(daemon.socket), asks.hex()]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.read() == ""
            yield process
        finally:
            process.kill()


def answers_until_now(connection: socket.socket) -> int:
    """Return how many answers have come."""
    told = b""
    connection.settimeout(0)
    with suppress(BlockingIOError):
        while more := connection.recv(1 << 20):
            told += more
    return told.count(b"HTTP/1.1 200 ")


def test_it_stops_at_once_whatever_its_clients_have_begun(tmp_path: Path):
    begun = (
        b"",
        b"GET / HTTP/1.1\r\nX-A",
        request("PUT", ACCESS, b'{"allow": ["', length=MEBIBYTE),
        request("GET", "/v1/version"),
        request("GET", "/v1/capture?seconds=20"),
        b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n",
    )
    with running_daemon(tmp_path) as daemon, ExitStack() as stack:
        for says in begun:
            stack.enter_context(connected(daemon, says))
        time.sleep(0.5)
        watch = Stopwatch()
        daemon.end()
        assert watch.unhindered < 3
        log = daemon.stop()
    assert daemon.process.returncode == 0
    assert "Traceback" not in log
    assert "Cancel" not in log
