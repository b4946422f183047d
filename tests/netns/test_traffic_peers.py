# SPDX-License-Identifier: Apache-2.0
"""Balancers that are peers, with real packets: connections that come to another one in the middle of a move go on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority
from tests.waiting import until
from xdplb.dataplane.single import pass_program
from xdplb.model.address import IPAddress
from xdplb.net.lab_cluster import ADDRESSES, ADDRESSES6, BACKENDS, BALANCERS, VIP, VIP6, ClusterLab

from .balancer import PORT, XDPLB
from .cluster_balancers import ClusterBalancer, peers_of
from .talking import TALKER

ONE, OTHER, _ = BALANCERS
FORWARDS = dict(zip(BACKENDS, ("dr", "dr", "ipip", "ipip"), strict=True))
VIPS: dict[IPAddress, Mapping[str, IPAddress]] = {VIP: ADDRESSES, VIP6: ADDRESSES6}
"""The addresses of each VIP's backends."""
CONNECTIONS = 120
SETTLED_SECONDS = 4.0
"""By then each connection has said something."""


@pytest.fixture(scope="module")
def lab() -> Iterator[ClusterLab]:
    with pass_program() as program, ClusterLab(port_program=program.fileno()) as built:
        for host, forward in FORWARDS.items():
            for vip in VIPS:
                own = ["--state-dir", str(built.folder / f"{host}-{vip.version}")]
                setup = [XDPLB, "backend-host", "setup", str(vip), "--forward", forward, "--interface", "eth0", *own]
                built.run(host, [*setup, "--pin-dir", str(built.home.bpffs / host)])
            built.popen(host, [sys.executable, TALKER, "serve", host, str(PORT)])
        yield built


@pytest.fixture(scope="module")
def cluster(lab: ClusterLab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ClusterBalancer]:
    """Two balancers that are peers over both families, each with `options` to start it with."""
    folder = tmp_path_factory.mktemp("peers")
    key = folder / "peers.key"
    key.touch(0o600)
    key.write_text("a-key-of-thirty-two-characters-or-more\n")
    authority = Authority(folder)
    _config(lab).write_text("".join(_lines("", "")))
    balancers = {host: ClusterBalancer(lab, host) for host in (ONE, OTHER)}
    for host, balancer in balancers.items():
        others = [other for other in balancers if other != host]
        balancer.options = [*peers_of(host, others, key, authority), "--config", str(_config(lab))]
        balancer.daemon = balancer.spawn(*balancer.options)
    for balancer in balancers.values():
        balancer.cli("status", "--wait", "--timeout", "200s")
    until(lambda: _are_peers(balancers))
    return balancers


def _are_peers(cluster: dict[str, ClusterBalancer]) -> bool:
    return all(cluster[host].nodes().get(other, {}).get("peer_up") for host, other in ((ONE, OTHER), (OTHER, ONE)))


def _send_to(lab: ClusterLab, balancer: str) -> None:
    """Have the router send packets of the VIPs to this balancer from now on."""
    for vip, addresses in ((VIP, ADDRESSES), (VIP6, ADDRESSES6)):
        lab.configure("router1", f"route replace {vip} via {addresses[balancer]}")


def _apply(lab: ClusterLab, balancers: Iterable[ClusterBalancer], *, drained: str = "", without: str = "") -> None:
    """Have these balancers read another config file, all at once as a store would, and wait until they have it."""
    _config(lab).write_text("".join(_lines(drained, without)))
    running = list(balancers)
    before = [each.metric("xdplb_generation")[0] for each in running]
    for each in running:
        assert each.daemon is not None
        each.daemon.send_signal(signal.SIGHUP)
    for each, generation in zip(running, before, strict=True):
        _wait_for_more_than(generation, each)


def _wait_for_more_than(generation: float, balancer: ClusterBalancer) -> None:
    until(lambda: balancer.metric("xdplb_observed_generation")[0] > generation, 60)


def _config(lab: ClusterLab) -> Path:
    return lab.folder / "config.toml"


def _lines(drained: str, without: str) -> Iterator[str]:
    for vip, addresses in VIPS.items():
        yield f'[[vips]]\naddress = "{vip}"\nport = {PORT}\nprotocol = "tcp"\n'
        for host, forward in FORWARDS.items():
            if host != without:
                state = "drain" if host == drained else "ready"
                yield f'[[vips.backends]]\naddress = "{addresses[host]}"\n'
                yield f'forward = "{forward}"\nadmin_state = "{state}"\n'


class Talks:
    """Connections of client1 to both VIPs, opened at once."""

    def __init__(self, lab: ClusterLab) -> None:
        self._told: list[tuple[Path, subprocess.Popen[Any]]] = []
        for vip in VIPS:
            told = lab.folder / f"told-{vip.version}-{time.monotonic_ns()}"
            argv = [sys.executable, TALKER, "talk", str(vip), str(PORT), str(CONNECTIONS)]
            with told.open("w") as out:
                self._told.append((told, lab.popen("client1", argv, stdout=out)))

    def broken(self) -> int:
        """End them, and return how many broke before."""
        broken = 0
        for told, process in self._told:
            process.terminate()
            assert process.wait(60) == 0
            *ended, summary = [json.loads(line) for line in told.read_text().splitlines()]
            assert sum(summary["open"].values()) == CONNECTIONS
            broken += len(ended)
        return broken


def _moved_to(lab: ClusterLab, *talks: Talks) -> int:
    """Have all packets go to the other balancer, and return how many of the connections broke."""
    _send_to(lab, OTHER)
    time.sleep(SETTLED_SECONDS)
    return sum(each.broken() for each in talks)


@pytest.mark.parametrize("change", ["drain", "add"])
def test_connections_of_a_move_go_on_at_the_other_balancer(
    lab: ClusterLab, cluster: dict[str, ClusterBalancer], change: str
) -> None:
    both = cluster.values()
    if change == "add":
        _apply(lab, both, without=BACKENDS[0])
    _send_to(lab, ONE)
    old = Talks(lab)
    time.sleep(2)
    _apply(lab, both, drained=BACKENDS[0] if change == "drain" else "")
    new = Talks(lab)
    time.sleep(SETTLED_SECONDS)
    assert _moved_to(lab, old, new) == 0
    assert cluster[OTHER].metric("xdplb_peer_records_received_total")[0] > CONNECTIONS / len(BACKENDS)


def test_a_balancer_that_starts_with_empty_maps_knows_the_connections_of_a_move_that_others_began(
    lab: ClusterLab, cluster: dict[str, ClusterBalancer]
) -> None:
    one, other = cluster[ONE], cluster[OTHER]
    _send_to(lab, ONE)
    old = Talks(lab)
    time.sleep(2)
    other.kill()
    other.down()
    _apply(lab, [one], drained=BACKENDS[1])
    new = Talks(lab)
    time.sleep(SETTLED_SECONDS)
    other.start(*other.options)
    assert other.metric("xdplb_peer_pulls_total")[0] >= 1, "it is ready only after it has pulled"
    assert _moved_to(lab, old, new) == 0


def test_without_what_peers_tell_some_break(lab: ClusterLab, cluster: dict[str, ClusterBalancer]) -> None:
    """What the tests above are for: the same with two balancers that do not hear of each other."""
    for host, other in ((ONE, OTHER), (OTHER, ONE)):
        lab.configure(host, *(f"route add blackhole {each[other]}" for each in (ADDRESSES, ADDRESSES6)))
    until(lambda: not cluster[ONE].nodes()[OTHER]["peer_up"], 10)
    _send_to(lab, ONE)
    _apply(lab, cluster.values(), drained=BACKENDS[2])
    new = Talks(lab)
    time.sleep(SETTLED_SECONDS)
    broken = _moved_to(lab, new)
    for host, other in ((ONE, OTHER), (OTHER, ONE)):
        lab.configure(host, *(f"route del blackhole {each[other]}" for each in (ADDRESSES, ADDRESSES6)))
    assert broken > 0
    until(lambda: _are_peers(cluster))
