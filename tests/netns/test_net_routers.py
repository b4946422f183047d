"""FRR and BIRD with the configurations of docs/examples/ha: what they make of the routes that a balancer writes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from xdplb.model.address import IPAddress
from xdplb.net.lab_cluster import BALANCERS, ROUTERS, VIP, VIP6, ClusterLab
from xdplb.net.lab_routing import RoutingDaemon

from .balancer import until
from .routing import ROUTING, TABLES, next_hops, routed, up

ALL = set(BALANCERS)
VIPS: tuple[IPAddress, ...] = (VIP, VIP6)


@pytest.fixture(scope="module")
def daemons() -> Iterator[dict[str, RoutingDaemon]]:
    with ClusterLab() as lab, routed(lab) as running:
        for balancer in BALANCERS:
            _announce(lab, balancer)
        yield running


@pytest.fixture
def lab(daemons: dict[str, RoutingDaemon]) -> ClusterLab:
    """The cluster, with all balancers announcing both VIPs."""
    lab = daemons["router1"].lab
    assert isinstance(lab, ClusterLab)
    _expect(lab, ALL)
    return lab


def _announce(lab: ClusterLab, balancer: str, *, metric: int | None = None) -> None:
    """Write the routes as the daemon does; with a metric, those of a balancer that is drained."""
    words = "" if metric is None else f" metric {metric}"
    lab.configure(balancer, *(f"route add blackhole {vip}{_place(balancer)}{words}" for vip in VIPS))


def _withdraw(lab: ClusterLab, balancer: str, *, metric: int | None = None) -> None:
    usual = {VIP: 0, VIP6: 1024}
    for vip in VIPS:
        lab.configure(balancer, f"route del blackhole {vip}{_place(balancer)} metric {metric or usual[vip]}")


def _place(balancer: str) -> str:
    return f" table {TABLES[balancer]} proto 244"


def _expect(lab: ClusterLab, balancers: set[str]) -> None:
    """Wait until both routers send both VIPs to these balancers."""
    for router in ROUTERS:
        for vip in VIPS:
            until(lambda: next_hops(lab, router, vip) == balancers)  # noqa: B023


@pytest.mark.parametrize("balancer", ["balancer1", "balancer2"])
def test_a_route_that_is_withdrawn_leaves_both_routers_and_comes_back(lab: ClusterLab, balancer: str) -> None:
    _withdraw(lab, balancer)
    _expect(lab, ALL - {balancer})
    _announce(lab, balancer)
    _expect(lab, ALL)


@pytest.mark.parametrize("balancer", ["balancer1", "balancer2"])
def test_a_drained_balancer_gets_no_packets_but_is_there_if_all_are_drained(lab: ClusterLab, balancer: str) -> None:
    _announce(lab, balancer, metric=100)
    _withdraw(lab, balancer)
    _expect(lab, ALL - {balancer})
    others = sorted(ALL - {balancer})
    for other in others:
        _withdraw(lab, other)
    _expect(lab, {balancer})
    for other in others:
        _announce(lab, other)
    _expect(lab, ALL - {balancer})
    _announce(lab, balancer)
    _withdraw(lab, balancer, metric=100)


def test_routes_of_others_are_not_announced(lab: ClusterLab) -> None:
    for balancer in ("balancer1", "balancer2"):
        place = _place(balancer)
        lab.configure(
            balancer, f"route add blackhole 192.0.2.1/32{place}", f"route add blackhole 203.0.113.128/25{place}"
        )
        lab.configure(balancer, f"route add blackhole 203.0.113.77/32{place}")
    for router in ROUTERS:
        until(lambda: next_hops(lab, router, VIP.__class__("203.0.113.77")) == {"balancer1", "balancer2"})  # noqa: B023
        told = lab.run(router, ["ip", "route"]).stdout
        assert "192.0.2.1" not in told
        assert "203.0.113.128" not in told


@pytest.mark.parametrize("host", ["balancer1", "balancer2", *ROUTERS])
def test_a_routing_daemon_that_is_killed_comes_back_with_its_routes(
    lab: ClusterLab, daemons: dict[str, RoutingDaemon], host: str
) -> None:
    daemons[host].kill()
    if host in BALANCERS:
        _expect(lab, ALL - {host})
    daemons[host].start()
    until(lambda: all(up(daemons[one]) for one in ROUTING), 5)
    _expect(lab, ALL)


def test_a_balancer_that_is_cut_off_is_out_within_a_second(lab: ClusterLab) -> None:
    lab.cut("balancer3")
    for router in ROUTERS:
        until(lambda: next_hops(lab, router, VIP) == ALL - {"balancer3"}, 1)  # noqa: B023
    lab.join("balancer3")
