# SPDX-License-Identifier: Apache-2.0
"""The hash of a flow and the slot it falls into, as bpf/lib/flow_hash.h computes them, but for many flows at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xdplb.model.vip import HashKind

__all__ = ["HASH6_ODD", "HASH_SEED", "TABLE_SIZE", "flow_hash", "flow_hash6", "slot_of", "slots_of_flows"]

TABLE_SIZE = 65537
"""Slots of a table. It is prime, so that steps of any size visit all slots."""

HASH_SEED = 0x9E3779B97F4A7C15
"""The same constant everywhere: all balancers of a cluster must agree on the slot of a flow."""

HASH6_ODD = 0x9FB21C651E98DF25
"""The upper half of an IPv6 address is multiplied by this before it is mixed with the lower half."""


def flow_hash(
    source: ArrayLike,
    source_port: ArrayLike,
    destination_port: ArrayLike,
    kind: HashKind = HashKind.FIVE_TUPLE,
    *,
    destination: ArrayLike = 0,
) -> NDArray[np.uint64]:
    """Return the 64-bit hash of each IPv4 flow. Addresses and ports are numbers in host order, scalars or columns.

    `kind` says what it depends on; `destination` matters only to `addresses`.
    """
    # The program reads addresses and ports in network order on a little-endian CPU, so it sees their bytes swapped.
    client = np.atleast_1d(np.asarray(source, np.uint32)).byteswap().astype(np.uint64)
    if kind is HashKind.ADDRESSES:
        asked = np.asarray(destination, np.uint32).byteswap().astype(np.uint64)
        return _mix(client ^ asked << np.uint64(32) ^ np.uint64(HASH_SEED))
    return _mix(_key(kind, client, source_port, destination_port) ^ np.uint64(HASH_SEED))


def flow_hash6(
    source: ArrayLike,
    source_port: ArrayLike,
    destination_port: ArrayLike,
    kind: HashKind = HashKind.FIVE_TUPLE,
    *,
    destination: ArrayLike = (0, 0),
) -> NDArray[np.uint64]:
    """Return the 64-bit hash of each IPv6 flow, as `flow_hash` does.

    An address is two 64-bit numbers, the upper half first: `source` and `destination` have shape (2,) or (n, 2).
    """
    client = _folded(source)
    if kind is HashKind.ADDRESSES:
        return _mix(client ^ _folded(destination) * np.uint64(HASH6_ODD) ^ np.uint64(HASH_SEED))
    return _mix(_key(kind, client, source_port, destination_port) ^ np.uint64(HASH_SEED))


def slot_of(hashes: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Return the slot of each hash, 0 to TABLE_SIZE - 1: its upper half, scaled."""
    slots: NDArray[np.uint64] = (hashes >> np.uint64(32)) * np.uint64(TABLE_SIZE) >> np.uint64(32)
    return slots.astype(np.uint32)


def slots_of_flows(
    version: int,
    source: NDArray[np.uint64],
    source_port: NDArray[np.uint16],
    destination: NDArray[np.uint64],
    destination_port: NDArray[np.uint16],
    *,
    kind: HashKind,
) -> NDArray[np.uint32]:
    """Return the slots of flows of one IP version. Addresses have shape (n, 2), an IPv4 address in the lower half."""
    if version == 6:
        return slot_of(flow_hash6(source, source_port, destination_port, kind, destination=destination))
    return slot_of(flow_hash(source[:, 1], source_port, destination_port, kind, destination=destination[:, 1]))


def _key(
    kind: HashKind, client: NDArray[np.uint64], source_port: ArrayLike, destination_port: ArrayLike
) -> NDArray[np.uint64]:
    """Return what is hashed of each flow, unless it is of both addresses."""
    if kind is HashKind.SOURCE:
        return client
    if kind is HashKind.DESTINATION_PORT:
        return np.broadcast_to(
            _ports(0, destination_port), np.broadcast_shapes(client.shape, np.shape(destination_port))
        )
    return client ^ _ports(source_port, destination_port)


def _folded(address: ArrayLike) -> NDArray[np.uint64]:
    """Return IPv6 addresses, of shape (2,) or (n, 2), as one word each."""
    halves = np.atleast_2d(np.asarray(address, np.uint64)).byteswap()
    folded: NDArray[np.uint64] = halves[:, 0] * np.uint64(HASH6_ODD) ^ halves[:, 1]
    return folded


def _ports(source_port: ArrayLike, destination_port: ArrayLike) -> NDArray[np.uint64]:
    """Return both ports as the program reads them, in the upper half of a 64-bit word."""
    source = np.asarray(source_port, np.uint16).byteswap().astype(np.uint64)
    destination = np.asarray(destination_port, np.uint16).byteswap().astype(np.uint64)
    ports: NDArray[np.uint64] = (source | destination << np.uint64(16)) << np.uint64(32)
    return ports


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Apply the finalizer of MurmurHash3 (A. Appleby, public domain)."""
    x = (x ^ x >> np.uint64(33)) * np.uint64(0xFF51AFD7ED558CCD)
    x = (x ^ x >> np.uint64(33)) * np.uint64(0xC4CEB9FE1A85EC53)
    return x ^ x >> np.uint64(33)
