# SPDX-License-Identifier: Apache-2.0
"""What two programs are tried with: from VIPs and their slots, from flow records, and what XDP passes now."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from xdplb.dataplane.features import Feature, Features
from xdplb.dataplane.plane import Reading
from xdplb.dataplane.remembered import FlowId
from xdplb.model.vip import NO_LIMITS

from .frames import Sample, arp, odd_ones, of_flow
from .spread import flows_of_vip, recorded_flows

__all__ = ["Samples", "samples"]

FRAMES = 3000
_MOST_VIPS = 256
_FEWEST_FLOWS, _MOST_FLOWS = 2, 200
_RECORDED = 200
_MUTATED = 400
_ETHERTYPE_IPV6, _ETHERTYPES_VLAN = b"\x86\xdd", (b"\x81\x00", b"\x88\xa8")


@dataclass(frozen=True, slots=True)
class Samples:
    """`ordinary` are tried with limits that let all through, `limited` with limits that a second packet is over."""

    ordinary: Sequence[Sample]
    limited: Sequence[Sample]


def samples(
    reading: Reading,
    records: Mapping[int, Sequence[bytes]],
    passed: Sequence[Sample],
    differing: Features,
    seed: int,
) -> Samples:
    """Return what to try; the same seed makes the same frames. `records` has keys of flow records, by version of IP.

    `differing` features are of one program only: frames that mean something else to the other are left out.
    """
    chance = random.Random(seed)  # noqa: S311 - no secret
    made = [arp(), *_of_vips(reading, chance), *_of_records(records)]
    made += [_mutated(chance.choice(made), chance) for _ in range(_MUTATED)]
    wanted = [each for each in (*made, *passed) if not _is_foreign(each.frame, differing)]
    limited = [each for each in _limited(reading, chance) if not _is_foreign(each.frame, differing)]
    return Samples(wanted, limited)


def _of_vips(reading: Reading, chance: random.Random) -> Iterator[Sample]:
    vips = list(reading.read_vips().values())
    chosen = chance.sample(vips, min(len(vips), _MOST_VIPS))
    odd = 0
    for vip in chosen:
        share = FRAMES // max(1, len(chosen)) // 4
        flows = flows_of_vip(vip, reading.read_table(vip.id), max(_FEWEST_FLOWS, min(share, _MOST_FLOWS)), chance)
        for flow in flows:
            yield from of_flow(flow, f"made from VIP {vip.key}")
        if odd < FRAMES // 2:
            for flow in flows[:2]:
                for each in odd_ones(flow, f"made from VIP {vip.key}"):
                    odd += 1
                    yield each
    for text in ("192.0.2.1", "2001:db8:ffff::1"):
        destination = ip_address(text)
        source = ip_address("198.51.100.1" if destination.version == 4 else "2001:db8:fffe::1")
        yield from of_flow(FlowId(source, 40000, destination, 80, 6), "made for an address without VIPs")


def _of_records(records: Mapping[int, Sequence[bytes]]) -> Iterator[Sample]:
    for flow in recorded_flows(records, _RECORDED):
        yield from of_flow(flow, "made from a flow record")


def _limited(reading: Reading, chance: random.Random) -> Iterator[Sample]:
    for vip in reading.read_vips().values():
        if vip.limits != NO_LIMITS:
            for flow in flows_of_vip(vip, None, 2, chance) * 2:  # the first one again is over the limit of its source
                yield from of_flow(flow, f"made from VIP {vip.key}, over its limits")


def _mutated(sample: Sample, chance: random.Random) -> Sample:
    """Return the frame with some bytes of its headers changed."""
    frame = bytearray(sample.frame)
    changed = sorted({chance.randrange(min(len(frame), 74)) for _ in range(chance.randint(1, 3))})
    for place in changed:
        frame[place] = chance.randrange(256)
    return Sample(bytes(frame), f"{sample.words} with other bytes at {', '.join(map(str, changed))}")


def _is_foreign(frame: bytes, differing: Features) -> bool:
    """Whether the two programs may see different things in a frame."""
    kind = frame[12:14]
    if kind in _ETHERTYPES_VLAN:
        return not differing.isdisjoint({Feature.VLAN, Feature.IPV6})
    return Feature.IPV6 in differing and kind == _ETHERTYPE_IPV6
