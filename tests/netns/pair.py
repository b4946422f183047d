# SPDX-License-Identifier: Apache-2.0
"""A pair of balancers with keepalived, set up as docs/ha.md says, word for word, with what a client sees of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.waiting import until
from xdplb.net.lab import VIP, VIP6

from .own_folders import REPOSITORY
from .page_parts import PAIR
from .pair_lab import LB1, LB2, PairBalancer, PairLab

__all__ = ["EXAMPLES", "MOVE", "Pair"]

EXAMPLES = REPOSITORY / "docs/examples/ha"
SETUP, MOVE = PAIR.commands()[:-5], PAIR.commands()[-5:]
"""What is done on all backends and on both balancers; then what a client gets, who has the VIP, a drain, its end."""

BACKENDS = ("dr1", "dr2")
PROBER = str(Path(__file__).with_name("prober.py"))


class Pair:
    """Both balancers, with their configuration and services running, and one client."""

    def __init__(self, lab: PairLab) -> None:
        self.lab = lab
        self.lb1, self.lb2 = PairBalancer(lab, LB1), PairBalancer(lab, LB2)
        self.both = (self.lb1, self.lb2)
        self.told: dict[str, str] = {}
        """What the last commands of the recipe printed on each balancer."""

        self._example = "keepalived-active-passive.conf"

    def set_up(self) -> None:
        """Do what the page says, as far as it is done on all backends or on both balancers."""
        for command in SETUP:
            if "n each backend" in command.where:
                for host in BACKENDS:
                    self.lab.run(host, ["sh", "-ec", command.text])
                continue
            assert "n both balancers" in command.where, f"where is {command.line} typed?"
            if not self.lb1.services:
                for host in BACKENDS:
                    self.lb1.serve(host, VIP, VIP6)
            for balancer in self.both:
                self.told[balancer.name] = balancer.sh(command.text)

    def serve_two_vips(self) -> None:
        """Have two VIPs of each family, as active/active needs them."""
        for host in ("dr1", "dr2"):
            for vip in ("203.0.113.11", "2001:db8:f::11"):
                self.lb1.backend_host(host, "setup", vip, "--forward", "dr", "--interface", "eth0")
        for balancer in self.both:
            balancer.write("/etc/xdplb/config.toml", (EXAMPLES / "pair-active-active.toml").read_text())
            balancer.sh("systemctl reload xdplb")
        for each in self.both:
            for vip in ("203.0.113.11:80/tcp", "[2001:db8:f::11]:80/tcp"):
                shown = ("backend", "ls", vip)
                until(lambda each=each, shown=shown: each.cli(*shown, check=False).stdout.count(" up ") == 2)  # type: ignore[misc]

    def have_no_slot_move(self, example: str) -> None:
        """Have both with this config file, and no slot of a VIP on its way to another backend.

        A connection whose packets go through one and then the other of two that are no peers may break in a slot that
        moves: what moves, each knows alone. And slots move after a backend has been down, or has passed its first check
        later than another one, as long as connections may be silent; so they may not for long.
        """
        text = (EXAMPLES / example).read_text().replace("[[vips]]\n", "[[vips]]\nidle_timeout_seconds = 1\n")
        for balancer in self.both:
            if balancer.sh("cat /etc/xdplb/config.toml") != text:
                balancer.write("/etc/xdplb/config.toml", text)
                balancer.sh("systemctl reload xdplb")
        until(lambda: not any(each.moves_slots() for each in self.both), seconds=60)

    def run_keepalived(self, example: str) -> None:
        """Have keepalived run with one of the ready configurations on both."""
        for balancer in self.both:
            balancer.write("/etc/keepalived/keepalived.conf", (EXAMPLES / example).read_text())
            balancer.sh("systemctl start keepalived" if self._example == example else "systemctl restart keepalived")
        self._example = example

    def master(self, vip: str = str(VIP)) -> PairBalancer:
        """Return the one balancer that has the VIP, once there is one."""
        found: list[PairBalancer] = []

        def is_one() -> bool:
            found[:] = [each for each in self.both if each.has(vip)]
            return len(found) == 1

        until(is_one)
        return found[0]

    def other(self, balancer: PairBalancer) -> PairBalancer:
        return self.lb1 if balancer is self.lb2 else self.lb2

    def fetch(self, vip: str) -> str:
        """Return what a client gets of a VIP."""
        host = f"[{vip}]" if ":" in vip else vip
        return self.lab.run("client", ["curl", "-gsSf", "--max-time", "5", f"http://{host}/"]).stdout

    @contextmanager
    def probing(self, vip: str = str(VIP)) -> Iterator[Callable[[], list[float]]]:
        """Have a client open connections all the time; what is yielded ends that and returns the gaps, in seconds."""
        argv = [sys.executable, PROBER, vip, "80"]
        prober = self.lab.popen("client", argv, stdout=subprocess.PIPE, text=True)
        assert prober.stdout is not None
        assert prober.stdout.readline() == "probing\n"

        def finish() -> list[float]:
            prober.terminate()
            told: dict[str, Any] = json.loads(prober.communicate(timeout=30)[0])
            assert told["opened"] > 0, "nobody answered at all"
            return [seconds for _, seconds in told["gaps"]]

        try:
            yield finish
        finally:
            prober.kill()  # if the block has failed, so that it does not go on

    def moves(self, vip: str, act: Callable[[], object]) -> list[float]:
        """Do something that makes the VIP move to the other balancer; return the gaps that a client saw."""
        other = self.other(self.master(vip))
        with self.probing(vip) as finish:
            act()
            until(lambda: other.has(vip))
            assert self.fetch(vip)
            return finish()

    @contextmanager
    def drained(self, vip: str = str(VIP)) -> Iterator[list[float]]:
        """Have the balancer that has the VIP drained while the block runs, which gets the gaps that a client saw."""
        master = self.master(vip)
        try:
            yield self.moves(vip, lambda: master.sh("xdplb node drain"))
        finally:
            master.sh("xdplb node undrain")
            until(lambda: master.says(0), seconds=1)  # it does not wait as after a failure

    @contextmanager
    def without_backends(self, first: PairBalancer) -> Iterator[None]:
        """Have all backends gone for both balancers while the block runs; one of the two has known of it first.

        Which of them it is would otherwise be chance: each has its own times for its checks.
        """
        second = self.other(first)
        hosts = list(self.lb1.services)
        try:
            self.lab.part(first.host, *hosts)
            until(lambda: first.says(-30))
            until(lambda: self.master() is second)
            for host in hosts:
                self.lb1.kill_service(host)
            until(lambda: second.says(-30))
            self.lab.unite()
            yield
        finally:
            self.lab.unite()
            for host in hosts:
                if self.lb1.services[host].poll() is not None:
                    self.lb1.serve(host, VIP, VIP6)
            until(lambda: all(each.says(0) for each in self.both), seconds=70)

    def turn(self, balancer: PairBalancer) -> None:
        """Have the router send packets for the VIP to this balancer, whoever has answered it."""
        (nic,) = json.loads(self.lab.run(balancer.host, ["ip", "-j", "link", "show", "eth0"]).stdout)
        line = f"neighbour replace {VIP} dev segment lladdr {nic['address']} nud permanent"
        self.lab.configure("router", line)

    def let_it_ask(self) -> None:
        """Have the router ask again who has the VIP."""
        self.lab.configure("router", f"neighbour del {VIP} dev segment")
