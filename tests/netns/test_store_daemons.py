"""Daemons that share a real etcd: what one is asked for all do, whatever happens to etcd meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from xdplb.dataplane.single import pass_program
from xdplb.net.lab_cluster import BALANCERS, ClusterLab

from .balancer import until
from .sharing_daemons import Daemons

KEY = "203.0.113.10:80/tcp"
VIP = "/v1/vips/203.0.113.10:80:tcp"
ONE, TWO = BALANCERS[:2]


@pytest.fixture(scope="module")
def daemons() -> Iterator[Daemons]:
    with pass_program() as program, ClusterLab(port_program=program.fileno()) as lab:
        daemons = Daemons(lab)
        daemons.start_etcd()
        for host in (ONE, TWO):
            daemons.spawn(host)
        daemons.wait_ready(ONE, TWO)
        daemons.cli(ONE, "vip", "add", KEY, "--name", "web")
        daemons.cli(TWO, "backend", "add", "web", "10.0.0.21")
        daemons.cli(ONE, "backend", "add", "web", "10.0.0.22")
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
