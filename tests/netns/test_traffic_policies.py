# SPDX-License-Identifier: Apache-2.0
"""Backups and slow start with real connections: others begin to serve and end to, and no request or download breaks."""

from __future__ import annotations

from tests.waiting import until
from xdplb.net.lab import ADDRESSES

from .balancer import CHECK, KEY, Balancer, Download, Stream


def shares(balancer: Balancer) -> dict[str, float]:
    """Return the share of new connections that each backend has now."""
    told = balancer.ask("backend", "ls", KEY)["backends"]
    return {each["address"]: round(each["status"]["share"], 2) for each in told}


def test_backups_and_newcomers_take_over_without_breaking_a_connection(balancer: Balancer) -> None:
    dr1, dr2, spare = (str(ADDRESSES[host]) for host in ("dr1", "dr2", "ipip1"))
    balancer.prepare("dr1", "dr2", "ipip1")
    balancer.start()
    balancer.add("dr1", "dr2", vip_options=CHECK)
    balancer.cli("backend", "add", KEY, spare, "--forward", "ipip", "--role", "backup")
    until(lambda: "a backup: 2 of 2 primaries serve, min_serving is 1" in balancer.cli("backend", "ls", KEY).stdout)
    assert set(balancer.get(20)) == {"dr1", "dr2"}

    stream, first = Stream(balancer), [Download(balancer, size=60_000, seconds=6) for _ in range(4)]
    for address in (dr1, dr2):
        balancer.cli("backend", "drain", KEY, address)
    assert shares(balancer) == {dr1: 0, dr2: 0, spare: 1}
    assert "no primary is asked to serve, min_serving is 1, so backups serve" in balancer.cli("vip", "show", KEY).stdout
    assert set(balancer.get(10)) == {"ipip1"}
    second = Download(balancer, size=40_000, seconds=4)
    assert second.backend == "ipip1"

    balancer.cli("backend", "undrain", KEY, dr1)
    assert shares(balancer) == {dr1: 1, dr2: 0, spare: 0}
    balancer.cli("vip", "set", KEY, "--slow-start", "8s")
    balancer.cli("backend", "undrain", KEY, dr2)
    assert "slow start: it has" in balancer.cli("backend", "ls", KEY).stdout
    seen = [shares(balancer)[dr2]]
    third = Download(balancer, size=30_000, seconds=3)
    until(lambda: seen.append(shares(balancer)[dr2]) or seen[-1] == 0.5)  # type: ignore[func-returns-value]
    assert seen == sorted(seen)
    assert len(set(seen)) > 2, seen

    for download in (*first, second, third):
        download.finish()
    assert set(stream.finish()) == {"dr1", "dr2", "ipip1"}
    until(lambda: "slow start ended" in balancer.log())
    for line in ("policy=none backups=True", "policy=none backups=False", "slow start: vip="):
        assert line in balancer.log()
