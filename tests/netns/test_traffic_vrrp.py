"""A pair of balancers with keepalived: the ready configurations, unchanged, and real packets while VIPs move.

keepalived's own timers are in docs/ha.md; here only what is far from them fails a test, since a busy machine is late.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from xdplb.dataplane.single import pass_program
from xdplb.net.lab import VIP, VIP6

from .balancer import PATIENCE, Download, until
from .pair_lab import LB1, LB2, REPOSITORY, PairBalancer, PairLab

pytestmark = pytest.mark.skipif(shutil.which("keepalived") is None, reason="keepalived is not installed")

EXAMPLES = REPOSITORY / "docs/examples/ha"
PROBER = str(Path(__file__).with_name("prober.py"))
TRACK_FILE = "/run/xdplb/vrrp"
TIMEOUT = 3 * 0.1 + 0.1
"""How long keepalived waits for adverts every 0.1 s (RFC 5798: three of them, and a part of one)."""

SLACK = 0.5 * PATIENCE
"""How much later than that a busy machine may be."""


class Pair:
    """Both balancers, with their configuration and services running, and one client."""

    def __init__(self, lab: PairLab) -> None:
        self.lab = lab
        self.lb1, self.lb2 = PairBalancer(lab, LB1), PairBalancer(lab, LB2)
        self.both = (self.lb1, self.lb2)
        self._example = ""

    def start(self) -> None:
        """Set up the backends, and start xdplb on both balancers."""
        for host in ("dr1", "dr2"):
            for vip in (VIP, VIP6):
                self.lb1.backend_host(host, "setup", str(vip), "--forward", "dr", "--interface", "eth0")
            self.lb1.serve(host, VIP, VIP6)
        for balancer in self.both:
            balancer.write("/etc/xdplb/config.toml", (EXAMPLES / "pair.toml").read_text())
            unit = (EXAMPLES / "xdplb.service").read_text()
            balancer.write("/etc/systemd/system/xdplb.service", unit.replace(f" --vrrp-track-file {TRACK_FILE}", ""))
            balancer.sh("systemctl start xdplb")
        for balancer in self.both:
            balancer.cli("status", "--wait")

    def serve_two_vips(self) -> None:
        """Have two VIPs of each family, as active/active needs them."""
        for host in ("dr1", "dr2"):
            for vip in ("203.0.113.11", "2001:db8:f::11"):
                self.lb1.backend_host(host, "setup", vip, "--forward", "dr", "--interface", "eth0")
        for balancer in self.both:
            balancer.write("/etc/xdplb/config.toml", (EXAMPLES / "pair-active-active.toml").read_text())
            balancer.sh("systemctl reload xdplb")
        shown = ("backend", "ls", "203.0.113.11:80/tcp")
        for each in self.both:
            until(lambda each=each: each.cli(*shown, check=False).stdout.count(" up ") == 2)  # type: ignore[misc]

    def run_keepalived(self, example: str) -> None:
        """Have keepalived run with one of the ready configurations on both."""
        for balancer in self.both:
            track(balancer, 0)
            balancer.write("/etc/keepalived/keepalived.conf", (EXAMPLES / example).read_text())
            balancer.sh("systemctl start keepalived" if self._example == example else "systemctl restart keepalived")
        self._example = example

    def master(self, vip: str = str(VIP)) -> PairBalancer:
        """Return the one balancer that has the VIP, once there is one."""
        until(lambda: [each.has(vip) for each in self.both].count(True) == 1)
        return next(each for each in self.both if each.has(vip))

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

        yield finish

    def turn(self, balancer: PairBalancer) -> None:
        """Have the router send packets for the VIP to this balancer, whoever has answered it."""
        (nic,) = json.loads(self.lab.run(balancer.host, ["ip", "-j", "link", "show", "eth0"]).stdout)
        line = f"neighbour replace {VIP} dev segment lladdr {nic['address']} nud permanent"
        self.lab.configure("router", line)

    def let_it_ask(self) -> None:
        """Have the router ask again who has the VIP."""
        self.lab.configure("router", f"neighbour del {VIP} dev segment")


def track(balancer: PairBalancer, value: int) -> None:
    """Write what keepalived follows."""
    balancer.write(TRACK_FILE, f"{value}\n")


@pytest.fixture(scope="module")
def running() -> Iterator[Pair]:
    with pass_program() as program, PairLab(port_program=program.fileno()) as lab:
        pair = Pair(lab)
        pair.start()
        yield pair


@pytest.fixture
def pair(running: Pair) -> Iterator[Pair]:
    """A pair with one master for each family, active/passive."""
    running.run_keepalived("keepalived-active-passive.conf")
    for vip in (VIP, VIP6):
        running.master(str(vip))
    yield running
    for balancer in running.both:
        running.lab.join(balancer.host)


def moves(pair: Pair, vip: str, act: Callable[[], None]) -> list[float]:
    """Do something that makes the VIP move to the other balancer; return the gaps that a client saw."""
    other = pair.other(pair.master(vip))
    with pair.probing(vip) as finish:
        act()
        until(lambda: other.has(vip))
        assert pair.fetch(vip)
        return finish()


@pytest.mark.parametrize("vip", [str(VIP), str(VIP6)])
def test_a_balancer_that_should_not_have_the_vip_gives_it_up_without_a_gap(pair: Pair, vip: str) -> None:
    master = pair.master(vip)
    gaps = moves(pair, vip, lambda: track(master, -30))
    assert sum(gaps) < SLACK
    other = pair.other(master)
    with pair.probing(vip) as finish:
        track(master, 0)
        until(lambda: "Changing effective priority from 70 to 100" in master.sh("tail -n 3 /run/keepalived.log"))
        assert finish() == []
    assert pair.master(vip) is other  # equal priorities: nothing moves back by itself


def test_a_balancer_that_is_cut_off_is_replaced_and_comes_back_without_a_gap(pair: Pair) -> None:
    master = pair.master()
    gaps = moves(pair, str(VIP), lambda: pair.lab.cut_off(master.host))
    assert TIMEOUT / 2 < sum(gaps) < TIMEOUT + SLACK
    assert [each.has(str(VIP)) for each in pair.both] == [True, True]
    with pair.probing() as finish:
        pair.lab.join(master.host)
        assert pair.master()  # one of them gives way
        assert sum(finish()) < SLACK


def test_two_masters_at_once_break_nothing(pair: Pair) -> None:
    """Open connections go through both in turn, as they do where a switch or a router cannot tell who has the VIP."""
    master = pair.master()
    gaps = moves(pair, str(VIP), master.kill_keepalived)
    assert sum(gaps) < SLACK
    assert [each.has(str(VIP)) for each in pair.both] == [True, True]
    before = [each.sent() for each in pair.both]
    with pair.probing() as finish:
        downloads = [Download(pair.lb1, size=300_000, seconds=2) for _ in range(12)]
        while any(each.running for each in downloads):
            for balancer in pair.both:
                pair.turn(balancer)
                time.sleep(0.1)
        for each in downloads:
            each.finish()
        pair.let_it_ask()
        assert {each.backend for each in downloads} == {"dr1", "dr2"}
        assert finish() == []
    assert all(each.sent() - sent > 100 for each, sent in zip(pair.both, before, strict=True))
    with pair.probing() as finish:
        master.sh("systemctl start keepalived")  # it begins by removing what it left behind
        assert pair.master() is pair.other(master)
        assert sum(finish()) < SLACK


def test_a_daemon_that_dies_moves_nothing(pair: Pair) -> None:
    master = pair.master()
    with pair.probing() as finish:
        master.kill()
        assert pair.fetch(str(VIP))
        assert pair.master() is master
        master.start()
        assert finish() == []
    assert pair.master() is master


@pytest.mark.parametrize("vip", [str(VIP), str(VIP6)])
def test_the_vip_moves_with_its_mac(running: Pair, vip: str) -> None:
    running.run_keepalived("keepalived-active-passive-vmac.conf")
    master = running.master(vip)
    gaps = moves(running, vip, lambda: track(master, -30))
    assert sum(gaps) < SLACK
    track(master, 0)
    gaps = moves(running, vip, lambda: track(running.other(master), -30))
    assert sum(gaps) < SLACK
    neighbours = json.loads(running.lab.run("router", ["ip", "-j", "neighbour", "show", vip]).stdout)
    family = "02" if ":" in vip else "01"
    assert [each["lladdr"] for each in neighbours] == [f"00:00:5e:00:{family}:33"]


@pytest.mark.parametrize("example", ["keepalived-active-active.conf", "keepalived-active-active-vmac.conf"])
def test_each_of_two_balancers_has_a_vip_and_takes_the_other_s(running: Pair, example: str) -> None:
    running.serve_two_vips()
    running.run_keepalived(example)
    mine = {running.lb1: ("203.0.113.10", "2001:db8:f::10"), running.lb2: ("203.0.113.11", "2001:db8:f::11")}
    until(lambda: all(each.has(vip) and not running.other(each).has(vip) for each in mine for vip in mine[each]))
    for vip in (*mine[running.lb1], *mine[running.lb2]):
        assert running.fetch(vip)
    gaps = moves(running, "203.0.113.11", lambda: track(running.lb2, -30))
    assert sum(gaps) < SLACK
    until(lambda: all(running.lb1.has(vip) for vip in mine[running.lb2]))
    with running.probing("203.0.113.11") as finish:
        track(running.lb2, 0)
        until(lambda: running.master("203.0.113.11") is running.lb2)  # unequal priorities: each gets its own back
        assert sum(finish()) < SLACK
