# SPDX-License-Identifier: Apache-2.0
"""The client against the API as it is: what it sends is accepted, and what it says of bodies is true."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingUnixStreamServer

import pytest

from tests.contract import client_bodies
from xdplb.client import Client, ConflictError, NotFoundError, PreconditionError

from .cli_harness import Daemon

KEY = "203.0.113.10:443/tcp"


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    with Client(socket_path=str(daemon.socket)) as one:
        yield one


@pytest.fixture
def web(client: Client) -> Client:
    """A client of a daemon with a VIP called web and a backend."""
    vip = client.vips.create({"address": "203.0.113.10", "port": 443, "protocol": "tcp", "name": "web"})
    assert vip.created
    assert client.backends.create("web", {"address": "10.0.0.1"}).created
    return client


def test_the_types_of_bodies_are_as_the_api_has_them() -> None:
    made = client_bodies.FILE.read_text(encoding="utf-8") == client_bodies.text()
    assert made, "run python -m tests.contract.client_bodies"


def test_vips(web: Client) -> None:
    assert [vip["name"] for vip in web.vips.list().json()["vips"]] == ["web"]
    before = web.vips.get(KEY)
    assert web.vips.put("web", {"name": "web", "scheduler": "wlc"}).json()["tracking"] == "always"
    with pytest.raises(PreconditionError):
        web.vips.patch("web", {"scheduler": "rr"}, if_generation=before.generation)
    assert web.vips.patch("web", {"scheduler": "rr"}, dry_run=True).dry_run()["would_change"]
    assert web.vips.get("web").json()["scheduler"] == "wlc"
    with pytest.raises(ConflictError):
        web.vips.create({"address": "203.0.113.10", "port": 443, "protocol": "tcp"})
    assert web.vips.delete("web").json() is None
    with pytest.raises(NotFoundError):
        web.vips.get("web")


def test_backends(web: Client) -> None:
    assert web.backends.put("web", "10.0.0.2", {"weight": 3}).created
    assert web.backends.patch("web", "10.0.0.2", {"weight": 2}).json()["weight"] == 2
    assert [one["address"] for one in web.backends.list("web").json()["backends"]] == ["10.0.0.1", "10.0.0.2"]
    assert {one["vip"] for one in web.backends.all().json()["backends"]} == {KEY}
    drained = web.backends.drain("web", "10.0.0.1", {"timeout_seconds": 5}).json()["status"]["drain"]
    assert drained is not None
    assert web.backends.undrain("web", "10.0.0.1").json()["admin_state"] == "ready"
    web.backends.delete("web", "10.0.0.1")
    answer = web.backends.replace("web", [])
    assert answer.json()["backends"] == []
    assert answer.warnings


def test_checks_and_access_lists(web: Client) -> None:
    with pytest.raises(NotFoundError):
        web.checks.get("web")
    assert web.checks.put("web", {"type": "tcp"}).created
    assert web.checks.get("web").json()["rise"] == 2
    web.checks.delete("web")
    assert web.access.put("web", {"deny": ["192.0.2.0/24"]}).json()["deny"] == ["192.0.2.0/24"]
    assert web.access.patch("web", {"allow": ["198.51.100.0/24"]}).json()["allow"] == ["198.51.100.0/24"]
    web.access.delete("web")
    assert web.access.get("web").json() == {"allow": [], "deny": []}


def test_the_daemon(web: Client) -> None:
    assert web.status().json()["vips"][0]["name"] == "web"
    assert web.dataplane().json()["vips"]["used"] == 1
    assert web.stats().json()["vips"][0]["vip"] == web.vip_stats("web").json()["vip"] == KEY
    assert "xdplb_build_info" in web.metrics()
    assert web.version().json()["api"] == "v1"
    assert web.ready().json()["ready"]


@contextmanager
def losing_answers(target: Path, path: Path, lost: int) -> Iterator[None]:
    """Serve a socket that passes requests on to another, and hangs up in place of the first answers."""
    left = iter([True] * lost)

    class Between(StreamRequestHandler):
        def handle(self) -> None:
            with socket.socket(socket.AF_UNIX) as daemon:
                daemon.connect(str(target))
                ends = {self.request: daemon, daemon: self.request}
                while True:
                    for ready in select.select(ends, [], [])[0]:
                        data = ready.recv(1 << 16)
                        if not data or (ready is daemon and next(left, False)):
                            return
                        ends[ready].sendall(data)

    with ThreadingUnixStreamServer(str(path), Between) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield
        server.shutdown()
        thread.join()


def test_a_change_whose_answer_is_lost_is_made_once(daemon: Daemon, web: Client, tmp_path: Path) -> None:
    before = web.status().json()["generation"]
    path = tmp_path / "between"
    with losing_answers(daemon.socket, path, 3), Client(socket_path=str(path)) as client:
        assert client.backends.put("web", "10.0.0.9", {"weight": 2}).created
    with losing_answers(daemon.socket, path.with_name("again"), 1), Client(socket_path=f"{tmp_path}/again") as client:
        generation = web.vips.get("web").generation
        assert client.vips.patch("web", {"scheduler": "wlc"}, if_generation=generation).json()["scheduler"] == "wlc"
    assert web.status().json()["generation"] == before + 2


def test_low_level_requests_reach_every_path(web: Client) -> None:
    assert web.get("/v1/vips/web").json()["name"] == "web"
    assert web.change("PATCH", "/v1/vips/web", {"scheduler": "wlc"}, dry_run=True).dry_run()["would_change"]
