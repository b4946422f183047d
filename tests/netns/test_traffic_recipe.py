# SPDX-License-Identifier: Apache-2.0
"""A cluster with BGP, set up as docs/ha.md says, word for word: a router and a balancer with FRR, and with BIRD.

The page of a pair is followed in test_traffic_vrrp.py.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from typing import ClassVar

import pytest

from cluster.world import VIPS, next_hops
from tests.waiting import until
from xdplb.dataplane.single import pass_program
from xdplb.net.lab_cluster import BACKENDS, CLIENTS, ROUTERS, ClusterLab

from .balancer import PORT, SERVICE
from .own_folders import OwnFolders
from .page_part import Part
from .page_reader import Reader

pytestmark = pytest.mark.skipif(shutil.which("bird") is None, reason="BIRD is not installed")

BALANCERS = ("balancer1", "balancer2")


class RecipeLab(OwnFolders, ClusterLab):
    """The cluster, with folders of their own on all hosts that something is set up on."""

    NAMES: ClassVar = {host: host for host in (*ROUTERS, *BALANCERS, *BACKENDS[:2])}

    def _build(self) -> None:
        super()._build()
        for host in self.NAMES:
            self._hold(host)


def _serve(lab: RecipeLab) -> None:
    for host in BACKENDS[:2]:
        lab.popen(host, [sys.executable, SERVICE, host, str(PORT), *map(str, VIPS.values())])


def _wait_for_next_hops(lab: RecipeLab, *balancers: str) -> None:
    for router in ROUTERS:
        for vip in VIPS.values():
            until(lambda: next_hops(lab, router, vip) == set(balancers), 30)  # noqa: B023


RECIPE = Part(
    "ha.md",
    ("Step by step",),
    host=None,
    places={
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
    },
    then={
        "xdplb backend-host setup 2001:db8:f::10": _serve,
        "ip route show table 210": lambda lab: _wait_for_next_hops(lab, *BALANCERS),
        "xdplb node drain --wait": lambda lab: _wait_for_next_hops(lab, "balancer2"),
        "xdplb node undrain": lambda lab: _wait_for_next_hops(lab, *BALANCERS),
    },
)


@pytest.fixture
def lab() -> Iterator[RecipeLab]:
    with pass_program() as program, RecipeLab(port_program=program.fileno()) as lab:
        yield lab


def test_the_recipe_of_the_page_gives_a_cluster_that_can_be_drained(lab: RecipeLab) -> None:
    reader = Reader(lab, RECIPE)
    reader.follow()
    (frr,), (bird,) = (reader.said("xdplb doctor", host) for host in BALANCERS)
    assert "ok    announcing: table 254: FRR runs here" in frr
    assert "ok    announcing: table 210: BIRD runs here" in bird
    assert reader.said("ip route show table 210")[0].split() == ["blackhole", "203.0.113.10", "proto", "244"]
    assert [shown.count("nexthop") for shown in reader.said("ip route show 203.0.113.10")] == [2, 2]
    for client in CLIENTS:
        assert [answer.count("backend") for answer in reader.said("curl *", client)] == [1, 1]
