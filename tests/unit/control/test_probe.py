# SPDX-License-Identifier: Apache-2.0
"""One try of a check against real sockets on loopback: what each kind of answer is called."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address

import pytest

from tests.fakes import until
from tests.probing import probe
from tests.stopwatch import Stopwatch
from xdplb.control.health.alarms import Alarms
from xdplb.control.health.prober import Sockets
from xdplb.control.health.probes.aim import Aim
from xdplb.control.health.probes.result import ProbeResult
from xdplb.control.plan.sources import ANY_SOURCE, Source
from xdplb.model.health import CheckType, HealthCheck

HTTP = HealthCheck(type=CheckType.HTTP, path="/ready", timeout_seconds=0.5)
TCP = HealthCheck(timeout_seconds=0.5)
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def without_source(reason: str) -> str:
    """Return the reason of a failure without where the probe came from, which must be named if it was sent."""
    words, _, source = reason.partition(" (asked from 127.0.0.1:")
    assert source == "" or source[:-1].isdigit(), reason
    return words


@asynccontextmanager
async def serving(handler: Handler, host: str = "127.0.0.1") -> AsyncIterator[int]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(handle, host, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


def answering(answer: bytes, heard: list[bytes] | None = None) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if heard is not None:
            heard.append(request)
        writer.write(answer)
        await writer.drain()

    return handle


@pytest.mark.parametrize(
    ("answer", "passed", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", True, "status 200"),
        (b"HTTP/1.0 200 OK\r\n\r\nok", True, "status 200"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True, "status 200"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", False, "status 503, expected 200"),
        (b"", False, "connection closed without an answer"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", False, "the answer is not HTTP: illegal status line; it begins 'SSH-2.0-OpenSSH"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000, False, "the head of its answer is longer than 64 KiB (asked"),
    ],
)
def test_http_judges_the_answer(answer: bytes, passed: bool, reason: str) -> None:
    async def run() -> None:
        async with serving(answering(answer)) as port:
            outcome = await probe(HTTP, "127.0.0.1", port)
        assert outcome.passed is passed
        assert outcome.reason.startswith(reason)

    asyncio.run(run())


def test_http_asks_for_the_path_and_quotes_what_is_not_ascii() -> None:
    heard: list[bytes] = []
    check = HealthCheck(type=CheckType.HTTP, path="/über?a=%20b")

    async def run() -> None:
        async with serving(answering(b"HTTP/1.1 200 OK\r\n\r\n", heard)) as port:
            assert (await probe(check, "127.0.0.1", port)).passed

    asyncio.run(run())
    assert heard[0].startswith(b"GET /%C3%BCber?a=%20b HTTP/1.1\r\n")


def test_any_expected_status_will_do_and_all_are_named() -> None:
    check = HealthCheck(type=CheckType.HTTP, expect_status=(200, 204))

    async def run(status: int) -> tuple[bool | None, str]:
        async with serving(answering(f"HTTP/1.1 {status} X\r\n\r\n".encode())) as port:
            outcome = await probe(check, "127.0.0.1", port)
        return outcome.passed, without_source(outcome.reason)

    assert asyncio.run(run(204)) == (True, "status 204")
    assert asyncio.run(run(404)) == (False, "status 404, expected 200 or 204")


def test_silence_ends_at_the_timeout() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def run() -> None:
        async with serving(silent) as port:
            outcome = await probe(HTTP, "127.0.0.1", port)
        assert (outcome.passed, without_source(outcome.reason)) == (False, "no answer in 0.5 s")
        assert 0.4 < outcome.seconds < 1.0

    asyncio.run(run())


def test_tcp_needs_no_more_than_a_connection() -> None:
    async def run() -> None:
        async with serving(answering(b"")) as port:
            assert (await probe(TCP, "127.0.0.1", port)).passed

    asyncio.run(run())


def test_nobody_listening_is_said_so() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        outcome = asyncio.run(probe(TCP, "127.0.0.1", holder.getsockname()[1]))
    assert (outcome.passed, without_source(outcome.reason)) == (False, "connection refused")


def test_a_failure_says_where_the_probe_came_from() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(writer.get_extra_info("peername"))
        await reader.read()

    peers: list[tuple[str, int]] = []

    async def run() -> str:
        async with serving(silent) as port:
            return (await probe(HTTP, "127.0.0.1", port)).reason

    reason = asyncio.run(run())
    ((address, port),) = peers
    assert reason == f"no answer in 0.5 s (asked from {address}:{port})"


def test_a_probe_comes_from_the_source_it_is_given() -> None:
    async def noted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(writer.get_extra_info("peername"))

    peers: list[tuple[str, int]] = []

    async def run() -> None:
        async with serving(noted) as port:
            for source in (Source(ip_address("127.0.0.7")), Source(ip_address("127.0.0.8"), (range(20000, 20100),))):
                assert (await probe(TCP, "127.0.0.1", port, source)).passed
                await asyncio.sleep(0.05)

    asyncio.run(run())
    assert [address for address, _ in peers] == ["127.0.0.7", "127.0.0.8"]
    assert peers[1][1] in range(20000, 20100)


def test_a_probe_without_a_right_source_says_nothing_about_the_backend() -> None:
    source = Source(obstacle="checks would leave from 203.0.113.10, which is a VIP")
    outcome = asyncio.run(probe(TCP, "127.0.0.1", 1, source))
    assert (outcome.passed, outcome.reason) == (None, f"this host could not run the check: {source.obstacle}")


def test_a_host_out_of_sockets_says_nothing_about_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(*_: object, **__: object) -> socket.socket:
        raise OSError(24, "Too many open files")

    async def run() -> None:
        monkeypatch.setattr("xdplb.control.health.probes.stream.socket.socket", no_more)
        outcome = await probe(TCP, "127.0.0.1", 1)
        monkeypatch.undo()
        assert outcome.passed is None
        assert outcome.starved
        assert outcome.reason.startswith(
            "this host could not run the check: the daemon has as many files open as it may"
        )

    asyncio.run(run())


SHORTAGES = ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EAGAIN", "EADDRNOTAVAIL", "EADDRINUSE"]


@pytest.mark.parametrize("step", ["__init__", "bind", "connect_ex"])
@pytest.mark.parametrize("name", SHORTAGES)
def test_what_this_host_lacks_at_any_step_says_nothing_about_the_backend(
    monkeypatch: pytest.MonkeyPatch, step: str, name: str
) -> None:
    code = getattr(errno, name)

    class Poor(socket.socket):
        def __init__(self, *args: int) -> None:
            self.fail("__init__")
            super().__init__(*args)

        def bind(self, address: object) -> None:
            self.fail("bind")

        def connect_ex(self, address: object) -> int:
            return code if step == "connect_ex" else super().connect_ex(address)  # type: ignore[arg-type]

        def fail(self, at: str) -> None:
            if at == step:
                raise OSError(code, "so says the test")

    async def run() -> None:
        monkeypatch.setattr("xdplb.control.health.probes.stream.socket.socket", Poor)
        outcome = await probe(TCP, "127.0.0.1", 1, Source(ip_address("127.0.0.1")))
        assert (outcome.passed, outcome.starved) == (None, True)
        assert outcome.reason.startswith("this host could not run the check: ")

    asyncio.run(run())


def test_connections_that_only_end_make_room_for_probes() -> None:
    """A server that does not close holds a socket of ours, but keeps no check from running."""

    async def idle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3)

    async def run() -> None:
        prober, found = Sockets(5), list[ProbeResult]()
        prober.start(Alarms(lambda error: None), lambda _, error: None)
        async with serving(idle) as port:
            for _ in range(50):
                before = len(found)
                prober.begin(Aim(TCP, "127.0.0.1", port), ANY_SOURCE, found.append)
                await until(lambda before=before: len(found) > before)  # type: ignore[misc]
            prober.stop()
        assert [result.passed for result in found] == [True] * 50

    asyncio.run(run())


def test_an_answer_that_came_while_this_process_stood_still_counts() -> None:
    """The backend is a thread: it answers while the event loop hangs."""

    def answer(listening: socket.socket) -> None:
        with listening.accept()[0] as client:
            client.recv(1000)
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def run(port: int) -> ProbeResult:
        asyncio.get_running_loop().call_later(0.05, time.sleep, 1.0)
        trying = asyncio.create_task(probe(HTTP, "127.0.0.1", port))
        return await trying

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Timer(0.3, answer, [listening]).start()
        outcome = asyncio.run(run(listening.getsockname()[1]))
    assert (outcome.passed, outcome.reason) == (True, "status 200")


def test_a_host_too_busy_to_look_says_nothing_about_the_backend() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def run() -> None:
        async with serving(silent) as port:
            asyncio.get_running_loop().call_later(0.1, time.sleep, 1.0)
            outcome = await probe(HTTP, "127.0.0.1", port)
        assert outcome.passed is None
        assert "too busy" in outcome.reason

    asyncio.run(run())


def test_answers_before_the_answer_that_never_end_are_a_failure_and_hold_nothing_up() -> None:
    """The backend is a thread of its own: it always has more to read at once, so that no read would wait."""
    stop = time.monotonic() + 4.0

    def babble(listening: socket.socket) -> None:
        with contextlib.suppress(OSError), listening.accept()[0] as client:
            while time.monotonic() < stop:
                client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 20000)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=babble, args=[listening])
        thread.start()
        watch = Stopwatch()
        outcome = asyncio.run(probe(replace(HTTP, timeout_seconds=2.0), "127.0.0.1", listening.getsockname()[1]))
        assert watch.unhindered < 3.0
        thread.join()
    assert (outcome.passed, without_source(outcome.reason)) == (False, "no answer in the first 64 KiB")


def test_a_backend_of_ipv6_is_asked_by_its_address_in_brackets() -> None:
    heard: list[bytes] = []

    async def scenario() -> None:
        async with serving(answering(b"HTTP/1.1 200 OK\r\n\r\n", heard), "::1") as port:
            outcome = await probe(HTTP, "::1", port)
            assert outcome.passed, outcome.reason
            assert f"Host: [::1]:{port}\r\n".encode() in heard[0]

    asyncio.run(scenario())
