# SPDX-License-Identifier: Apache-2.0
"""What the packet benchmark measures: each row is a packet and the VIP that it is for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_address

from tests.bench import traffic
from tests.bench.harness import FIXED, FRESH, RANDOM
from tests.bench.services import LISTED, MIXED, NAT_SHIFT, SINGLE, Service
from xdplb.dataplane.libbpf import XDP_DROP, XDP_PASS, XDP_TX
from xdplb.model.next_hop import VlanTag
from xdplb.model.vip import Forward, HashKind, RateLimits, Scheduler

__all__ = ["FLOWS_1M", "Row", "rows"]

FLOWS_100K, FLOWS_1M = 1 << 17, 1 << 20
ALL_SOURCES = 1 << 31
"""Flows of 32,768 addresses."""

UNLISTED = "198.19.128.0"
GENEROUS = 1_000_000_000
ANSWER_CUT = 14 + 1500 - (14 + 548)
"""Bytes that an answer to a packet of 1500 bytes leaves out of its quote."""


@dataclass(frozen=True, slots=True)
class Row:
    """A packet that `make` makes for the VIP's port; the rest is as in Case.

    `is_answering`: measured with a program that has no rate limit on answers to packets that are too big. `before`
    makes the frame that is sent before each measurement.
    """

    name: str
    service: Service
    make: Callable[[int], bytes]
    mode: int = FIXED
    flows: int = 1
    cut: int = 0
    verdict: int = XDP_TX
    is_answering: bool = False
    before: Callable[[int], bytes] | None = None

    @property
    def fills_flows(self) -> bool:
        """Whether it fills the flow tables; then nothing that looks up a record can be measured after it."""
        return self.mode == FRESH and (self.service.moving or self.service.tracks)


def rows() -> Iterator[Row]:
    """Yield all of them."""
    for forward in (Forward.DR, Forward.IPIP):
        for moving in (False, True):
            yield from _traffic(Service(forward=forward, moving=moving))
    yield Row("no VIP: TCP to another address", _PLAIN, lambda _: traffic.tcp(80, to="192.0.2.1"), verdict=XDP_PASS)
    yield from _ipv6()
    yield from _tunnels()
    yield from _nat()
    yield from _unwrapped()
    yield from _tags()
    yield from _several()
    yield from _choices()
    yield from _defence()
    yield from _beside()


_PLAIN = Service()
_PLAIN6 = Service(version=6)


def _traffic(service: Service) -> Iterator[Row]:
    name = f"{service.forward} {'moving' if service.moving else 'steady'}"
    yield Row(f"{name}: established, 1 flow", service, traffic.tcp)
    yield Row(f"{name}: established, 100 k flows", service, traffic.tcp, RANDOM, FLOWS_100K)
    yield Row(f"{name}: established, 1 M flows", service, traffic.tcp, RANDOM, FLOWS_1M)
    yield Row(f"{name}: SYN, ever new flows", service, lambda port: traffic.tcp(port, flags="S"), FRESH)
    yield Row(f"{name}: UDP, 1 flow", service, traffic.udp)
    yield Row(f"{name}: UDP, 1 M flows", service, traffic.udp, RANDOM, FLOWS_1M)


def _ipv6() -> Iterator[Row]:
    moving = replace(_PLAIN6, moving=True)
    yield Row("IPv6 dr steady: established, 1 flow", _PLAIN6, _tcp6)
    yield Row("IPv6 dr steady: established, 1 M flows", _PLAIN6, _tcp6, RANDOM, FLOWS_1M)
    yield Row("IPv6 dr steady: SYN, ever new flows", _PLAIN6, lambda port: traffic.tcp(port, 6, "S"), FRESH)
    yield Row("IPv6 dr moving: established, 1 flow", moving, _tcp6)
    yield Row("IPv6 dr moving: established, 1 M flows", moving, _tcp6, RANDOM, FLOWS_1M)
    yield Row("IPv6 dr steady: behind 2 extension headers", _PLAIN6, traffic.extended)


def _tunnels() -> Iterator[Row]:
    for forward, words in ((Forward.IPIP, "{}in{}"), (Forward.GUE, "{} in GUE in {}")):
        for version in (4, 6):
            for outer in (4, 6):
                service = Service(version=version, forward=forward, outer=outer)
                make = traffic.tcp if version == 4 else _tcp6
                yield Row(f"{words.format(version, outer)}: established, 1 flow", service, make)


def _nat() -> Iterator[Row]:
    for version, words in ((4, "nat"), (6, "IPv6 nat")):
        service = Service(version=version, forward=Forward.NAT)
        make = traffic.tcp if version == 4 else _tcp6
        yield Row(f"{words}: established, 1 flow", service, make)
        yield Row(f"{words}: established, 1 M flows", service, make, RANDOM, FLOWS_1M)
        yield Row(f"{words}: a reply, next hop known", service, partial(_reply, version, traffic.FAR_CLIENTS[version]))
        yield Row(f"{words}: a reply, by the kernel's routes", service, partial(_reply, version, None))


def _unwrapped() -> Iterator[Row]:
    """Packets in tunnels that end here; and those to GUE's port at another address, which are looked at for that."""
    yield Row("out of ipip, to dr: established, 1 flow", _PLAIN, partial(traffic.unwrapped, gue=False))
    yield Row("out of gue, to dr: established, 1 flow", _PLAIN, partial(traffic.unwrapped, gue=True))
    yield Row("gue to another address", _PLAIN, partial(traffic.unwrapped, gue=True, end="192.0.2.1"), verdict=XDP_PASS)


def _reply(version: int, to: str | None, port: int) -> bytes:
    return traffic.reply(port + NAT_SHIFT, version, to=to)


def _tags() -> Iterator[Row]:
    kept, set_ = Service(keep_tags=True), Service(tags=(VlanTag(9),))
    yield Row("tagged: DR, tag kept", kept, lambda port: traffic.tagged(traffic.tcp(port)))
    yield Row("tagged twice: DR, tags kept", kept, lambda port: traffic.tagged(traffic.tcp(port), twice=True))
    yield Row("tagged: DR, another tag set", set_, lambda port: traffic.tagged(traffic.tcp(port)))
    yield Row("tagged: DR, tag taken off", _PLAIN, lambda port: traffic.tagged(traffic.tcp(port)))
    yield Row("untagged: DR, tag set", set_, traffic.tcp)


def _several() -> Iterator[Row]:
    ports = Service(ports=1000)
    prefix, prefix6 = Service(prefix="203.0.114.0/24"), Service(version=6, prefix="2001:db8:fe::/64")
    yield Row("VIP of 1000 ports: DR", ports, traffic.tcp)
    yield Row("VIP of a prefix, all ports: DR", prefix, lambda port: traffic.tcp(port, to="203.0.114.77"))
    yield Row("VIP of an IPv6 prefix, all ports: DR", prefix6, lambda port: traffic.tcp(port, 6, to="2001:db8:fe::77"))


def _choices() -> Iterator[Row]:
    source, always, quic = Service(hash=HashKind.SOURCE), Service(tracks=True), Service(quic=True)
    yield Row("hash = source: DR, 1 M flows", source, traffic.tcp, RANDOM, FLOWS_1M)
    second, strays = Service(second_choice=True), Service(second_choice=True, strays=True)
    yield Row("syn_failover: DR, 1 flow", second, traffic.tcp)
    yield Row("syn_failover: DR, 1 M flows", second, traffic.tcp, RANDOM, FLOWS_1M)
    yield Row("syn_failover: DR, SYN, ever new flows", second, _syn, FRESH)
    yield Row("syn_failover, some elsewhere: DR, 1 flow", strays, traffic.tcp)
    yield Row("syn_failover, some elsewhere: DR, 1 M flows", strays, traffic.tcp, RANDOM, FLOWS_1M)
    yield Row("tracking = always: DR, 1 flow", always, traffic.tcp)
    yield Row("tracking = always: DR, 1 M flows", always, traffic.tcp, RANDOM, FLOWS_1M)
    yield Row("tracking = always: DR, SYN, ever new flows", always, _syn, FRESH)
    for scheduler in (Scheduler.WRR, Scheduler.WLC, Scheduler.P2C):
        chosen = Service(scheduler=scheduler, tracks=True)
        yield Row(f"{scheduler}: DR, established, 1 flow", chosen, traffic.tcp)
        yield Row(f"{scheduler}: DR, SYN, ever new flows", chosen, _syn, FRESH)
    yield Row("QUIC: DR, by connection ID", quic, lambda port: traffic.quic(port, 7))
    yield Row("QUIC: DR, none of ours, by hash", quic, lambda port: traffic.quic(port, 0xFFFF))


def _defence() -> Iterator[Row]:
    listed, single, mixed = Service(access=LISTED), Service(access=SINGLE), Service(access=MIXED)
    listed6 = Service(version=6, access=LISTED)
    limited = Service(limits=RateLimits(packets=GENEROUS, new_flows=GENEROUS))
    by_source = Service(limits=RateLimits(source_packets=GENEROUS, source_new_flows=GENEROUS))
    yield Row("denied: 1 source", listed, lambda port: traffic.tcp(port, client=traffic.LISTED[4]), verdict=XDP_DROP)
    yield Row("denied: 1 source, IPv6", listed6, _listed6, verdict=XDP_DROP)
    yield Row("denied: 1 source, longest search", single, traffic.tcp, verdict=XDP_DROP)
    yield Row("denied: 32 k sources, longest search", single, traffic.tcp, RANDOM, ALL_SOURCES, verdict=XDP_DROP)
    yield Row("access list, let through: DR", listed, lambda port: traffic.tcp(port, client=UNLISTED))
    yield Row("access list, let through, longest search: DR", mixed, _unlisted)
    yield Row("rate limits of the VIP: DR", limited, traffic.tcp)
    yield Row("rate limits of the VIP: DR, SYN", limited, _syn)
    yield Row("rate limits by source: DR, 1 source", by_source, traffic.tcp)
    yield Row("rate limits by source: DR, 32 k sources", by_source, traffic.tcp, RANDOM, ALL_SOURCES)
    yield Row("wrong header checksum", _PLAIN, lambda port: traffic.tcp(port, wrong=True), verdict=XDP_DROP)
    yield Row("SYN with FIN", _PLAIN, lambda port: traffic.tcp(port, flags="SF"), verdict=XDP_DROP)


def _beside() -> Iterator[Row]:
    small, small6 = Service(mtu=1400), Service(version=6, mtu=1400)
    yield Row("ping to a VIP", _PLAIN, lambda _: traffic.echo())
    yield Row("ping to a VIP, IPv6", _PLAIN6, lambda _: traffic.echo(6))
    yield Row("ping to another address", _PLAIN, lambda _: traffic.echo(to="192.0.2.1"), verdict=XDP_PASS)
    yield Row("ICMP error about a connection: DR", _PLAIN, traffic.icmp_error)
    yield Row("ICMP error about a connection: DR, IPv6", _PLAIN6, lambda port: traffic.icmp_error(port, 6))
    yield Row("first fragment: DR", _PLAIN, traffic.first_fragment)
    yield Row("later fragment: DR", _PLAIN, lambda _: traffic.later_fragment(), before=traffic.first_fragment)
    yield Row("first fragment: DR, IPv6", _PLAIN6, _first6)
    yield Row("later fragment: DR, IPv6", _PLAIN6, lambda _: traffic.later_fragment(6), before=_first6)
    yield Row("too big: held back by the rate limit", small, _long, verdict=XDP_DROP)
    yield Row("too big: answered", small, _long, cut=ANSWER_CUT, is_answering=True)
    yield Row("too big: answered, IPv6", small6, _long6, cut=1500 - 1232, is_answering=True)


def _tcp6(port: int) -> bytes:
    return traffic.tcp(port, 6)


def _syn(port: int) -> bytes:
    return traffic.tcp(port, flags="S")


def _listed6(port: int) -> bytes:
    return traffic.tcp(port, 6, client=traffic.LISTED[6])


def _unlisted(port: int) -> bytes:
    """Return a segment of a client between two that are denied."""
    first = ip_address(traffic.CLIENTS[4])
    return traffic.tcp(port, client=str(first + 1))


def _first6(port: int) -> bytes:
    return traffic.first_fragment(port, 6)


def _long(port: int) -> bytes:
    return traffic.tcp(port, payload=1460)


def _long6(port: int) -> bytes:
    return traffic.tcp(port, 6, payload=1440)
