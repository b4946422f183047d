# SPDX-License-Identifier: Apache-2.0
"""Two tiers of balancers: the first sends packets in tunnels to the second, which takes them out and balances them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from tests.waiting import until
from xdplb.model.vip import Forward
from xdplb.net.lab import ADDRESSES, ADDRESSES6, VIP, Lab

from .balancer import XDPLB, Balancer
from .both_families import BOTH, add_vip, answers, fetch, prepare, remove_vips
from .conftest import new_lab
from .mirror_service import body
from .test_traffic_families import Way
from .test_traffic_mtu import ask_for_full_segments, forget, learnt

FIRST, SECOND = "balancer", "dr1"
BACKEND, FAR_BACKEND = "dr2", "ipip1"
SIZE = 200_000
WAYS = [
    Way(SECOND, Forward.IPIP, 4, 4),
    Way(SECOND, Forward.IPIP, 6, 6),
    Way(SECOND, Forward.GUE, 4, 6),
    Way(SECOND, Forward.GUE, 6, 4),
]


class OtherBalancer(Balancer):
    """A second balancer in the same lab, with places of its own."""

    def __init__(self, lab: Lab, host: str) -> None:
        super().__init__(lab, host)
        self.socket = lab.folder / f"{host}.sock"
        self.log_file = lab.folder / f"{host}.log"

    def spawn(self, *options: str, nics: Sequence[str] = ("eth0",)) -> subprocess.Popen[Any]:
        places = ["--listen", f"unix:{self.socket}", "--state-dir", str(self.lab.folder / f"{self.host}-state")]
        places += ["--pin-dir", str(self.lab.home.bpffs / f"{self.host}-tier")]
        with self.log_file.open("a") as log:
            return self.lab.popen(self.host, [XDPLB, "up", *nics, *places, *options], stdout=log, stderr=log)


@dataclass(frozen=True)
class Tiers:
    """The two balancers."""

    lab: Lab
    first: Balancer
    second: Balancer

    def unwrapped(self) -> int:
        """Return how many packets the second tier has taken out of tunnels."""
        count: int = self.second.ask("stats")["unwrapped"]
        return count


def ends(host: str, *sources: str) -> list[str]:
    """Return the options with which tunnels from `sources` end at the addresses of `host`."""
    options = [f"--decap-at={addresses[host]}" for addresses in (ADDRESSES, ADDRESSES6)]
    return [
        *options,
        *(f"--decap-from={addresses[source]}" for source in sources for addresses in (ADDRESSES, ADDRESSES6)),
    ]


@pytest.fixture(scope="module")
def built() -> Iterator[Tiers]:
    """Both tiers. The backend is beside the second; another one is behind a router, by tunnel."""
    with new_lab() as lab:
        lab.attach("switch", SECOND)
        first, second = Balancer(lab, FIRST), OtherBalancer(lab, SECOND)
        prepare(first, BACKEND, Forward.DR)
        prepare(first, FAR_BACKEND, Forward.GUE)
        ask_for_full_segments(lab, FAR_BACKEND)
        second.start(*ends(SECOND, FIRST))
        first.start(*ends(FIRST, SECOND))
        yield Tiers(lab, first, second)


@pytest.fixture
def tiers(built: Tiers) -> Iterator[Tiers]:
    """The same, without VIPs."""
    forget(built.lab)
    yield built
    for tier in (built.first, built.second):
        remove_vips(tier)


def send_on(tier: Balancer, way: Way) -> None:
    """Have a tier send the way's VIP through a tunnel to the way's host, and wait until it does."""
    tier.cli("vip", "add", way.key())
    tier.cli("backend", "add", way.key(), way.backend, "--forward", way.forward)
    until(lambda: tier.ask("backend", "show", way.key(), way.backend)["status"]["share"] > 0)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_both_tiers_are_passed_on_the_way_to_a_backend(tiers: Tiers, way: Way) -> None:
    family = next(each for each in BOTH if each.version == way.inner)
    before = tiers.unwrapped()
    add_vip(tiers.second, family, [BACKEND], Forward.DR)
    send_on(tiers.first, way)
    sent = tiers.lab.folder / "sent"
    sent.write_bytes(body(SIZE))
    name, got = fetch(tiers.first, family, "", "--data-binary", f"@{sent}")
    assert (name, got == body(SIZE)) == (BACKEND, True)
    assert tiers.unwrapped() - before >= SIZE // 1500
    packets = tiers.second.ask("stats", family.key())["packets"]
    assert packets == tiers.unwrapped() - before


def test_what_others_send_in_tunnels_is_dropped(tiers: Tiers) -> None:
    before = tiers.second.drops()["tunnel_source"]
    send = "import socket, sys; socket.socket(type=socket.SOCK_DGRAM).sendto(bytes(60), (sys.argv[1], 6080))"
    tiers.lab.run("router", [sys.executable, "-c", send, str(ADDRESSES[SECOND])])
    until(lambda: tiers.second.drops()["tunnel_source"] > before)


def test_two_tiers_that_send_to_each_other_do_not_do_so_for_ever(tiers: Tiers) -> None:
    """The TTL is one less each time that a packet comes out of a tunnel."""
    before = tiers.unwrapped()
    send_on(tiers.second, Way(FIRST, Forward.IPIP, 4, 4))
    send_on(tiers.first, Way(SECOND, Forward.IPIP, 4, 4))
    drops = [tier.drops()["ttl"] for tier in (tiers.first, tiers.second)]
    connect = ["curl", "-s", "--max-time", "1", f"http://{VIP}/"]
    assert tiers.lab.run("client", connect, check=False).returncode != 0
    until(lambda: [tier.drops()["ttl"] for tier in (tiers.first, tiers.second)] > drops)
    sent = sum(tier.drops()["ttl"] for tier in (tiers.first, tiers.second)) - sum(drops)
    assert 25 * sent <= tiers.unwrapped() - before <= 40 * sent  # it leaves the client with 64, and a router is between


def test_who_sends_too_much_for_the_second_tier_is_told(tiers: Tiers) -> None:
    """The answer goes to where the frame came from: to the first tier here, whose kernel routes it to the client."""
    tiers.lab.run(FIRST, ["sysctl", "-qw", "net.ipv4.ip_forward=1"])
    add_vip(tiers.second, BOTH[0], [], Forward.GUE)
    way = Way(FAR_BACKEND, Forward.GUE, 4, 6)
    tiers.second.cli("backend", "add", way.key(), way.backend, "--forward", way.forward)
    until(lambda: tiers.second.ask("backend", "show", way.key(), way.backend)["status"]["share"] > 0)
    send_on(tiers.first, Way(SECOND, Forward.IPIP, 4, 4))
    sent = tiers.lab.folder / "sent"
    sent.write_bytes(body(SIZE))
    name, got = fetch(tiers.first, BOTH[0], "", "--data-binary", f"@{sent}")
    assert (name, got == body(SIZE)) == (FAR_BACKEND, True)
    assert learnt(tiers.lab, BOTH[0]) == 1500 - 48
    assert answers(tiers.second, "too_big") > 0
