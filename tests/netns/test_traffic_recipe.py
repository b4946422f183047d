# SPDX-License-Identifier: Apache-2.0
"""A cluster with BGP, set up as docs/ha.md says, word for word: a router and a balancer with FRR, and with BIRD.

The page of a pair is followed in test_traffic_vrrp.py.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import pytest

from cluster.world import VIPS, next_hops
from xdplb.dataplane.single import pass_program
from xdplb.net.lab_cluster import BACKENDS, CLIENTS, ROUTERS, ClusterLab

from .balancer import PORT, SERVICE, until
from .own_folders import REPOSITORY, OwnFolders
from .recipe import steps_of

pytestmark = pytest.mark.skipif(shutil.which("bird") is None, reason="BIRD is not installed")

STEPS = steps_of(REPOSITORY / "docs/ha.md", "Step by step")
BALANCERS = ("balancer1", "balancer2")
PLACES = {
    "each backend": BACKENDS[:2],
    "each Linux router": ROUTERS,
    "each router with FRR": ROUTERS[:1],
    "each router with BIRD": ROUTERS[1:],
    "each balancer, the VIPs": BALANCERS,
    "each balancer with FRR": BALANCERS[:1],
    "each balancer with BIRD": BALANCERS[1:],
    "each balancer again": BALANCERS,
    "On a balancer with BIRD": BALANCERS[1:],
    "On a Linux router": ROUTERS,
    "A client": CLIENTS,
    "on the balancer:": BALANCERS[:1],
    "And back": BALANCERS[:1],
}
"""On which hosts a step is done, by what the page says before it."""


class RecipeLab(OwnFolders, ClusterLab):
    """The cluster, with folders of their own on all hosts that something is set up on."""

    NAMES: ClassVar = {host: host for host in (*ROUTERS, *BALANCERS, *BACKENDS[:2])}

    def _build(self) -> None:
        super()._build()
        for host in self.NAMES:
            self._hold(host)


@pytest.fixture
def lab() -> Iterator[RecipeLab]:
    with pass_program() as program, RecipeLab(port_program=program.fileno()) as lab:
        yield lab


def test_the_recipe_of_the_page_gives_a_cluster_that_can_be_drained(lab: RecipeLab) -> None:
    told: dict[str, dict[str, str]] = {}
    for step in STEPS:
        (place,) = [place for place in PLACES if place in step.where]
        if place == "On a Linux router":
            _wait_for_next_hops(lab, *BALANCERS)
        with ThreadPoolExecutor() as people:
            done = {host: people.submit(lab.sh, host, step.commands) for host in PLACES[place]}
        told[place] = {host: each.result() for host, each in done.items()}
        if place == "each backend":
            for host in PLACES[place]:
                lab.popen(host, [sys.executable, SERVICE, host, str(PORT), *map(str, VIPS.values())])
        if place == "on the balancer:":
            _wait_for_next_hops(lab, "balancer2")
    _wait_for_next_hops(lab, *BALANCERS)
    assert list(told) == list(PLACES), "the page has each of these steps, in this order"
    assert "ok    announcing: table 254: FRR runs here" in told["each balancer again"]["balancer1"]
    assert "ok    announcing: table 210: BIRD runs here" in told["each balancer again"]["balancer2"]
    assert told["On a balancer with BIRD"]["balancer2"].split() == ["blackhole", "203.0.113.10", "proto", "244"]
    assert [told["On a Linux router"][router].count("nexthop") for router in ROUTERS] == [2, 2]
    assert [told["A client"][client].count("backend") for client in CLIENTS] == [2, 2]


def _wait_for_next_hops(lab: RecipeLab, *balancers: str) -> None:
    for router in ROUTERS:
        for vip in VIPS.values():
            until(lambda: next_hops(lab, router, vip) == set(balancers), 30)  # noqa: B023
