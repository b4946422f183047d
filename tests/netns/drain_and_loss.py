# SPDX-License-Identifier: Apache-2.0
"""Connections through a pair of balancers while a backend is drained and the balancer that has the VIP is lost."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.waiting import until
from xdplb.net.lab import VIP

from .pair import Pair

__all__ = ["PEERS", "Broken", "lose_in_a_drain", "prepare"]

TALKER = str(Path(__file__).with_name("talker.py"))
PORT = 81
KEY = f"{VIP}:{PORT}/tcp"
DRAINED = "10.0.0.12"
SPEAK_SECONDS = 3.0
"""In this time each connection sends something."""

PEERS = {
    "lb1": "--peer-listen 10.0.0.2 --peer 10.0.0.3 --peer-key-file /etc/xdplb/peers.key",
    "lb2": "--peer-listen 10.0.0.3 --peer 10.0.0.2 --peer-key-file /etc/xdplb/peers.key",
}
"""What makes each of the two tell the other of connections."""

CONFIG = f"""
[[vips]]
address = "{VIP}"
port = {PORT}
protocol = "tcp"
name = "talk"
backends = [{{ address = "10.0.0.11" }}, {{ address = "{DRAINED}" }}]
"""


@dataclass(frozen=True, slots=True)
class Broken:
    """How many connections broke, of those that were open before the drain and of those opened during it."""

    old: int
    new: int


def prepare(pair: Pair, *, peers: bool) -> None:
    """Have both balancers serve a VIP that connections are held to, as peers or not."""
    for balancer in pair.both:
        balancer.write("/etc/xdplb/config.toml", CONFIG)
        balancer.sh("umask 077; echo a-key-that-is-as-long-as-it-has-to-be >/etc/xdplb/peers.key")
        options = PEERS[balancer.name] if peers else ""
        balancer.write("/etc/default/xdplb", f'INTERFACES="eth0"\nOPTIONS="{options}"\n')
    for balancer in pair.both:
        balancer.sh("systemctl restart xdplb && xdplb status --wait")
    pair.master()


def lose_in_a_drain(pair: Pair, connections: int) -> Broken:
    """Drain a backend, open connections, lose the balancer that has the VIP, have it back and move the VIP there."""
    for host in ("dr1", "dr2"):
        _serve(pair, host)
    master = pair.master()
    other = pair.other(master)
    old = Held(pair, connections)
    for balancer in pair.both:
        balancer.sh(f"xdplb backend drain {KEY} {DRAINED} --timeout 5m")
    new = Held(pair, connections)
    time.sleep(SPEAK_SECONDS)
    pair.lab.cut_off(master.host)
    until(lambda: other.has(str(VIP)))
    time.sleep(SPEAK_SECONDS)
    pair.lab.join(master.host)
    pair.master()
    pair.master().sh("xdplb node drain")
    time.sleep(SPEAK_SECONDS)
    broken = Broken(old.broken(), new.broken())
    for balancer in pair.both:
        balancer.sh(f"xdplb node undrain && xdplb backend undrain {KEY} {DRAINED}")
    return broken


def _serve(pair: Pair, host: str) -> None:
    """Have a backend answer what the connections say."""

    def is_served() -> bool:
        return bool(pair.lab.run(host, ["ss", "-Hltn", f"sport = :{PORT}"]).stdout)

    if not is_served():
        pair.lab.popen(host, [sys.executable, TALKER, "serve", host, str(PORT)])
        until(is_served)


class Held:
    """Connections from the client, open when it has been made."""

    def __init__(self, pair: Pair, connections: int) -> None:
        self._told = pair.lab.folder / f"told-{time.monotonic_ns()}"
        with self._told.open("w") as out:
            argv = [sys.executable, TALKER, "talk", str(VIP), str(PORT), str(connections)]
            self._process = pair.lab.popen("client", argv, stdout=out)
        established = ["ss", "-Htn", "state", "established", f"( dport = :{PORT} )"]
        before = len(pair.lab.run("client", established).stdout.splitlines()) // connections * connections
        until(lambda: len(pair.lab.run("client", established).stdout.splitlines()) >= before + connections)

    def broken(self) -> int:
        """End them; return how many ended before."""
        self._process.terminate()
        assert self._process.wait(60) == 0
        *ended, _ = [json.loads(line) for line in self._told.read_text().splitlines()]
        return len(ended)
