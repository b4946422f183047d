# SPDX-License-Identifier: Apache-2.0
"""Backends for tests of probes: threads with real sockets on loopback, which answer as a test says."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.probing import probe
from xdplb.control.health.probes.result import ProbeResult
from xdplb.model.health import HealthCheck

__all__ = ["answering", "datagrams", "result_of", "stream", "words"]

OnConnection = Callable[[socket.socket], None]
OnDatagram = Callable[[bytes], list[bytes]]


@contextmanager
def stream(handle: OnConnection, context: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> Iterator[int]:
    """Yield the port of a TCP server that gives each connection to `handle`, secured if there is a context."""
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as listening:

        def one(client: socket.socket) -> None:
            with contextlib.suppress(OSError, ssl.SSLError), client:
                client.settimeout(5)
                if context is None:
                    handle(client)
                    return
                with context.wrap_socket(client, server_side=True) as secured:
                    handle(secured)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=one, args=[listening.accept()[0]], daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield listening.getsockname()[1]
        finally:
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)


def answering(answer: bytes, heard: list[bytes] | None = None) -> OnConnection:
    """Return a handler that reads once, answers with this and closes."""

    def handle(client: socket.socket) -> None:
        data = client.recv(65536)
        if heard is not None:
            heard.append(data)
        client.sendall(answer)

    return handle


@contextmanager
def datagrams(handle: OnDatagram, port: int = 0) -> Iterator[int]:
    """Yield the port of a UDP server that answers each datagram with those that `handle` returns."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", port))
        sock.settimeout(0.02)
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                with contextlib.suppress(TimeoutError, OSError):
                    data, peer = sock.recvfrom(65536)
                    for answer in handle(data):
                        sock.sendto(answer, peer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield sock.getsockname()[1]
        finally:
            stop.set()
            thread.join()


def result_of(check: HealthCheck, port: int, host: str = "127.0.0.1") -> ProbeResult:
    """Probe once."""
    return asyncio.run(probe(check, host, port))


def words(result: ProbeResult) -> tuple[bool | None, str]:
    """Return whether it passed and its reason, without where a failed probe came from, which must be named."""
    reason, _, source = result.reason.partition(" (asked from 127.0.0.1:")
    assert result.passed is not False or source[:-1].isdigit(), result.reason
    return result.passed, reason
