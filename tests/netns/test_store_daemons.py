"""Three daemons that share a real etcd: what one is asked for all do, whatever happens to etcd meanwhile."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

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
