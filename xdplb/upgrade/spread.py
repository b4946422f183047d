# SPDX-License-Identifier: Apache-2.0
"""Flows that meet what the maps hold: for each VIP, slots of every state and of many owners, and recorded flows."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xdplb.balance.hashing import flow_hash, flow_hash6, slot_of
from xdplb.dataplane import layout
from xdplb.dataplane.plane import Slots, VipEntry
from xdplb.dataplane.remembered import FlowId
from xdplb.model.address import IPAddress

__all__ = ["flows_of_vip", "recorded_flows"]

_CANDIDATES = 4096


def flows_of_vip(vip: VipEntry, table: Slots | None, count: int, chance: random.Random) -> list[FlowId]:
    """Return flows to a VIP: up to half of them in moving and pinned slots, then one of each owner, then others."""
    draw = np.random.default_rng(chance.getrandbits(64))
    ports = draw.integers(1024, 65535, _CANDIDATES, np.uint16)
    key = vip.key
    destination_port = chance.choice(key.ports)
    places = draw.integers(0, min(key.network.num_addresses, 1 << 32), _CANDIDATES, np.uint64)
    upper, lower = divmod(int(key.network[0]), 1 << 64)
    asked = np.uint64(lower) + places
    if key.address.version == 4:
        sources: NDArray[Any] = draw.integers(
            0x0B000001, 0x7EFFFFFF, _CANDIDATES, np.uint32
        )  # 11.0.0.1 to 126.255.255.255
        hashes = flow_hash(sources, ports, destination_port, vip.hash, destination=asked)
    else:
        halves = draw.integers(0, 1 << 63, (_CANDIDATES, 2), np.uint64)
        halves[:, 0] = halves[:, 0] >> np.uint64(3) | np.uint64(0x2000 << 48)  # 2000::/3, global unicast
        to = np.column_stack([np.full(_CANDIDATES, upper, np.uint64), asked])
        sources, hashes = halves, flow_hash6(halves, ports, destination_port, vip.hash, destination=to)
    found = []
    for place in _spread(hashes, table, count).tolist():
        destination = key.network[int(places[place])]
        protocol = chance.choice(key.protocol.numbers)
        source = _address(sources[place], key.address.version)
        found.append(FlowId(source, int(ports[place]), destination, destination_port, protocol))
    return found


def _spread(hashes: NDArray[np.uint64], table: Slots | None, count: int) -> NDArray[np.intp]:
    """Return which of the candidates to take."""
    if table is None:
        return np.arange(min(count, len(hashes)))
    slots = table[slot_of(hashes)]
    unsteady = np.flatnonzero(slots >> 16)[: count // 2]
    _, first_of_owner = np.unique(slots & 0xFFFF, return_index=True)
    rest = np.setdiff1d(np.arange(len(hashes)), np.concatenate([unsteady, first_of_owner]))
    return np.concatenate([unsteady, first_of_owner, rest])[:count]


def recorded_flows(records: Mapping[int, Sequence[bytes]], count: int) -> Iterator[FlowId]:
    """Yield flows that the tables have records of, `count` of each version of IP; `records` has their keys by it."""
    for version, keys in records.items():
        dtype = layout.FLOW_KEY if version == 4 else layout.FLOW6_KEY
        for raw in keys[:count]:
            key = np.frombuffer(raw, dtype)[0]
            source, destination = (_address(key[name], version) for name in ("source", "destination"))
            yield FlowId(
                source, int(key["source_port"]), destination, int(key["destination_port"]), int(key["protocol"])
            )


def _address(value: NDArray[Any], version: int) -> IPAddress:
    if version == 4:
        return IPv4Address(int(value))
    return IPv6Address(int(value[0]) << 64 | int(value[1]))
