# SPDX-License-Identifier: Apache-2.0
"""What may be said of tunnels that end at the balancer."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from xdplb.model.decap import NO_DECAP, Decap, checked_decap
from xdplb.model.errors import InvalidError

END, END6 = ip_address("10.0.0.2"), ip_address("2001:db8::2")
FROM, FROM6 = ip_network("10.0.0.0/24"), ip_network("2001:db8::/64")


def test_nothing_is_nothing() -> None:
    assert checked_decap((), ()) == NO_DECAP


def test_each_is_there_once_and_sources_are_of_their_family() -> None:
    decap = checked_decap((END, END6, END), (FROM, FROM6, FROM))
    assert decap == Decap((END, END6), (FROM, FROM6))
    assert decap.allows(ip_address("10.0.0.7"))
    assert decap.allows(ip_address("2001:db8::7"))
    assert not decap.allows(ip_address("10.0.1.7"))


@pytest.mark.parametrize(
    ("at", "sources", "told"),
    [
        ((), (FROM,), "--decap-from needs --decap-at"),
        ((END,), (), "allows no IPv4 source"),
        ((END, END6), (FROM,), "--decap-at 2001:db8::2: --decap-from allows no IPv6 source"),
        ((ip_address("127.0.0.1"),), (FROM,), "no tunnel can end at --decap-at 127.0.0.1"),
        ((ip_address("ff02::1"),), (FROM6,), "no tunnel can end at --decap-at ff02::1"),
        (tuple(END + n for n in range(17)), (FROM,), "17 of --decap-at"),
        ((END,), tuple(ip_network(f"10.{n}.0.0/16") for n in range(65)), "65 of --decap-from"),
    ],
)
def test_what_could_not_work_is_refused(at: tuple, sources: tuple, told: str) -> None:
    with pytest.raises(InvalidError, match=told):
        checked_decap(at, sources)
