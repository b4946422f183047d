"""Three daemons that share a real etcd: what one is asked for all do, whatever happens to etcd meanwhile."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from xdplb.dataplane.single import pass_program
from xdplb.net.lab_cluster import BALANCERS, ClusterLab

from .balancer import until
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


def test_what_one_is_asked_for_all_have_in_a_moment(daemons: Daemons) -> None:
    seconds = []
    with daemons.asking(ONE) as one, daemons.asking(THREE) as three:
        for weight in range(2, 42):
            headers = {"Content-Type": "application/json"}
            one.request("PATCH", f"{VIP}/backends/10.0.0.21", json.dumps({"weight": weight}), headers)
            answer = one.getresponse()
            assert (answer.status, answer.read())[0] == 200
            began = time.monotonic()
            while True:
                three.request("GET", f"{VIP}/backends/10.0.0.21")
                shown = json.loads(three.getresponse().read())
                if shown["weight"] == weight and shown["status"]["observed_generation"] == shown["generation"]:
                    break
            seconds.append(time.monotonic() - began)
    daemons.agree()
    print(f"answered on one to in the maps of another: p50 {sorted(seconds)[20] * 1000:.1f} ms,"
          f" max {max(seconds) * 1000:.1f} ms")  # fmt: skip
    assert sorted(seconds)[-2] < 0.5, "far above what a busy machine needs"


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
