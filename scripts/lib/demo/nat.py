# SPDX-License-Identifier: Apache-2.0
"""`scripts/demo nat`: ports are mapped, and replies come back through a balancer that has seen no request."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cluster.node import XDPLB, Node
from xdplb.net import ethtool
from xdplb.net.lab_cluster import ADDRESSES, VIP, ClusterLab
from xdplb.net.lab_hosts import forward_packets

from .screen import Screen
from .traffic import burst, failures, spread
from .world import DemoError, wait_for

__all__ = ["STEPS", "Stage"]

REQUESTS, REPLIES, SPARE = "balancer1", "balancer2", "balancer3"
"""Requests go through the first one, replies through the second one, until that is lost."""

PORTS: Final = {"backend1": 8080, "backend2": 8081}
WEB, TALK = f"{VIP}:80/tcp", f"{VIP}:81/tcp"
TALK_SHIFT = 1000
CLIENT = "client1"
CLIENTS = "198.51.100.0/24"
SETTINGS = ("--idle-timeout", "3s", "--check", "tcp", "--check-interval", "1s")

SYSCTLS = ("net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.all.send_redirects=0")
READY_SECONDS = 180
CONNECTIONS, HELD = 400, 500
HOLD_SECONDS = 3.0
END_SECONDS = 90
LOAD = "cluster.load"


@dataclass(frozen=True, slots=True)
class Carried:
    """What a balancer has carried: packets to backends, replies to clients (by the kernel too), and records made."""

    requests: int
    replies: int
    records: int

    def since(self, before: Carried) -> Carried:
        """Return what has come since then."""
        return Carried(self.requests - before.requests, self.replies - before.replies, self.records - before.records)


class Stage:
    """What the demo runs, and the hands on it."""

    def __init__(self, lab: ClusterLab, screen: Screen) -> None:
        self.lab = lab
        self.nodes = {host: Node(lab, host) for host in (REQUESTS, REPLIES, SPARE)}
        self._screen = screen

    def sh(self, host: str, *words: str) -> str:
        """Run a command on a host, show it, and return what it prints."""
        self._screen.command(words, where=host)
        return self.lab.run(host, words).stdout

    def cli(self, host: str, *arguments: str) -> None:
        """Run a client command on a balancer, and show it."""
        self._screen.command(["xdplb", *arguments], where=host)
        self.nodes[host].cli(*arguments)

    def on_all(self, *arguments: str) -> None:
        """Run a client command on every balancer: each has the same configuration. It is shown once."""
        self._screen.command(["xdplb", *arguments], where="each balancer")
        for node in self.nodes.values():
            node.cli(*arguments)

    def spawn(self, command: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """Start a command on the client."""
        process: subprocess.Popen[str] = self.lab.popen(CLIENT, command, **options)
        return process

    def carried(self, host: str) -> Carried:
        """Return what a balancer has carried up to now."""
        told = self.nodes[host].ask("stats")
        sent, written, records = (sum(vip[name] for vip in told["vips"]) for name in ("packets", "replies", "records"))
        return Carried(sent, written + told["passes"].get("nat_reply", 0), records)

    def slots_are_steady(self, host: str) -> bool:
        """Whether no slot moves: those of the backend that has passed its check first have, to the other one."""
        slots = [vip["status"]["slots"] for vip in self.nodes[host].ask("vip", "ls")["vips"]]
        return not any(each["moving"] or each["pinned"] for each in slots)


def prepare(stage: Stage, screen: Screen) -> None:
    """Start the backends' services, and set a route on each: the only thing that they need."""
    screen.step("Three balancers, and two backends that know nothing of them but a route")
    for line in _topology():
        screen.say(line)
    for host, port in PORTS.items():
        stage.lab.inside(host, lambda: ethtool.finish_checksums("eth0"))
        stage.lab.popen(host, [sys.executable, "-m", "demo.web", host, str(port)])
        talk = [sys.executable, "-m", "cluster.service", host, str(port + TALK_SHIFT)]
        stage.lab.popen(host, talk)
        stage.sh(host, "ip", "route", "replace", CLIENTS, "via", str(ADDRESSES[REPLIES]))
    stage.sh("router1", "ip", "route", "replace", str(VIP), "via", str(ADDRESSES[REQUESTS]))
    answering = wait_for(lambda: all(_answers(stage, host) for host in PORTS), READY_SECONDS)
    screen.expect(answering, "a server answers on each backend, on a port of its own")


def come_up(stage: Stage, screen: Screen) -> None:
    """Start the daemons, on hosts that forward packets."""
    screen.step("Start xdplb on hosts that forward packets")
    screen.command(["sysctl", "-w", *SYSCTLS], where="each balancer")
    screen.command(["xdplb", "up", "eth0"], where="each balancer")
    for host, node in stage.nodes.items():
        stage.lab.inside(host, forward_packets)
        node.start()
    for node in stage.nodes.values():
        node.wait_until_ready()
    ready = all(node.ask("status")["ready"] for node in stage.nodes.values())
    screen.expect(ready, "all three are ready")


def add_vips(stage: Stage, screen: Screen) -> None:
    """Add a VIP whose backends serve ports of their own, and one for long connections."""
    screen.step("A VIP on port 80, whose backends serve 8080 and 8081")
    for vip, shift in ((WEB, 0), (TALK, TALK_SHIFT)):
        stage.on_all("vip", "add", vip, "--forward", "nat", *SETTINGS)
        for host, port in PORTS.items():
            stage.on_all("backend", "add", vip, str(ADDRESSES[host]), "--port", str(port + shift))
    addresses = [str(ADDRESSES[host]) for host in PORTS]
    serving = wait_for(
        lambda: all(node.serves(vip, addresses) for node in stage.nodes.values() for vip in (WEB, TALK)), READY_SECONDS
    )
    screen.expect(serving, "both backends have passed their checks, for each balancer")
    steady = wait_for(lambda: all(map(stage.slots_are_steady, stage.nodes)), READY_SECONDS)
    screen.expect(steady, "no slot of the VIPs moves: each balancer sends a connection to the same backend")
    for host in PORTS:
        shown = stage.sh(host, "ip", "-brief", "-4", "address")
        screen.expect(str(VIP) not in shown, f"{host} does not have the VIP", shown)


def show_port_mapping(stage: Stage, screen: Screen) -> None:
    """Make requests: both backends answer at ports of their own, and a balancer that saw none carries the replies."""
    screen.step(f"{CONNECTIONS} requests through {REQUESTS}, whose replies come back through {REPLIES}")
    before = {host: stage.carried(host) for host in stage.nodes}
    requests = burst(stage.spawn, f"http://{VIP}/", CONNECTIONS)
    failed, counts = failures(requests), spread(requests)
    screen.table(
        ("backend", "listens on", "requests"),
        [(host, f"{ADDRESSES[host]}:{port}", counts[host]) for host, port in PORTS.items()],
    )
    carried = {host: stage.carried(host).since(before[host]) for host in stage.nodes}
    screen.table(
        ("balancer", "packets to backends", "replies to clients", "connections recorded"),
        [(host, each.requests, each.replies, each.records) for host, each in carried.items()],
    )
    screen.expect(not failed, f"none of {len(requests)} requests to port 80 failed", str(failed[:1]))
    screen.expect(set(counts) == set(PORTS), "both backends answered, on ports 8080 and 8081", str(dict(counts)))
    screen.expect(carried[REPLIES].requests == 0, f"{REPLIES} has seen no request")
    screen.expect(carried[REQUESTS].replies == 0, f"{REQUESTS} has seen no reply")
    wrote = carried[REPLIES].replies
    screen.expect(wrote >= 2 * CONNECTIONS, f"{REPLIES} has written the VIP into {wrote} replies")
    screen.expect(not any(each.records for each in carried.values()), "nobody has recorded a connection")
    seen = {_seen_by(stage) for _ in range(4)}
    screen.expect(
        seen == {str(ADDRESSES[CLIENT])}, f"backends see the client's own address, {ADDRESSES[CLIENT]}", str(seen)
    )


def lose_balancers(stage: Stage, screen: Screen) -> None:
    """Lose the balancer that carries the replies, then the one that carries the requests: no connection breaks."""
    screen.step(f"{HELD} connections are open, and both of their balancers are lost")
    command = [sys.executable, "-m", LOAD, "81", str(HELD), "0", "1", str(VIP)]
    load = stage.spawn(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert load.stdout is not None, "it is a pipe"
    if load.stdout.readline().strip() != "up":
        raise DemoError("the connections could not be opened")
    time.sleep(HOLD_SECONDS)
    _lose(stage, screen, REPLIES)
    for host in PORTS:
        stage.sh(host, "ip", "route", "replace", CLIENTS, "via", str(ADDRESSES[SPARE]))
    time.sleep(HOLD_SECONDS)
    _lose(stage, screen, REQUESTS)
    stage.sh("router1", "ip", "route", "replace", str(VIP), "via", str(ADDRESSES[SPARE]))
    time.sleep(HOLD_SECONDS)
    told = json.loads(load.communicate(timeout=END_SECONDS)[0])
    screen.say(
        f"every connection says something each second; the longest waited {told['slowest']:.1f} s for its answer"
    )
    screen.table(("backend", "connections"), sorted(told["backends"].items()))
    broken = told["broken"]
    screen.expect(
        told["made"] == HELD and not broken, f"{HELD} connections: none broke", f"{len(broken)}: {broken[:1]}"
    )
    screen.expect(stage.carried(SPARE).records == 0, f"{SPARE}, which carries all of them now, has no record of any")


def take_down(stage: Stage, screen: Screen) -> None:
    """Stop the daemons and take the data planes down; the backends have nothing to undo but a route."""
    screen.step("Stop the daemons, and xdplb down")
    stopped = stage.nodes[SPARE].stop()
    screen.expect(stopped == 0, "the daemon that is left stopped", f"it exited with {stopped}")
    screen.command(["xdplb", "down", "eth0"], where="each balancer")
    for host, node in stage.nodes.items():
        done = stage.lab.run(host, [XDPLB, "down", "eth0", "--pin-dir", str(node.pins)], check=False)
        screen.expect(done.returncode == 0, f"nothing of xdplb is left on {host}", done.stderr.strip())


def _lose(stage: Stage, screen: Screen, host: str) -> None:
    """Lose a balancer: its cable is out, and its daemon is dead."""
    screen.say(f"{host}: its cable is pulled out, and its daemon killed with -9")
    stage.lab.cut(host)
    stage.nodes[host].kill()


def _answers(stage: Stage, host: str) -> bool:
    """Whether both services of a backend listen."""
    listening = stage.lab.run(host, ["ss", "-Htln"]).stdout
    return all(f":{PORTS[host] + shift} " in listening for shift in (0, TALK_SHIFT))


def _seen_by(stage: Stage) -> str:
    """Return the client's address as a backend sees it."""
    asked = ["curl", "--silent", "--show-error", "--max-time", "5", f"http://{VIP}/client"]
    return stage.lab.run(CLIENT, asked).stdout.strip()


def _topology() -> tuple[str, ...]:
    return (
        "client1 ── router1 ──┬── balancer1   10.0.0.11   requests",
        "                     ├── balancer2   10.0.0.12   replies",
        "                     ├── balancer3   10.0.0.13   spare",
        "                     ├── backend1    10.0.0.21:8080",
        "                     └── backend2    10.0.0.22:8081",
    )


STEPS: tuple[Callable[[Stage, Screen], None], ...] = (
    prepare,
    come_up,
    add_vips,
    show_port_mapping,
    lose_balancers,
    take_down,
)
