# SPDX-License-Identifier: Apache-2.0
"""Real TCP connections that go to a second choice: since their backend is silent, slow, or has enough."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.waiting import until
from xdplb.net.lab import ADDRESSES, VIP

from .balancer import Balancer

HANDSHAKES = str(Path(__file__).with_name("handshakes.py"))
PORT, PROBED = 81, 8099
KEY = f"{VIP}:{PORT}/tcp"
HOSTS = {"dr1": "dr", "dr2": "dr", "ipip1": "ipip"}
ENOUGH = 40
SLOW_SECONDS = 1.2


@pytest.fixture(scope="module", autouse=True)
def services(shared: Balancer) -> None:
    """Greet on all hosts."""
    for host in HOSTS:
        shared.lab.popen(host, [sys.executable, HANDSHAKES, "serve", host, str(PORT)])
        until(lambda: f":{PORT} " in shared.lab.run(host, ["ss", "-Htln"]).stdout)  # noqa: B023


class Dialled:
    """Connections that were begun together: who answered each, and how many seconds that took."""

    def __init__(self, balancer: Balancer, count: int = ENOUGH) -> None:
        command = [sys.executable, HANDSHAKES, "dial", str(VIP), str(PORT), str(count)]
        self._client = balancer.lab.popen("client", command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answers: list[tuple[str, float]] = []
        while (line := self._read()) != "all":
            name, seconds = line.split()
            self.answers.append((name, float(seconds)))

    @property
    def names(self) -> Counter[str]:
        """How many each backend has answered."""
        return Counter(name for name, _ in self.answers)

    @property
    def slowest(self) -> float:
        """Seconds until the last one was answered."""
        return max(seconds for _, seconds in self.answers)

    def still_there(self) -> int:
        """Send something on each connection; return how many answers came from who has answered before."""
        assert self._client.stdin is not None
        self._client.stdin.write("more\n")
        self._client.stdin.flush()
        return int(self._read())

    def _read(self) -> str:
        assert self._client.stdout is not None
        return str(self._client.stdout.readline()).strip()


def _vip(balancer: Balancer, *options: str, check: bool = True) -> None:
    """Add a VIP, whose backends are checked on a port of their own; they go down after a minute of failures."""
    times = ["--check-interval", "200ms", "--check-timeout", "200ms", "--check-fall", "100"]
    checks = ["--check", "tcp", "--check-port", str(PROBED), *times] if check else []
    balancer.cli("vip", "add", KEY, *options, *checks)
    for host, forward in HOSTS.items():
        balancer.cli("backend", "add", KEY, str(ADDRESSES[host]), "--forward", forward)
    until(lambda: all(one["status"]["share"] > 0 for one in balancer.ask("backend", "ls", KEY)["backends"]))


def _counted(balancer: Balancer, host: str) -> dict[str, int]:
    listed = balancer.ask("stats", KEY)["backends"]
    counted: dict[str, int] = next(one for one in listed if one["backend"] == str(ADDRESSES[host]))
    return counted


@pytest.fixture
def probed(ready: Balancer) -> Iterator[Balancer]:
    """Let all hosts pass the check; that of dr1 is `ready.services["probed"]`."""
    for host in HOSTS:
        served = ready.lab.popen(host, [sys.executable, HANDSHAKES, "serve", host, str(PROBED)])
        ready.services["probed" if host == "dr1" else f"probed {host}"] = served
        until(lambda: f":{PROBED} " in ready.lab.run(host, ["ss", "-Htln"]).stdout)  # noqa: B023
    yield ready
    for name in [name for name in ready.services if name.startswith("probed")]:
        ready.services[name].kill()
        ready.services.pop(name).wait()


@pytest.mark.parametrize("options", [(), ("--scheduler", "rr")], ids=["auto", "rr"])
def test_no_connection_fails_when_a_backend_falls_silent_and_each_stays_where_it_went(
    probed: Balancer, options: tuple[str, ...]
) -> None:
    _vip(probed, "--syn-failover", *options)
    probed.lab.configure("switch", "link set dr1 down")
    try:
        dialled = Dialled(probed)
        assert set(dialled.names) == {"dr2", "ipip1"}
        assert len(dialled.answers) == ENOUGH
        assert 0.9 < dialled.slowest < 2.9, "it takes a retransmission, two on a busy machine"
        assert dialled.still_there() == ENOUGH
    finally:
        probed.lab.configure("switch", "link set dr1 up")
    until(lambda: probed.ask("backend", "show", KEY, str(ADDRESSES["dr1"]))["status"]["share"] > 0)
    assert dialled.still_there() == ENOUGH, "their slots have the backend that is back as owner"
    failovers = _counted(probed, "dr1")["failovers"]
    assert 0 < failovers <= ENOUGH
    probed.cli("backend", "set", KEY, str(ADDRESSES["dr1"]), "--weight", "9")
    assert dialled.still_there() == ENOUGH, "slots have moved"
    probed.cli("vip", "set", KEY, "--no-syn-failover")
    assert dialled.still_there() == ENOUGH, "they are recorded, and no more such connections are made"


@contextmanager
def _late(balancer: Balancer, host: str) -> Iterator[None]:
    """Let what comes in for the VIP reach a host late."""
    command = [sys.executable, HANDSHAKES, "delay", str(VIP), str(SLOW_SECONDS)]
    process = balancer.lab.popen(host, command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield
    finally:
        process.kill()
        process.wait()
        for rule in ("add pref 0 lookup local", "del pref 10", "del pref 15", "del pref 20"):
            balancer.lab.run(host, ["ip", "rule", *rule.split()])


def test_nothing_breaks_when_a_suspect_backend_answers_late(probed: Balancer) -> None:
    _vip(probed, "--syn-failover")
    probed.services["probed"].kill()
    until(lambda: "refused" in str(probed.ask("health", "ls", KEY)))
    with _late(probed, "dr1"):
        dialled = Dialled(probed)
        assert len(dialled.answers) == ENOUGH
        assert set(dialled.names) == {"dr2", "ipip1"}, "who was sent elsewhere is not answered by the late one"
        assert dialled.still_there() == ENOUGH, "nor reset by what it sends a moment later"


def test_what_is_over_max_new_flows_goes_to_another_backend_and_stays(ready: Balancer) -> None:
    _vip(ready, check=False)
    ready.cli("backend", "set", KEY, str(ADDRESSES["dr1"]), "--max-new-flows", "3")
    dialled = Dialled(ready)
    assert dialled.names["dr1"] <= 4
    assert len(dialled.answers) == dialled.still_there() == ENOUGH
    assert dialled.slowest < 1
    counted = _counted(ready, "dr1")
    assert counted["over"] > 0 == counted["failovers"]
    ready.cli("backend", "set", KEY, str(ADDRESSES["dr1"]), "--max-new-flows", "0")
    assert dialled.still_there() == ENOUGH
