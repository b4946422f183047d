# SPDX-License-Identifier: Apache-2.0
"""Which tunnels end at the balancer: what the map says of it, as it is written, changed and put right again."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network

import pytest

from tests.bpf import packets
from tests.bpf.balancer import Balancer, backend, slot
from tests.bpf.tunnels import COMBINATIONS, tcp6, wrapped
from xdplb.dataplane.libbpf import XDP_DROP, XDP_PASS, XDP_TX
from xdplb.model.decap import NO_DECAP, Decap

END, END6 = "10.0.0.2", "2001:db8:b::2"
DECAP = Decap(
    (ip_address(END), ip_address(END6)),
    (ip_network("10.0.0.1/32"), ip_network("10.1.0.0/16"), ip_network("2001:db8::/64")),
)


@pytest.fixture
def ending(balancer: Balancer) -> Iterator[Balancer]:
    """A balancer at which tunnels end, with a backend by DR."""
    balancer.set_up(slot(1), [backend(1)])
    balancer.plane.write_decap(DECAP)
    yield balancer
    balancer.plane.write_decap(NO_DECAP)


def verdict(balancer: Balancer, **outer: object) -> int:
    """Return what becomes of a segment for the VIP in a tunnel."""
    return balancer.send(wrapped(packets.tcp("PA"), **{"to": END, **outer})).verdict  # type: ignore[arg-type]


@pytest.mark.parametrize(("inner", "outer", "gue"), COMBINATIONS)
def test_every_combination_comes_out(ending: Balancer, inner: int, outer: int, gue: int | None) -> None:
    before = ending.plane.counters().unwrapped or 0
    frame = packets.tcp("PA") if inner == 4 else tcp6("2001:db8:f::99")
    sent = ending.send(wrapped(frame, to=END if outer == 4 else END6, gue=gue))
    assert sent.verdict == (XDP_TX if inner == 4 else XDP_PASS)  # there is no VIP of IPv6 here
    assert len(sent.packet) == len(frame)
    assert ending.plane.counters().unwrapped == before + 1


@pytest.mark.parametrize(
    ("source", "expected"),
    [("10.0.0.1", XDP_TX), ("10.0.0.3", XDP_DROP), ("10.1.255.1", XDP_TX), ("10.2.0.1", XDP_DROP)],
)
def test_sources_are_those_of_the_prefixes(ending: Balancer, source: str, expected: int) -> None:
    assert verdict(ending, src=source) == expected


def test_other_addresses_are_no_ends(ending: Balancer) -> None:
    assert verdict(ending, to="10.0.0.99") == XDP_PASS


def test_what_is_written_takes_the_place_of_what_was(ending: Balancer) -> None:
    ending.plane.write_decap(Decap((ip_address("10.0.0.3"),), (ip_network("10.2.0.0/16"),)))
    assert verdict(ending) == XDP_PASS
    assert verdict(ending, to="10.0.0.3") == XDP_DROP
    assert verdict(ending, to="10.0.0.3", src="10.2.0.1") == XDP_TX
    ending.plane.write_decap(NO_DECAP)
    assert verdict(ending, to="10.0.0.3", src="10.2.0.1") == XDP_PASS


def test_what_somebody_else_has_changed_is_put_right(ending: Balancer) -> None:
    found = ending.plane.maps.tunnel_sources
    assert found is not None
    key = next(key for key, value in found.items() if value == bytes(4))
    found.update(key, 1)
    assert "tunnel_sources" in list(ending.plane.verify())
    assert found.lookup(key) == bytes(4)
    found.delete(key)
    assert "tunnel_sources" in list(ending.plane.verify())
    assert "tunnel_sources" not in list(ending.plane.verify())
