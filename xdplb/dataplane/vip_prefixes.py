# SPDX-License-Identifier: Apache-2.0
"""VIPs of several ports or addresses: the rules of each prefix, as in the tries of bpf/lib/layout.h.

The kernel finds only the longest prefix of an address, so a prefix has its own rules first, and then those of the
shorter prefixes around it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address

import numpy as np
from numpy.typing import NDArray

from xdplb.model.address import IPNetwork
from xdplb.model.key import VipKey

from . import layout, vip_codec
from .capacity import too_many
from .plane import VipEntry

__all__ = ["TRIES", "Rules", "build", "parse"]

TRIES = ("vip_prefixes", "vip_prefixes6")
"""The names of their maps."""

PROTOCOL_BITS = {6: layout.RULE_TCP, 17: layout.RULE_UDP}

Rules = dict[bytes, NDArray[np.void]]
"""The value, shape (1,), of each key of a trie."""


def build(vips: Sequence[VipEntry]) -> Rules:
    """Return the rules of these VIPs, all of one family; CapacityError if too many prefixes lie one in another."""
    own: defaultdict[IPNetwork, list[int]] = defaultdict(list)
    for number, vip in enumerate(vips):
        own[vip.key.network].append(number)
    encoded = _rules(vips)
    lengths = sorted({network.prefixlen for network in own}, reverse=True)
    made: Rules = {}
    for network in own:
        around = [network.supernet(new_prefix=length) for length in lengths if length <= network.prefixlen]
        numbers = [number for prefix in around for number in own.get(prefix, ())]
        numbers.sort(key=lambda number: (vips[number].key.rank, -number), reverse=True)
        made[_key(network)] = _value(network, encoded[numbers])
    return made


def _rules(vips: Sequence[VipEntry]) -> NDArray[np.void]:
    rules = np.zeros(len(vips), layout.VIP_RULE)
    for rule, vip in zip(rules, vips, strict=True):
        rule["first_port"], rule["last_port"] = vip.key.ports[0], vip.key.ports[-1]
        rule["protocols"] = sum(PROTOCOL_BITS[number] for number in vip.key.protocol.numbers)
    rules["vip"] = vip_codec.encode(vips)
    return rules


def _key(network: IPNetwork) -> bytes:
    return network.prefixlen.to_bytes(4, "little") + network.network_address.packed


def _value(network: IPNetwork, rules: NDArray[np.void]) -> NDArray[np.void]:
    if len(rules) > layout.VIP_RULES:
        raise too_many(
            f"port ranges and prefix VIPs on {network}",
            len(rules),
            layout.VIP_RULES,
            hint="use fewer VIPs with more ports each, or VIPs of one address and port: those have no such limit",
        )
    value = np.zeros(1, layout.VIP_RULES_VALUE)
    value["count"] = len(rules)
    value["rules"][0, : len(rules)] = rules
    return value


def parse(entries: Iterable[tuple[bytes, bytes]]) -> dict[int, VipEntry]:
    """Return the VIPs in a trie's keys and values, by id, without their limits.

    The shortest prefix that has a VIP is the VIP's own: the others have it from there.
    """
    vips: dict[int, VipEntry] = {}
    for key, data in sorted(entries):
        value = np.frombuffer(data, layout.VIP_RULES_VALUE)[0]
        for rule in value["rules"][: int(value["count"])]:
            vip_id = int(rule["vip"]["id"])
            if vip_id not in vips:
                vips[vip_id] = vip_codec.decode(rule["vip"], _vip_key(key, rule))
    return vips


def _vip_key(key: bytes, rule: np.void) -> VipKey:
    length, packed = int.from_bytes(key[:4], "little"), key[4:]
    address = IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)
    number = next(number for number, bit in PROTOCOL_BITS.items() if rule["protocols"] & bit)
    protocol = vip_codec.protocol_of(rule["vip"], number)
    return VipKey(address, int(rule["first_port"]), protocol, length, int(rule["last_port"]))
