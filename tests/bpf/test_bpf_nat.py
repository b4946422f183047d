# SPDX-License-Identifier: Apache-2.0
"""Fragments of NAT backends' replies, where they might be taken for something else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP, fragment
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from tests.fixtures.config import CONFIG
from tests.fixtures.fixture import CLIENT, PORT, from_router
from tests.fuzz.affinity import on_one_cpu
from tests.fuzz.both import Both
from tests.fuzz.kernel import Kernel
from xdplb.dataplane.plane import VipEntry
from xdplb.model.vip import Vip, VipKey
from xdplb.reference.reasons import Verdict

pytestmark = pytest.mark.root

BACKEND, VIP = "10.0.1.19", "203.0.113.70"


@pytest.fixture(scope="module")
def kernel(pin_dir: Path) -> Iterator[Kernel]:
    """The program with all features that the fixtures need."""
    with on_one_cpu():
        yield Kernel(pin_dir / "nat", CONFIG.features)


def fragments_of_a_reply() -> list[bytes]:
    """Return a datagram of a NAT backend that comes in three fragments."""
    whole = IP(src=BACKEND, dst=CLIENT, id=77) / UDP(sport=8080, dport=PORT) / Raw(b"x" * 1500)
    return [bytes(from_router(part)) for part in fragment(whole, 600)]


def sent(frame: bytes) -> tuple[str, str, int]:
    """Return where a frame's packet is from and to, and its TTL."""
    ip: Packet = Ether(frame)[IP]
    return ip.src, ip.dst, ip.ttl


def test_fragments_of_a_reply_to_an_address_that_has_vips_go_to_the_client(kernel: Kernel) -> None:
    """A VIP around the clients' addresses, on another port, does not make a reply's fragments requests."""
    around = VipEntry.of(63, Vip(VipKey.parse("192.0.2.0/24:443/tcp")))
    config = replace(CONFIG, vips={**CONFIG.vips, around.id: around})
    kernel.install(config)
    both = Both(kernel, config)
    frames = fragments_of_a_reply()
    with kernel.routed():
        for frame in frames:
            both.send(frame)
        both.compare_state()
        outs = [kernel.run(frame) for frame in frames]
    assert [verdict for verdict, _ in outs] == [Verdict.REDIRECT] * len(frames)
    assert {sent(out) for _, out in outs} == {(VIP, CLIENT, 63)}


def test_a_fragment_of_a_reply_does_not_follow_one_of_a_backend_that_has_gone(kernel: Kernel) -> None:
    """Its id may be that of another VIP's backend by now, on the same host."""
    kernel.install(CONFIG)
    first, *later = fragments_of_a_reply()
    with kernel.routed():
        assert kernel.run(first)[0] == Verdict.REDIRECT
        again = replace(CONFIG.backends[19], epoch=CONFIG.backends[19].epoch + 1)
        kernel.plane.write_backends([again])
        assert [kernel.run(frame) for frame in later] == [(Verdict.PASS, frame) for frame in later]
