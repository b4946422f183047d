# SPDX-License-Identifier: Apache-2.0
"""How the connection of a check ends: servers that log what goes wrong have nothing to log."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from socketserver import BaseRequestHandler, StreamRequestHandler, ThreadingTCPServer
from typing import Self

import pytest

from tests.probing import probe
from xdplb.control.health.ending import PortBudget
from xdplb.control.health.probes.result import ProbeResult
from xdplb.control.plan.sources import Source
from xdplb.model.health import CheckType, HealthCheck

HTTP = HealthCheck(type=CheckType.HTTP, timeout_seconds=0.5)
TCP = HealthCheck(timeout_seconds=0.5)
CLEAN = "clean"


class Reader(StreamRequestHandler):
    """Waits for the client to speak, as http servers do."""

    def handle(self) -> None:
        self.rfile.readline()


class Banner(StreamRequestHandler):
    """Speaks first, as SSH, SMTP and MySQL servers do, and takes a while for it."""

    def handle(self) -> None:
        for _ in range(3):
            time.sleep(0.02)
            self.wfile.write(b"SSH-2.0-OpenSSH_9.2p1\r\n")
        self.rfile.read()


class Deaf(BaseRequestHandler):
    """Keeps the connection for a while, whatever the client does; then it still reads and writes without an error."""

    def handle(self) -> None:
        time.sleep(0.8)
        self.request.sendall(b"x")
        self.request.recv(10)


def answering(head: bytes, body: bytes = b"", *, after: float = 0.0, stay: bool = False) -> type[StreamRequestHandler]:
    """Return a server that answers a request with this."""

    class Answering(StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass
            time.sleep(after)
            self.wfile.write(head)
            for first in range(0, len(body), 8192):
                self.wfile.write(body[first : first + 8192])
                time.sleep(0.0005)
            if stay:
                assert self.rfile.read() == b""

    return Answering


LARGE = 300_000
CHUNK = b"2000\r\n" + bytes(0x2000) + b"\r\n"


class Log:
    """A server that notes how each of its connections ended, as one that logs errors would."""

    def __init__(self, handler: type[BaseRequestHandler]) -> None:
        self.ends: list[str] = []
        log = self.ends

        class Noting(handler):  # type: ignore[valid-type, misc]
            def handle(self) -> None:
                try:
                    super().handle()
                except OSError as error:
                    log.append(type(error).__name__)
                else:
                    log.append(CLEAN)

        class Server(ThreadingTCPServer):
            daemon_threads = True
            request_queue_size = 64

        self._server = Server(("127.0.0.1", 0), Noting)
        self.port: int = self._server.server_address[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def checked(handler: type[BaseRequestHandler], check: HealthCheck) -> tuple[ProbeResult, list[str], float]:
    """Check such a server once; return the result, how the connection ended for it, and how long the check held up."""

    async def run() -> tuple[ProbeResult, float]:
        began = time.monotonic()
        result = await probe(check, "127.0.0.1", log.port)
        took = time.monotonic() - began
        for _ in range(150):
            if log.ends:
                break
            await asyncio.sleep(0.02)
        return result, took

    with Log(handler) as log:
        result, took = asyncio.run(run())
    return result, log.ends, took


@pytest.mark.parametrize(
    ("handler", "check", "passed"),
    [
        pytest.param(Reader, TCP, True, id="tcp, the server waits"),
        pytest.param(Banner, TCP, True, id="tcp, the server speaks first"),
        pytest.param(Deaf, TCP, True, id="tcp, the server takes its time"),
        pytest.param(Banner, HTTP, False, id="http, not http"),
        pytest.param(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", b"ok"), HTTP, True, id="short"),
        pytest.param(answering(b"HTTP/1.0 200 OK\r\n\r\n", bytes(LARGE)), HTTP, True, id="until close"),
        pytest.param(
            answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE, bytes(LARGE)), HTTP, True, id="long"
        ),
        pytest.param(
            answering(b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNK * 30 + b"0\r\n\r\n", stay=True),
            HTTP,
            False,
            id="chunked, and it does not close",
        ),
        pytest.param(answering(b"HTTP/1.1 204 No\r\n\r\n", stay=True), HTTP, False, id="empty, and it does not close"),
        pytest.param(answering(b"HTTP/1.1 200 OK\r\n\r\n", after=0.9), HTTP, False, id="too late"),
    ],
)
def test_the_server_sees_a_clean_end(handler: type[BaseRequestHandler], check: HealthCheck, *, passed: bool) -> None:
    result, ends, took = checked(handler, check)
    assert result.passed is passed, result.reason
    assert ends == [CLEAN]
    assert took < check.timeout_seconds + 0.25, "a server that is slow to close holds up no result"
    assert result.heard


def test_the_time_that_a_check_took_is_that_of_the_answer() -> None:
    result, _, _ = checked(Deaf, TCP)
    assert result.seconds < 0.04


@pytest.mark.parametrize(("handler", "check"), [(Reader, TCP), (Banner, HTTP)])
def test_with_reset_it_ends_with_a_rst(handler: type[BaseRequestHandler], check: HealthCheck) -> None:
    _, ends, _ = checked(handler, replace(check, reset=True))
    assert ends[0] in {"ConnectionResetError", "BrokenPipeError"}


def test_pythons_own_servers_log_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    class Quiet(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(bytes(100_000))

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    server.daemon_threads = False
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    async def run() -> None:
        for check in [TCP, HTTP] * 20:
            assert (await probe(check, "127.0.0.1", server.server_address[1])).passed

    asyncio.run(run())
    server.shutdown()
    server.server_close()
    assert "Exception" not in capsys.readouterr().err


def test_an_answer_without_end_is_cut() -> None:
    stop = time.monotonic() + 5.0

    def pour(listening: socket.socket) -> None:
        with listening.accept()[0] as client:
            try:
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                while time.monotonic() < stop:
                    client.sendall(bytes(65536))
            except OSError:
                ended.append(time.monotonic())

    ended: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=pour, args=[listening])
        thread.start()
        assert asyncio.run(probe(HTTP, "127.0.0.1", listening.getsockname()[1])).passed
        thread.join()
    assert ended
    assert ended[0] < stop - 3


def time_wait_here(port: int) -> int:
    """Return how many connections to this port are in TIME_WAIT on the side of the client."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    return sum(1 for line in lines if line[2].endswith(f":{port:04X}") and line[3] == "06")


@pytest.mark.parametrize("check", [HTTP, replace(TCP, reset=True), replace(HTTP, reset=True)])
def test_no_time_wait_is_left_on_this_side(check: HealthCheck) -> None:
    async def run() -> None:
        for _ in range(20):
            assert (await probe(check, "127.0.0.1", log.port)).passed

    with Log(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as log:
        asyncio.run(run())
        assert time_wait_here(log.port) == 0


def test_a_part_of_the_ports_may_stay_in_time_wait_for_each_backend() -> None:
    now = [1000.0]
    budget = PortBudget(lambda: 3, lambda: now[0])
    assert [budget.take(("10.0.0.1", 80)) for _ in range(5)] == [True, True, True, False, False]
    assert budget.take(("10.0.0.1", 81))
    assert budget.take(("10.0.0.2", 80))
    now[0] += 60
    assert budget.take(("10.0.0.1", 80))


def test_checks_that_are_stopped_leave_no_socket(recwarn: pytest.WarningsRecorder) -> None:
    async def run() -> None:
        trying = asyncio.create_task(probe(HTTP, "127.0.0.1", log.port))
        assert (await probe(TCP, "127.0.0.1", log.port)).passed
        trying.cancel()

    with Log(Deaf) as log:
        asyncio.run(run())
    gc.collect()
    assert [warning for warning in recwarn if warning.category is ResourceWarning] == []


def test_a_port_that_one_backend_holds_in_time_wait_is_free_for_another() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port: int = holder.getsockname()[1]
    only = Source(ip_address("127.0.0.1"), (range(port, port + 1),))

    async def run() -> list[ProbeResult]:
        return [await probe(TCP, "127.0.0.1", log.port, only) for log in (one, other)]

    with Log(Reader) as one, Log(Reader) as other:
        results = asyncio.run(run())
    assert [result.reason for result in results] == ["connected", "connected"]
