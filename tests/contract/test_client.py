"""The client against the API as it is: what it sends is accepted, and what it says of bodies is true."""

from __future__ import annotations

from collections.abc import Iterator

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


def test_low_level_requests_reach_every_path(web: Client) -> None:
    assert web.get("/v1/vips/web").json()["name"] == "web"
    assert web.change("PATCH", "/v1/vips/web", {"scheduler": "wlc"}, dry_run=True).dry_run()["would_change"]
