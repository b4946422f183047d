# SPDX-License-Identifier: Apache-2.0
"""Announcing VIPs by routes in a table of their own: what is there, when it goes, and what others do to it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import PATIENCE, until
from xdplb.client import Client
from xdplb.net.lab import VIP

from .balancer import CHECK, KEY, READY_SECONDS, XDPLB, Balancer
from .conftest import new_lab

OPTIONS = ["--node", "lb1", "--announce-delay", "300ms"]
FAST = [*CHECK[:5], "50ms", *CHECK[6:]]
"""The same check, but often: what is measured is how long a withdrawal takes once a check has failed."""


def routes(balancer: Balancer, table: int = 210) -> list[str]:
    """Return the IPv4 routes of the table, as `ip route` shows them."""
    told = balancer.lab.run("balancer", ["ip", "route", "show", "table", str(table)], check=False)
    return [re.sub(r"\s+", " ", line).strip() for line in told.stdout.splitlines()]


def add_route(balancer: Balancer, *words: str) -> None:
    balancer.lab.run("balancer", ["ip", "route", "add", *words])


def route_of(vip: str, rest: str = "") -> str:
    return f"blackhole {vip} proto 244{rest}"


def announced(balancer: Balancer, key: str = KEY) -> Any:
    with Client(socket_path=str(balancer.socket)) as client:  # a command takes longer
        return client.vips.get(key).json()["status"]["announced"]


@pytest.fixture(scope="module")
def running() -> Iterator[Balancer]:
    with new_lab() as built:
        balancer = Balancer(built)
        balancer.prepare("dr1")
        start(balancer)
        balancer.add("dr1", vip_options=[*FAST, "--announce", "healthy"])
        yield balancer
        balancer.kill()
        withdraw(balancer, "--force")


def track_file(balancer: Balancer) -> Path:
    return balancer.lab.folder / "vrrp"


def says(balancer: Balancer) -> str:
    return track_file(balancer).read_text()


def start(balancer: Balancer) -> None:
    balancer.start(*OPTIONS, "--vrrp-track-file", str(track_file(balancer)))


def withdraw(balancer: Balancer, *options: str) -> subprocess.CompletedProcess[str]:
    argv = [XDPLB, "node", "withdraw", "--pin-dir", str(balancer.lab.pin_dir), *options]
    return balancer.lab.run("balancer", argv, check=False)


def test_the_route_stands_while_backends_serve_and_goes_within_milliseconds_of_a_failed_check(
    running: Balancer,
) -> None:
    until(lambda: routes(running) == [route_of(str(VIP))])
    assert announced(running) == {"metric": 0, "reason": ""}
    assert running.metric("xdplb_vip_announced") == [1]
    until(lambda: says(running) == "0\n")
    watch = running.lab.popen("balancer", ["ip", "-ts", "monitor", "route"], stdout=subprocess.PIPE, text=True)
    running.kill_service("dr1")
    until(lambda: routes(running) == [])
    assert announced(running)["metric"] is None
    assert "0 backends serve, and 1 must" in announced(running)["reason"]
    assert running.metric("xdplb_vip_announced") == [0]
    until(lambda: says(running) == "-30\n")
    running.serve("dr1")
    until(lambda: routes(running) == [route_of(str(VIP))])
    until(lambda: says(running) == "0\n")
    watch.terminate()
    gone = next(line for line in watch.communicate()[0].splitlines() if f"Deleted blackhole {VIP} " in line)
    at = datetime.strptime(gone[1:24], "%Y-%m-%dT%H:%M:%S.%f").replace(tzinfo=UTC)
    down = next(line for line in running.log().splitlines() if "health=down" in line)
    failed = datetime.strptime(down[:23], "%Y-%m-%d %H:%M:%S,%f").replace(tzinfo=UTC)
    assert (at - failed).total_seconds() < PATIENCE, "it takes milliseconds on an idle host"


def test_several_ports_of_an_address_share_its_route(running: Balancer) -> None:
    other = f"{VIP}:81/tcp"
    running.cli("vip", "add", other, "--announce", "healthy")
    until(lambda: routes(running) == [])
    assert "81/tcp: 0 backends serve, and 1 must" in announced(running)["reason"]
    running.cli("vip", "set", other, "--announce", "never")
    until(lambda: routes(running) == [route_of(str(VIP))])
    running.cli("vip", "rm", other)


def test_what_others_do_to_the_table_is_put_right_and_what_is_theirs_stays(running: Balancer) -> None:
    foreign = "blackhole 203.0.113.77 proto static"
    add_route(running, "blackhole", "203.0.113.77", "table", "210", "proto", "static")
    add_route(running, "blackhole", "203.0.113.78", "table", "210", "proto", "244")
    running.lab.run("balancer", ["ip", "route", "del", "blackhole", str(VIP), "table", "210"])
    until(lambda: routes(running) == [route_of(str(VIP)), foreign])
    until(lambda: "another process has removed the route of 203.0.113.10/32 from table 210" in running.log())
    assert "another process has put a route of 203.0.113.78/32 with protocol 244 into table 210" in running.log()

    running.cli("vip", "add", "203.0.113.77:80/tcp", "--announce", "always")
    until(lambda: announced(running, "203.0.113.77:80/tcp")["reason"].startswith("another program has put a route"))
    assert foreign in routes(running)
    assert "203.0.113.77/32 is not announced" in running.cli("status").stderr
    running.lab.run("balancer", ["ip", "route", "del", "blackhole", "203.0.113.77", "table", "210"])
    until(lambda: route_of("203.0.113.77") in routes(running))
    until(lambda: "is not announced" not in running.cli("status").stderr)
    running.cli("vip", "rm", "203.0.113.77:80/tcp")
    track_file(running).unlink()
    until(lambda: track_file(running).exists() and says(running) == "0\n")


def test_after_kill_9_the_routes_stay_and_the_next_daemon_takes_them_over(running: Balancer) -> None:
    running.kill()
    assert routes(running) == [route_of(str(VIP))]
    assert says(running) == "0\n"
    assert "what was announced stays" in withdraw(running).stderr, "nobody has asked for anything else"
    add_route(running, "blackhole", "203.0.113.78", "table", "210", "proto", "244")
    watch = running.lab.popen("balancer", ["ip", "monitor", "route"], stdout=subprocess.PIPE, text=True)
    start(running)
    until(lambda: routes(running) == [route_of(str(VIP))])
    watch.terminate()
    seen = [line for line in watch.communicate()[0].splitlines() if "table 210" in line]
    assert len(seen) == 1
    assert seen[0].startswith("Deleted blackhole 203.0.113.78 ")


def test_a_node_that_drains_asks_for_nothing_more_and_then_announces_nothing_over_restarts(running: Balancer) -> None:
    drain = running.lab.popen(
        "balancer",
        [XDPLB, "--socket", str(running.socket), "node", "drain", "--wait", "--quiet", "1s"],
        stderr=subprocess.PIPE,
    )
    until(lambda: routes(running) == [route_of(str(VIP), " metric 100")])
    assert announced(running) == {"metric": 100, "reason": "this node is draining"}
    until(lambda: says(running) == "-30\n")
    running.get(3)  # what still comes is forwarded
    assert drain.communicate(timeout=20)[1].decode().endswith("node lb1 is drained\n")
    until(lambda: routes(running) == [])
    assert announced(running) == {"metric": None, "reason": "this node is drained"}
    running.kill()
    # The next daemon has another table, and withdraws what it announces.
    options = [*OPTIONS, "--vrrp-track-file", str(track_file(running))]
    running.daemon = running.spawn(*options, "--on-daemon-loss", "withdraw", "--announce-table", "211")
    until(lambda: running.cli("node", "ls", check=False).returncode == 0, READY_SECONDS)
    assert running.ask("node", "show")["state"] == "drained"
    assert routes(running, table=211) == routes(running) == []
    running.cli("node", "undrain")
    until(lambda: routes(running, table=211) == [route_of(str(VIP))])
    assert routes(running) == []
    until(lambda: says(running) == "0\n")


def test_what_a_lost_daemon_announces_is_withdrawn_if_that_was_asked_for(running: Balancer) -> None:
    """By the command that the unit file has for it: systemd runs it whatever ended the daemon."""
    assert withdraw(running).returncode == 4, "the daemon runs, and would announce again"
    running.kill()
    assert routes(running, table=211) == [route_of(str(VIP))]
    assert says(running) == "0\n"
    down = running.lab.run("balancer", [XDPLB, "down", "--all", "--dry-run", "--pin-dir", str(running.lab.pin_dir)])
    assert "the routes in table 211 that announce VIPs are removed" in down.stdout
    told = withdraw(running)
    assert f"removed: the routes in table 211 that announce {VIP}/32\n" in told.stderr
    assert f"removed: the right to be keepalived's master: {track_file(running)} says -30\n" in told.stderr
    assert routes(running, table=211) == []
    assert says(running) == "-30\n"
    assert withdraw(running).stderr == "no daemon of this pin dir has announced anything\n"
