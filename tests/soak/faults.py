# SPDX-License-Identifier: Apache-2.0
"""The faults of a soak: each does something to a balancer under traffic, and leaves it such that it must recover."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.netns.balancer import Balancer
from tests.netns.random_changes import PORTS, Backends
from tests.netns.test_traffic_nics import address_eth0, detach_eth0, make_eth0, readyz
from tests.soak.ledger import Ledger
from tests.waiting import until
from xdplb.net import links
from xdplb.net.lab import VIP

__all__ = ["FAULTS", "Measure", "World"]

HERE = Path(__file__).parent
ATTACKER = HERE.parent / "bench" / "attacks.py"
ATTACKS = {
    "silent": "1100 silent connections",
    "halves": "1100 half requests, a byte a second",
    "bodies": "20 unfinished bodies of 47 MB",
    "requests": "lists of all backends",
    "scrapes": "scrapes",
    "captures": "captures",
    "readers": "readers of events that do not read",
    "events": "events that nobody has",
}
"""Those of the bench that need no VIP of their own, by the names of the faults."""
NICS = ("eth0", "eth1")
BY_ETH0 = ("dr1", "dr2", "ipip1", "ipip2")
"""While eth0 is away, their connections cannot be kept: `side`, behind eth1, gets what comes before they are found."""
RECOVERY_SECONDS = 60.0
ATTACK_SECONDS = 5.0
FLIP_SECONDS = 60.0

Measure = dict[str, float]
"""What was measured, with the unit in the name."""


class World:
    """A balancer under traffic, its backends, and what the API has acknowledged."""

    def __init__(self, balancer: Balancer, backends: Backends, ledger: Ledger) -> None:
        self.balancer, self.backends, self.ledger = balancer, backends, ledger

    def recovered(self) -> Measure:
        """Wait until it is ready and every backend that should serve does."""
        began = time.monotonic()
        until(lambda: readyz(self.balancer)[0] == 200, RECOVERY_SECONDS)
        until(self.backends.serve_as_asked, RECOVERY_SECONDS)
        return {"recovery_seconds": time.monotonic() - began}

    def change(self) -> Measure:
        """Add, remove, drain, reweigh, kill or start a backend."""
        print(f"{time.monotonic():.2f} {self.backends.random_change()}", flush=True)
        return {}

    def kill(self) -> Measure:
        """Kill the daemon with -9, and start it again."""
        self.balancer.kill()
        return self._start()

    def restart(self) -> Measure:
        """Stop the daemon, and start it again."""
        daemon = self.balancer.daemon
        assert daemon is not None
        began = time.monotonic()
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(60)
        stopped = time.monotonic() - began
        return {"stop_seconds": stopped, **self._start()}

    def detach(self) -> Measure:
        """Detach the program behind the daemon's back, as `bpftool link detach` does."""
        detach_eth0(self.balancer)
        return {}

    def remake_nic(self) -> Measure:
        """Delete eth0 and make it again."""
        with self.backends.cut_off(*BY_ETH0):
            self.balancer.lab.configure("balancer", "link del eth0")
            time.sleep(random.uniform(0, 2))
            make_eth0(self.balancer.lab)
            return self.recovered()

    def nic_down(self) -> Measure:
        """Set eth0 down and up."""
        with self.backends.cut_off(*BY_ETH0):
            self.balancer.lab.configure("balancer", "link set eth0 down")
            time.sleep(random.uniform(0, 2))
            address_eth0(self.balancer.lab)
            return self.recovered()

    def syn_flood(self) -> Measure:
        """Send SYNs from random addresses to the VIP."""
        mac = self.balancer.lab.inside("router", lambda: links.link("client").mac).hex(":")
        argv = [sys.executable, str(HERE / "syn_flood.py"), "eth0", mac, str(VIP), str(PORTS["auto"])]
        with _running(self.balancer.lab.popen("client", argv)):
            time.sleep(ATTACK_SECONDS)
        return {}

    def attack(self, kind: str) -> Measure:
        """Attack the API, and have a backend die meanwhile: how long until the daemon says so."""
        argv = [sys.executable, str(ATTACKER), ATTACKS[kind], str(self.balancer.socket)]
        spare = self.backends.can_fail()
        with _running(self.balancer.lab.popen("client", argv)) as attack:
            time.sleep(ATTACK_SECONDS)
            assert attack.poll() is None, "the attack has ended by itself"
            if not spare:
                return {}
            host = random.choice(spare)
            return {"flip_seconds": self._flip(host)}

    def _flip(self, host: str) -> float:
        """Kill a host's service; return the seconds until the log says that it is down for every VIP."""
        before = len(self.balancer.log())
        self.backends.is_failing(host)
        began = time.monotonic()
        self.balancer.kill_service(host)

        def is_said() -> bool:
            said = self.balancer.log()[before:]
            return said.count("health=down") >= len(PORTS)

        until(is_said, FLIP_SECONDS)
        return time.monotonic() - began

    def _start(self) -> Measure:
        began = time.monotonic()
        self.balancer.start(nics=NICS)
        took = time.monotonic() - began
        lost = self.ledger.lost()
        assert lost == set(), f"acknowledged, but not there or there again: {sorted(lost)}"
        return {"start_seconds": took}


@contextmanager
def _running(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        process.kill()
        process.wait()


FAULTS: dict[str, tuple[int, Callable[[World], Measure]]] = {
    "change": (12, World.change),
    "kill": (3, World.kill),
    "restart": (2, World.restart),
    "detach": (1, World.detach),
    "remake-nic": (1, World.remake_nic),
    "nic-down": (1, World.nic_down),
    "syn-flood": (1, World.syn_flood),
    **{f"attack-{kind}": (1, partial(World.attack, kind=kind)) for kind in ATTACKS},
}
"""By name: how often, relative to the others, and what it does."""
