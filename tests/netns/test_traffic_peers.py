"""Balancers that are peers, as daemons with real packets between them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import Authority
from xdplb.dataplane.single import pass_program
from xdplb.net.lab_cluster import BALANCERS, ClusterLab

from .balancer import until
from .cluster_balancers import ClusterBalancer, peers_of

ONE, OTHER, THIRD = BALANCERS


@pytest.fixture(scope="module")
def lab() -> Iterator[ClusterLab]:
    with pass_program() as program, ClusterLab(port_program=program.fileno()) as built:
        yield built


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "peers.key"
    path.write_text("a key of thirty-two characters or more\n".replace(" ", "-"))
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def cluster(lab: ClusterLab, key: Path, authority: Authority) -> dict[str, ClusterBalancer]:
    """Three balancers that are peers, each with `options` to start it with."""
    balancers = {host: ClusterBalancer(lab, host) for host in BALANCERS}
    for host, balancer in balancers.items():
        balancer.options = peers_of(lab, host, key, authority)
        balancer.daemon = balancer.spawn(*balancer.options)
    for balancer in balancers.values():
        balancer.cli("status", "--wait", "--timeout", "60s")
    until(lambda: all(_up(balancer, *(set(BALANCERS) - {host})) for host, balancer in balancers.items()))
    return balancers


def _up(balancer: ClusterBalancer, *others: str) -> bool:
    nodes = balancer.nodes()
    return all(nodes.get(name, {}).get("peer_up") for name in others)


def test_peers_of_both_families_find_each_other_and_one_that_was_killed_pulls_what_it_missed(
    cluster: dict[str, ClusterBalancer],
) -> None:
    one, other = cluster[ONE], cluster[OTHER]
    other.kill()
    until(lambda: one.nodes()[OTHER]["state"] == "lost", 10)
    other.start(*other.options)
    assert _up(other, ONE, THIRD), "it is ready only after it has heard of its peers"
    assert other.metric("xdplb_peer_pulls_total") == [2, 0]
    until(lambda: _up(one, OTHER, THIRD))


def test_a_peer_that_is_cut_off_and_joined_again(lab: ClusterLab, cluster: dict[str, ClusterBalancer]) -> None:
    one, third = cluster[ONE], cluster[THIRD]
    before = one.metric("xdplb_peer_pulls_total")
    lab.cut(THIRD)
    until(lambda: one.nodes()[THIRD]["state"] == "lost", 10)
    assert one.nodes()[THIRD]["peer_up"] is False
    lab.join(THIRD)
    until(lambda: _up(one, THIRD) and _up(third, ONE, OTHER))
    assert one.metric("xdplb_peer_pulls_total") == before, "nothing was missed, and nobody has begun anew"
