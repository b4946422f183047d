# SPDX-License-Identifier: Apache-2.0
"""Clients that send full packets through a tunnel whose path takes no more: they learn what fits from the balancer.

Nothing else in the lab tells them: the backends do not ask for smaller segments, and DF is set.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from xdplb.net.lab import Lab

from .balancer import Balancer
from .both_families import BOTH, Family, add_vip, answers, fetch, prepare, remove_vips
from .capture import captured
from .conftest import new_lab
from .mirror_service import body

MTU = 1500
SIZE = 3_000_000
OVERHEAD = {("ipip", 4): 20, ("ipip", 6): 40, ("gue", 4): 28, ("gue", 6): 48}
HOSTS = {"ipip": "ipip1", "gue": "ipip2"}
WAYS = [(family, forward) for family in BOTH for forward in HOSTS]


@pytest.fixture(scope="module")
def tunnels() -> Iterator[Balancer]:
    """A balancer with a backend behind each kind of tunnel, in both families."""
    with new_lab() as lab:
        balancer = Balancer(lab)
        for forward, host in HOSTS.items():
            prepare(balancer, host, forward)
            ask_for_full_segments(lab, host)
        balancer.start()
        yield balancer


@pytest.fixture
def client(tunnels: Balancer) -> Iterator[Balancer]:
    """The same, without VIPs and with a client that has learnt nothing yet."""
    forget(tunnels.lab)
    yield tunnels
    remove_vips(tunnels)


def ask_for_full_segments(lab: Lab, host: str) -> None:
    """Take away what `backend-host setup` did about segments, as it is where a host's routes are not its own."""
    for version in ("-4", "-6"):
        route = lab.run(host, ["ip", version, "route", "show", "default"]).stdout.strip()
        plain = re.sub(r" advmss \d+", "", route)
        assert plain != route
        lab.run(host, ["ip", version, "route", "change", *plain.split()])


def forget(lab: Lab) -> None:
    """Have the client know nothing of any path's MTU."""
    for version in ("-4", "-6"):
        lab.run("client", ["ip", version, "route", "flush", "cache"])


def learnt(lab: Lab, family: Family) -> int:
    """Return the MTU of the path to the VIP as the client's kernel knows it."""
    found = re.search(r"\bmtu (\d+)", lab.run("client", ["ip", "route", "get", str(family.vip)]).stdout)
    return int(found[1]) if found else MTU


@pytest.mark.parametrize(("family", "forward"), WAYS, ids=lambda value: getattr(value, "version", value))
def test_full_segments_get_through_with_every_byte(client: Balancer, family: Family, forward: str) -> None:
    """Both ways at once: the client sends full segments up, and gets all of it back."""
    add_vip(client, family, [HOSTS[forward]], forward)
    sent = client.lab.folder / "sent"
    sent.write_bytes(body(SIZE))
    assert learnt(client.lab, family) == MTU

    name, got = fetch(client, family, "", "--data-binary", f"@{sent}")
    assert (name, got == body(SIZE)) == (HOSTS[forward], True)

    assert learnt(client.lab, family) == MTU - OVERHEAD[forward, family.version]
    assert answers(client, "too_big") > 0


@pytest.mark.parametrize(("family", "forward"), WAYS, ids=lambda value: getattr(value, "version", value))
def test_a_long_download_comes_whole(client: Balancer, family: Family, forward: str) -> None:
    """Answers go straight to the client in full packets; what goes through the tunnel is small."""
    add_vip(client, family, [HOSTS[forward]], forward)
    name, got = fetch(client, family, str(SIZE))
    assert (name, got == body(SIZE)) == (HOSTS[forward], True)


def test_nothing_longer_than_the_path_is_sent_through_a_tunnel(client: Balancer) -> None:
    """None is fragmented on its way to the backend, and those after the answer fill the path to the last byte."""
    family = BOTH[0]
    add_vip(client, family, [HOSTS["ipip"]], "ipip")
    sent = client.lab.folder / "sent"
    sent.write_bytes(body(SIZE))
    with captured(client.lab, "router", HOSTS["ipip"]) as packets:
        fetch(client, family, "", "--data-binary", f"@{sent}")
    wrapped = [packet for packet in packets if packet[9] == 4]
    assert max(map(len, wrapped)) == MTU
    assert all(packet[6] & 0x40 for packet in wrapped)  # DF, and neither an offset nor more fragments
