"""Hundreds of real TCP connections through random changes by the REST API: none breaks whose backend survived."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from xdplb.net.lab import ADDRESSES, VIP

from .balancer import FORWARDS, Balancer, until

TALKER = str(Path(__file__).with_name("talker.py"))
PORTS = {"auto": 81, "always": 82}
CONNECTIONS = 150  # for each VIP
HOSTS = ("dr1", "dr2", "ipip1", "ipip2", "side")
STEPS = 24
IDLE_SECONDS = 5
PAUSES = (0.0, 0.0, 0.3, 1.5, 3.0)
LONG_PAUSES = {8: IDLE_SECONDS + 3, 16: IDLE_SECONDS + 3}
"""After these steps everything may settle: slots go from moving to pinned, and some to steady."""
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

    def fail(self, host: str) -> None:
        self._is_gone(host)
        self.failed.add(host)
        self.balancer.kill_service(host)
        until(lambda: all(health == "down" for health in self._healths(host)))

    def recover(self, host: str) -> None:
        self.balancer.serve(host)
        until(lambda: all(health == "up" for health in self._healths(host)))
        self.failed.remove(host)
        self._is_back(host)

    def random_change(self) -> str:
        """Do something that can be done now; two backends at least go on serving."""
        serving = self.there - self.drained - self.failed
        spare = serving if len(serving) > 2 else set()
        can: list[tuple[Callable[[str], None], set[str]]] = [
            (self.add, set(HOSTS) - self.there),
            (self.remove, (self.there - self.failed) & (spare | self.drained)),
            (self.drain, spare),
            (self.undrain, self.drained),
            (self.reweigh, self.there),
            (self.fail, (self.there - self.failed) & (spare | self.drained)),
            (self.recover, self.failed),
        ]
        what, hosts = random.choice([(what, hosts) for what, hosts in can if hosts])
        host = random.choice(sorted(hosts))
        what(host)
        return f"{what.__name__} {host}"

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
        if body:
            argv += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
        argv.append(f"http://localhost/v1/vips{path}")
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{method} {path} {body}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout or "{}")


def talk(balancer: Balancer, port: int) -> tuple[subprocess.Popen[Any], Path]:
    """Hold connections to a port of the VIP; what became of them is in the file."""
    told = balancer.lab.folder / f"told-{port}"
    with told.open("w") as out:
        argv = [sys.executable, TALKER, "talk", str(VIP), str(port), str(CONNECTIONS)]
        return balancer.lab.popen("client", argv, stdout=out), told


@pytest.mark.parametrize("seed", [1])
def test_random_changes_break_no_connection_whose_backend_survives(balancer: Balancer, seed: int) -> None:
    random.seed(seed)
    balancer.prepare(*HOSTS)
    for host in HOSTS:
        ports = [str(port) for port in PORTS.values()]
        balancer.lab.popen(host, [sys.executable, TALKER, "serve", host, *ports])
    balancer.start(nics=("eth0", "eth1"))
    backends = Backends(balancer)
    backends.make_vips()
    for host in HOSTS[:4]:
        backends.add(host)
    until(backends.serve)

    talks = {tracking: talk(balancer, port) for tracking, port in PORTS.items()}
    time.sleep(3)
    done = []
    for step in range(STEPS):
        done.append(backends.random_change())
        time.sleep(LONG_PAUSES.get(step, random.choice(PAUSES)))
    time.sleep(3)

    for tracking, (process, told) in talks.items():
        process.terminate()
        assert process.wait(30) == 0
        *ended, summary = [json.loads(line) for line in told.read_text().splitlines()]
        broken = [one for one in ended if not backends.excuses(one)]
        assert broken == [], f"{tracking}: {len(broken)} of {summary} after {done}"
        assert ended, "no change took any connection's backend away"
        assert sum(summary["open"].values()) == CONNECTIONS
        assert summary["said"] > 10 * CONNECTIONS
