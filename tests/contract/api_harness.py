# SPDX-License-Identifier: Apache-2.0
"""The API over a real manager, in memory but for its state: fake data plane, next hops and checks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from tests.fakes import FakeHealth, FakeIcmpErrors, FakeNextHops
from xdplb.cluster.repository import Repository
from xdplb.control.among import Among, SharedStore
from xdplb.control.events import Actor, ActorKind
from xdplb.control.manager import Manager
from xdplb.control.state.sqlite import SqliteStore
from xdplb.dataplane.fake import FakePlane
from xdplb.dataplane.plane import Capacity
from xdplb.model.key import Protocol, VipKey
from xdplb.model.nic import DesiredNic
from xdplb.model.role import Role
from xdplb_api.app import create_app

__all__ = [
    "ACCESS",
    "ADMIN",
    "BACKEND",
    "BACKENDS",
    "CHECK",
    "DRAIN",
    "VERSION",
    "VIP",
    "WEB",
    "Api",
    "path_of",
    "problem_of",
    "running_api",
]

VERSION = "1.2.3"
VIP = "/v1/vips/203.0.113.10:443:tcp"
BACKENDS = f"{VIP}/backends"
BACKEND = f"{BACKENDS}/10.0.0.11"
DRAIN = f"{BACKEND}/drain"
CHECK = f"{VIP}/health-check"
ACCESS = f"{VIP}/access"
ADMIN = Actor(ActorKind.UNIX, uid=0, pid=1, user="root", role=Role.ADMIN)
WEB = {"address": "203.0.113.10", "port": 443, "protocol": "tcp", "name": "web"}


@dataclass(frozen=True, slots=True)
class Api:
    """A client of the API, and what stands behind it."""

    client: TestClient
    manager: Manager
    plane: FakePlane
    health: FakeHealth
    errors: FakeIcmpErrors

    def act_as(self, actor: Actor) -> None:
        """Send further requests as this one."""
        self.client.app_state["peer"] = actor

    def ask(self, method: str, path: str, body: object = None, **more: Any) -> Any:
        """Send a request and return the response."""
        return (
            self.client.request(method, path, json=body, **more)
            if body is not None
            else self.client.request(method, path, **more)
        )

    def add(self, path: str, body: object) -> Any:
        """POST `body`, which must make something new, and return the answer's body."""
        response = self.ask("POST", path, body)
        assert response.status_code == 201, response.text
        return response.json()

    def generation(self) -> int:
        """Return the number of the latest accepted change."""
        return int(self.client.get("/v1/status").json()["generation"])

    def everything(self) -> Any:
        """Return all that was asked for, to compare before and after; not the status, which time changes too."""
        vips = self.client.get("/v1/vips").json()["vips"]
        below = {}
        for vip in vips:
            path = f"/v1/vips/{path_of(vip)}"
            below[path] = [self.client.get(f"{path}/{noun}").json() for noun in ("backends", "checks", "access")]
        return _without_status([vips, below])


def _without_status(body: Any) -> Any:
    """Return a body without what is so, at any depth."""
    if isinstance(body, dict):
        return {name: _without_status(value) for name, value in body.items() if name != "status"}
    return [_without_status(item) for item in body] if isinstance(body, list) else body


def path_of(vip: Any) -> str:
    """Return what stands for a VIP of the API in a path."""
    return VipKey.of(vip["address"], vip["port"], Protocol(vip["protocol"]), vip["last_port"]).path


@contextmanager
def running_api(
    *, capacity: Capacity | None = None, raise_errors: bool = True, repository: Repository | None = None
) -> Iterator[Api]:
    """Start all of it, and stop it at the end."""
    plane = FakePlane(capacity or Capacity(vips=16, backends=64, flows=1024))
    health, errors = FakeHealth(), FakeIcmpErrors()
    with tempfile.TemporaryDirectory(prefix="xdplb-api-") as directory:
        nics = (DesiredNic("eth0", "auto"),)
        manager = Manager(
            plane,
            SqliteStore(Path(directory)),
            FakeNextHops(),
            health,
            nics=nics,
            icmp_errors=errors,
            among=Among(
                node="lb1",
                store=None if repository is None else SharedStore(repository, "etcd://192.0.2.1:2379/xdplb"),
            ),
        )
        app = create_app(manager, version=VERSION)
        with TestClient(app, base_url="http://localhost", raise_server_exceptions=raise_errors) as client:
            client.headers["Xdplb-Client"] = "tests"
            client.app_state["peer"] = ADMIN
            assert client.portal is not None
            client.portal.call(manager.start)
            try:
                yield Api(client, manager, plane, health, errors)
            finally:
                client.portal.call(manager.stop)


def problem_of(response: Any, status: int) -> Any:
    """Return the problem in `response`, which must be one of `status` and of the right shape."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["type"].startswith("urn:xdplb:problem:")
    assert problem["title"]
    assert problem["detail"]
    assert all(set(error) == {"pointer", "detail"} for error in problem["errors"])
    return problem
