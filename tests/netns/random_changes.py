# SPDX-License-Identifier: Apache-2.0
"""Random changes of the backends of two VIPs by the REST API, and whose connections they may end."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.waiting import until
from xdplb.net.lab import ADDRESSES, VIP

from .balancer import FORWARDS, Balancer

__all__ = ["HEALTH", "HOSTS", "IDLE_SECONDS", "PORTS", "Backends"]

PORTS = {"auto": 81, "always": 82}
HOSTS = ("dr1", "dr2", "ipip1", "ipip2", "side")
IDLE_SECONDS = 5
HEALTH = {"type": "http", "port": 80, "path": "/health", "interval_seconds": 0.2, "timeout_seconds": 3, "fall": 2}


@dataclass
class Backends:
    """What was done to the backends, and when each was not there for its connections: (host, from, until)."""

    balancer: Balancer
    there: set[str] = field(default_factory=set)
    drained: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    gone: list[tuple[str, float, float]] = field(default_factory=list)
    _since: dict[str, float] = field(default_factory=dict)

    def add(self, host: str) -> None:
        self.there.add(host)
        for path in self._vips():
            self._call("POST", f"{path}/backends", address=str(ADDRESSES[host]), forward=FORWARDS[host])
        self._is_back(host)

    def remove(self, host: str) -> None:
        self._is_gone(host)
        self.there.remove(host)
        self.drained.discard(host)
        for path in self._vips():
            self._call("DELETE", f"{path}/backends/{ADDRESSES[host]}")

    def drain(self, host: str) -> None:
        self.drained.add(host)
        self._patch(host, admin_state="drain")

    def undrain(self, host: str) -> None:
        self.drained.remove(host)
        self._patch(host, admin_state="ready")

    def reweigh(self, host: str) -> None:
        self._patch(host, weight=random.randint(0, 4))

    def is_failing(self, host: str) -> None:
        """Note that its service is about to be killed."""
        self._is_gone(host)
        self.failed.add(host)

    def fail(self, host: str) -> None:
        self.is_failing(host)
        self.balancer.kill_service(host)
        until(lambda: all(health == "down" for health in self._healths(host)))

    def recover(self, host: str) -> None:
        self.balancer.serve(host)
        until(lambda: all(health == "up" for health in self._healths(host)))
        self.failed.remove(host)
        self._is_back(host)

    def random_change(self) -> str:
        """Do something that can be done now; two backends at least go on serving."""
        spare = self._spare()
        can: list[tuple[Callable[[str], None], set[str]]] = [
            (self.add, set(HOSTS) - self.there),
            (self.remove, (self.there - self.failed) & (spare | self.drained)),
            (self.drain, spare),
            (self.undrain, self.drained),
            (self.reweigh, self.there),
            (self.fail, set(self.can_fail())),
            (self.recover, self.failed),
        ]
        what, hosts = random.choice([(what, hosts) for what, hosts in can if hosts])
        host = random.choice(sorted(hosts))
        what(host)
        return f"{what.__name__} {host}"

    def can_fail(self) -> list[str]:
        """Return the hosts whose service may be killed."""
        return sorted((self.there - self.failed) & (self._spare() | self.drained))

    def _spare(self) -> set[str]:
        """Return those that serve, if two others do so too."""
        serving = self.there - self.drained - self.failed
        return serving if len(serving) > 2 else set()

    @contextmanager
    def cut_off(self, *hosts: str) -> Iterator[None]:
        """Note that these hosts cannot be reached in the block: the balancer's NIC to them is away."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.gone += [(host, began, time.monotonic()) for host in hosts]

    def excuses(self, ended: dict[str, Any]) -> bool:
        """Whether the backend of a connection that ended was gone at some time while it was open."""
        intervals = [*self.gone, *((host, since, float("inf")) for host, since in self._since.items())]
        return any(
            host == ended["backend"] and start <= ended["broken"] and end >= ended["opened"]
            for host, start, end in intervals
        )

    def make_vips(self) -> None:
        """Make a VIP for each way of tracking, with a health check and without backends."""
        for tracking, port in PORTS.items():
            self._call(
                "POST",
                "",
                address=str(VIP),
                port=port,
                protocol="tcp",
                tracking=tracking,
                idle_timeout_seconds=IDLE_SECONDS,
            )
        for path in self._vips():
            self._call("PUT", f"{path}/health-check", **HEALTH)

    def serve(self) -> bool:
        """Whether every backend serves every VIP."""
        return all(
            backend["status"]["share"] > 0
            for path in self._vips()
            for backend in self._call("GET", f"{path}/backends")["backends"]
        )

    def serve_as_asked(self) -> bool:
        """Whether every backend that was not taken out serves every VIP, if its weight lets it."""
        return all(
            backend["status"]["share"] > 0 or backend["weight"] == 0
            for path in self._vips()
            for backend in self._call("GET", f"{path}/backends")["backends"]
            if backend["address"] in {str(ADDRESSES[host]) for host in self.there - self.drained - self.failed}
        )

    def _is_gone(self, host: str) -> None:
        self._since.setdefault(host, time.monotonic())

    def _is_back(self, host: str) -> None:
        if host in self._since:
            self.gone.append((host, self._since.pop(host), time.monotonic()))

    def _healths(self, host: str) -> list[str]:
        paths = [f"{path}/backends/{ADDRESSES[host]}" for path in self._vips()]
        return [self._call("GET", path)["status"]["health"] for path in paths]

    def _patch(self, host: str, **changes: object) -> None:
        for path in self._vips():
            self._call("PATCH", f"{path}/backends/{ADDRESSES[host]}", **changes)

    def _vips(self) -> list[str]:
        return [f"/{VIP}:{port}:tcp" for port in PORTS.values()]

    def _call(self, method: str, path: str, /, **body: object) -> dict[str, Any]:
        argv = ["curl", "-sS", "--fail-with-body", "--unix-socket", str(self.balancer.socket), "-X", method]
        argv += ["-H", "Content-Type: application/json", *(["-d", json.dumps(body)] if body else [])]
        argv.append(f"http://localhost/v1/vips{path}")
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{method} {path} {body}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout or "{}")
