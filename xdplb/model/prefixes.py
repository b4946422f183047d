# SPDX-License-Identifier: Apache-2.0
"""Sets of prefixes as arrays: hundreds of thousands of network objects would take seconds to create and compare."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

import numpy as np
from numpy.typing import NDArray

from .address import IPAddress, IPNetwork, parse_network
from .errors import InvalidError

__all__ = ["Prefixes"]

_KINDS: dict[int, type[IPNetwork]] = {4: IPv4Network, 6: IPv6Network}
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_BITS = {4: 32, 6: 128}
_PACKED = {4: np.dtype([("words", ">u4", 1), ("length", "u1")]), 6: np.dtype([("words", ">u8", 2), ("length", "u1")])}
"""A prefix as bytes: its address in network byte order, then its length."""

_LENGTHS = {
    version: {"": bytes([bits])} | {f"/{length}": bytes([length]) for length in range(bits + 1)}
    for version, bits in _BITS.items()
}
"""What may follow an address, and the byte for it in the packed form."""


@dataclass(frozen=True, slots=True, eq=False)
class Prefixes:
    """Prefixes of one family, without duplicates. `version` is 4 or 6; it has no meaning if there are no prefixes.

    They are sorted by address, then length. `starts` are their first addresses: of shape (1, n) for IPv4, and for IPv6
    (2, n) with the upper halves first. Iterating gives network objects.
    """

    version: int
    starts: NDArray[np.uint64]
    lengths: NDArray[np.uint8]

    @classmethod
    def of(cls, networks: Iterable[IPNetwork]) -> Prefixes:
        """Return the set of these networks, which must be of one family."""
        if isinstance(networks, Prefixes):
            return networks
        given = list(networks)
        version = given[0].version if given else 4
        return cls.unpack(version, b"".join(one.network_address.packed + bytes([one.prefixlen]) for one in given))

    @classmethod
    def parse(cls, texts: Sequence[str], version: int, pointer: str) -> Prefixes:
        """Return the set of the prefixes in `texts`, all of IP version `version`.

        InvalidError points to the first that is wrong, such as `/deny/17` with the pointer `/deny`.
        """
        data = b"".join(_pack(text, version, pointer, place) for place, text in enumerate(texts))
        starts, lengths = _columns(data, version)
        if len(beyond := np.flatnonzero((starts & ~_masks(lengths, version)).any(axis=0))):
            place = int(beyond[0])
            parse_network(texts[place], f"{pointer}/{place}")  # raises InvalidError: it has host bits
        return cls(version, *_in_order(starts, lengths))

    @classmethod
    def unpack(cls, version: int, data: bytes) -> Prefixes:
        """Return the set that `pack` turned into `data`."""
        return cls(version, *_in_order(*_columns(data, version)))

    def pack(self) -> bytes:
        """Return all prefixes as bytes: for each its address in network byte order and its length."""
        packed = np.empty(len(self), _PACKED[self.version])
        packed["words"], packed["length"] = self.starts.T, self.lengths
        return packed.tobytes()

    def texts(self) -> list[str]:
        """Return each as text, such as `192.0.2.0/24`; much faster than by network objects."""
        data, family, size = self.pack(), _FAMILIES[self.version], _PACKED[self.version].itemsize
        ends = [f"/{length}" for length in range(_BITS[self.version] + 1)]
        name = socket.inet_ntop
        return [name(family, data[at : at + size - 1]) + ends[data[at + size - 1]] for at in range(0, len(data), size)]

    def longest(self, address: IPAddress) -> IPNetwork | None:
        """Return the longest prefix that contains `address`, None if none does."""
        if address.version != self.version:
            return None
        words, _ = _columns(address.packed + b"\0", self.version)
        holding = np.flatnonzero((self.starts == words & _masks(self.lengths, self.version)).all(axis=0))
        return self._network(int(holding[-1])) if len(holding) else None  # those that contain it are sorted by length

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[IPNetwork]:
        return map(self._network, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Prefixes):
            return NotImplemented
        if not len(self) or not len(other):
            return len(self) == len(other)
        return (
            self.version == other.version
            and np.array_equal(self.lengths, other.lengths)
            and np.array_equal(self.starts, other.starts)
        )

    def __hash__(self) -> int:
        return hash(self.pack())

    def _network(self, place: int) -> IPNetwork:
        value = 0
        for word in self.starts[:, place].tolist():
            value = value << 64 | word
        return _KINDS[self.version]((value, int(self.lengths[place])))


def _pack(text: str, version: int, pointer: str, place: int) -> bytes:
    """Return the prefix in `text` in packed form; host bits are not removed."""
    address, slash, length = text.partition("/")
    try:
        return socket.inet_pton(_FAMILIES[version], address) + _LENGTHS[version][slash + length]
    except (OSError, KeyError, ValueError):
        prefix = parse_network(text, f"{pointer}/{place}")  # raises InvalidError, or it is one with a netmask
    if prefix.version != version:
        raise InvalidError.field(
            f"{pointer}/{place}",
            f"no packet to this VIP can come from {prefix}: the VIP is IPv{version}",
            hint=f"give IPv{version} prefixes",
        )
    return prefix.network_address.packed + bytes([prefix.prefixlen])


def _columns(data: bytes, version: int) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    packed = np.frombuffer(data, _PACKED[version])
    return np.ascontiguousarray(packed["words"].T, np.uint64), np.ascontiguousarray(packed["length"])


def _in_order(starts: NDArray[np.uint64], lengths: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    order = np.lexsort([lengths, *starts[::-1]])  # the last key counts most: the upper half of the addresses
    starts, lengths = starts[:, order], lengths[order]
    is_new = np.ones(len(lengths), np.bool_)
    is_new[1:] = (starts[:, 1:] != starts[:, :-1]).any(axis=0) | (lengths[1:] != lengths[:-1])
    return starts[:, is_new], lengths[is_new]


def _masks(lengths: NDArray[np.uint8], version: int) -> NDArray[np.uint64]:
    """Return the netmask of each length, in the shape of `starts`."""
    size = 32 if version == 4 else 64
    words = [sum(1 << size - 1 - bit for bit in range(length)) for length in range(size + 1)]
    table = np.array(words, np.uint64)
    whole = lengths.astype(np.intp)
    return np.stack([table[np.clip(whole - first, 0, size)] for first in range(0, _BITS[version], size)])
