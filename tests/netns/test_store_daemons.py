# SPDX-License-Identifier: Apache-2.0
"""Daemons that share a real etcd: what one is asked for all do, whatever happens to etcd meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.waiting import until
from xdplb.dataplane.single import pass_program
from xdplb.net.lab_cluster import BALANCERS, ClusterLab

from .sharing_daemons import Daemons

KEY = "203.0.113.10:80/tcp"
VIP = "/v1/vips/203.0.113.10:80:tcp"
ONE, TWO, THREE = BALANCERS


@pytest.fixture(scope="module")
def daemons() -> Iterator[Daemons]:
    with pass_program() as program, ClusterLab(port_program=program.fileno()) as lab:
        daemons = Daemons(lab)
        daemons.start_etcd()
        for host in BALANCERS:
            daemons.spawn(host)
        daemons.wait_ready(*BALANCERS)
        daemons.cli(ONE, "vip", "add", KEY, "--name", "web")
        daemons.cli(TWO, "backend", "add", "web", "10.0.0.21")
        daemons.cli(THREE, "backend", "add", "web", "10.0.0.22")
        daemons.agree()
        yield daemons


def weights(daemons: Daemons, host: str) -> dict[str, int]:
    return {each["address"]: each["weight"] for each in daemons.get(host, f"{VIP}/backends")["backends"]}


def test_what_one_is_asked_for_all_have(daemons: Daemons) -> None:
    daemons.cli(ONE, "backend", "set", "web", "10.0.0.21", "--weight", "5")
    until(lambda: weights(daemons, TWO)["10.0.0.21"] == 5)
    daemons.agree()
    told = daemons.get(TWO, "/v1/events?kind=change")["events"][-1]
    assert told["actor"]["node"] == ONE
    assert "etcd://10.0.0.31:2379/xdplb, up" in daemons.cli(TWO, "status").stdout


def test_etcd_killed_with_a_drain_meanwhile_and_a_daemon_that_starts_without_it(daemons: Daemons) -> None:
    daemons.kill_etcd()
    until(lambda: daemons.store(ONE)["state"] == daemons.store(TWO)["state"] == "away")
    refused = daemons.cli(ONE, "backend", "add", "web", "10.0.0.23", check=False)
    assert refused.returncode == 1
    assert "store is away" in refused.stderr
    daemons.cli(ONE, "backend", "set", "web", "10.0.0.22", "--admin-state", "maint")
    daemons.kill(ONE)
    daemons.spawn(ONE)
    daemons.wait_ready(ONE)
    assert daemons.get(ONE, f"{VIP}/backends/10.0.0.22")["admin_state"] == "maint"
    assert "1 backend changed here and not written to it yet" in daemons.cli(ONE, "status").stdout
    daemons.start_etcd()
    daemons.agree()
    assert daemons.get(TWO, f"{VIP}/backends/10.0.0.22")["admin_state"] == "maint"
    daemons.cli(TWO, "backend", "set", "web", "10.0.0.22", "--admin-state", "ready")
    daemons.agree()


def test_a_store_that_was_emptied_is_written_again(daemons: Daemons) -> None:
    digest = daemons.store(ONE)["digest"]
    daemons.etcdctl("del", "--prefix", "/xdplb/v1/")
    until(lambda: "head" in daemons.etcdctl("get", "--keys-only", "/xdplb/v1/head"))
    daemons.agree()
    assert daemons.store(TWO)["digest"] == digest
    daemons.cli(TWO, "backend", "set", "web", "10.0.0.21", "--weight", "9")
    until(lambda: weights(daemons, ONE)["10.0.0.21"] == 9)


def test_nodes_tell_each_other_by_the_store_what_they_are_and_see(daemons: Daemons) -> None:
    until(lambda: [node["name"] for node in daemons.get(TWO, "/v1/nodes")["nodes"]] == [TWO, ONE, THREE])
    daemons.agree()
    until(lambda: all(node["digest_equal"] in {None, True} for node in daemons.get(TWO, "/v1/nodes")["nodes"]))
    nodes = daemons.get(TWO, "/v1/nodes")["nodes"]
    assert {node["state"] for node in nodes} == {"serving"}
    assert all(node["in_store"] for node in nodes)
    assert len({node["observed_generation"] for node in nodes}) == 1
    assert "NODES" in (told := daemons.cli(TWO, "vip", "ls").stdout)
    assert " all" in told


def test_each_node_shows_how_healthy_the_others_see_a_backend(daemons: Daemons) -> None:
    daemons.cli(ONE, "health", "set", "web", "--type", "tcp", "--port", "9", "--interval", "1s", "--rise", "1")
    try:

        def health() -> set[str]:
            nodes = daemons.get(THREE, f"{VIP}/nodes")["nodes"]
            return {(seen or {"health": "?"})["health"] for node in nodes for seen in node["backends"].values()}

        until(lambda: health() == {"down"})
        told = daemons.cli(THREE, "backend", "ls", "web", "--nodes").stdout
        assert all(name in told.splitlines()[0] for name in BALANCERS)
    finally:
        daemons.cli(ONE, "health", "rm", "web")


def test_a_node_that_dies_is_lost_and_comes_back(daemons: Daemons) -> None:
    def state() -> str:
        return next(str(node["state"]) for node in daemons.get(ONE, "/v1/nodes")["nodes"] if node["name"] == THREE)

    until(lambda: state() == "serving")
    daemons.kill(THREE)
    until(lambda: state() == "lost")
    assert f"{THREE} is lost" in daemons.cli(ONE, "vip", "ls").stdout
    daemons.spawn(THREE)
    daemons.wait_ready(THREE)
    until(lambda: state() == "serving")
