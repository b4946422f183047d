# SPDX-License-Identifier: Apache-2.0
"""A neighbour that gets another MAC and says nothing: the first check that fails finds it."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import pytest

from tests.stopwatch import Stopwatch
from tests.waiting import until
from xdplb.client import Client, vip_path
from xdplb.model.address import IPAddress
from xdplb.net import links
from xdplb.net.lab import ADDRESSES, ADDRESSES6, VIP6

from .balancer import KEY, PORT, Balancer

KEY6 = f"[{VIP6}]:{PORT}/tcp"
NEW_MAC = "02:00:00:00:00:77"
BACK_SECONDS = 2.0
CHECK = [
    "--check",
    "tcp",
    "--check-target",
    "backend",
    "--check-interval",
    "1s",
    "--check-timeout",
    "300ms",
    "--check-rise",
    "2",
]


def results(balancer: Balancer, key: str) -> dict[str, Any]:
    """Return the first backend's results and status."""
    with Client(socket_path=str(balancer.socket)) as client:
        check = client.get(vip_path(key, "health-check")).json()["status"]["backends"][0]
        status = client.get(vip_path(key, "backends")).json()["backends"][0]["status"]
    return {**check, "mac": status["mac"]}


class Way(NamedTuple):
    """A backend of a VIP, and the NIC whose MAC packets to it go to."""

    key: str
    backend: IPAddress
    forward: str
    host: str
    nic: str


WAYS = {
    "on link": Way(KEY, ADDRESSES["dr1"], "dr", "dr1", "eth0"),
    "on link, IPv6": Way(KEY6, ADDRESSES6["dr1"], "dr", "dr1", "eth0"),
    "by a router": Way(KEY, ADDRESSES["ipip1"], "ipip", "router", "segment"),
    "by a router, IPv6": Way(KEY6, ADDRESSES6["ipip1"], "ipip", "router", "segment"),
}


@pytest.mark.parametrize("fall", [1, 3])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_silent_change_of_the_mac_is_found_by_the_first_check_that_fails(
    ready: Balancer, way: Way, fall: int
) -> None:
    key, backend, forward, host, nic = way
    lab = ready.lab
    ready.cli("vip", "add", key, *CHECK, "--check-fall", str(fall))
    ready.cli("backend", "add", key, str(backend), "--forward", forward)
    until(lambda: results(ready, key)["health"] == "up")
    old = lab.inside(host, lambda: links.link(nic).mac)
    time.sleep(1.1)
    before = results(ready, key)["failures"]
    lab.configure(host, f"link set {nic} address {NEW_MAC}")
    try:
        until(lambda: results(ready, key)["failures"] > before)
        watch = Stopwatch()
        until(lambda: (now := results(ready, key))["mac"] == NEW_MAC and now["last_passed"] and now["health"] == "up")
        assert watch.unhindered < BACK_SECONDS
        if fall == 3:
            assert results(ready, key)["failures"] == before + 1
    finally:
        ready.cli("vip", "rm", key)
        lab.configure(host, f"link set {nic} address {old.hex(':')}")
