# SPDX-License-Identifier: Apache-2.0
"""Agents and trackers with real packets: what an agent says moves new connections only, and a tracker sees the VIP."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.waiting import until
from xdplb.client import Client
from xdplb.client.bodies import BackendStatusOut
from xdplb.net.lab import ADDRESSES

from .balancer import XDPLB, Balancer, Download
from .conftest import new_lab

HOSTS = ("dr1", "dr2")
AGENT_PORT = 9999
AGENT = """
import socketserver, sys
class Agent(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(open(sys.argv[1]).read().encode() + b"\\n")
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("", int(sys.argv[2])), Agent).serve_forever()
"""


def say(balancer: Balancer, host: str, word: str) -> None:
    """Let the agent of a host say this from now on."""
    new = balancer.lab.folder / f"{host}-says.new"
    new.write_text(word)
    new.replace(balancer.lab.folder / f"{host}-says")


@pytest.fixture(scope="module")
def agents() -> Iterator[Balancer]:
    """A balancer with a VIP of two hosts that have agents."""
    with new_lab() as built:
        balancer = Balancer(built)
        balancer.prepare(*HOSTS)
        for host in HOSTS:
            say(balancer, host, "up 100%")
            said = str(balancer.lab.folder / f"{host}-says")
            balancer.lab.popen(host, [sys.executable, "-c", AGENT, said, str(AGENT_PORT)])
        balancer.start()
        check = ["--check", "agent", "--check-port", str(AGENT_PORT), "--check-interval", "100ms", "--check-fall", "1"]
        balancer.add(*HOSTS, vip_options=["--name", "web", *check, "--check-rise", "1", "--min-serving", "2"])
        yield balancer


def status(balancer: Balancer, host: str) -> BackendStatusOut:
    """Return a backend's status, without a process of its own."""
    with Client(socket_path=str(balancer.socket)) as client:
        return client.backends.get("web", str(ADDRESSES[host])).json()["status"]


def tracked(balancer: Balancer) -> int:
    """Return what a track_script of keepalived would exit with."""
    command = [XDPLB, "--socket", str(balancer.socket), "status", "--vip", "web"]
    return balancer.lab.run("balancer", command, check=False).returncode


def test_an_agent_moves_new_connections_only_and_a_restart_keeps_its_word(agents: Balancer) -> None:
    assert tracked(agents) == 0
    say(agents, "dr2", "25%")
    until(lambda: status(agents, "dr2")["effective_weight"] == 0.25)
    assert 15 < agents.get(200)["dr2"] < 70, "a fifth of them"

    downloads = [Download(agents, size=200_000, seconds=5) for _ in range(5)]
    assert "dr1" in {download.backend for download in downloads}
    say(agents, "dr1", "drain")
    until(lambda: status(agents, "dr1")["reason"].startswith("its agent says drain"))
    assert set(agents.get(50)) == {"dr2"}
    assert tracked(agents) == 1
    asked = ["curl", "-s", "--unix-socket", str(agents.socket), "http://localhost/readyz?vip=web"]
    assert "1 of 2 backends serves, and 2 must" in agents.lab.run("balancer", asked).stdout

    say(agents, "dr1", "up")  # which says nothing of the drain
    agents.kill()
    agents.start()
    assert set(agents.get(50)) == {"dr2"}, "what it said last counts"
    for download in downloads:
        download.finish()
    for host in HOSTS:
        say(agents, host, "ready 100%")
    until(lambda: tracked(agents) == 0, 25)


def test_who_flaps_is_held_down_unless_nobody_else_serves(agents: Balancer) -> None:
    agents.cli("vip", "set", "web", "--min-serving", "1")
    for _ in range(5):
        say(agents, "dr1", "down")
        until(lambda: status(agents, "dr1")["health"] == "down")
        say(agents, "dr1", "up")
        until(lambda: status(agents, "dr1")["health"] == "up")
    until(lambda: "it passes its check, but is held down for" in status(agents, "dr1")["reason"])
    assert set(agents.get(50)) == {"dr2"}
    say(agents, "dr2", "down")
    until(lambda: "and is used all the same" in status(agents, "dr1")["reason"])
    assert set(agents.get(50)) == {"dr1"}
    say(agents, "dr2", "up")
    until(lambda: "is held down" in status(agents, "dr1")["reason"])
    agents.cli("backend", "drain", "web", str(ADDRESSES["dr1"]))
    agents.cli("backend", "undrain", "web", str(ADDRESSES["dr1"]))
    until(lambda: status(agents, "dr1")["share"] > 0)
    assert set(agents.get(50)) == set(HOSTS)
    assert agents.log().count("flapping backend is held down") == 1
