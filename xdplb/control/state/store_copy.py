# SPDX-License-Identifier: Apache-2.0
"""What a balancer knows of the store that its state is a copy of: which one, how far, and where the two differ."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from xdplb.control.state.desired import DesiredBackend
from xdplb.control.state.entries import Json, text_of
from xdplb.model.address import IPAddress
from xdplb.model.vip import VipKey

__all__ = ["NO_COPY", "Digest", "Odd", "Pending", "Place", "StoreCopy"]

Place = tuple[VipKey, IPAddress]
"""A backend of a VIP."""

_DIGESTS = 1 << 256


@dataclass(frozen=True, slots=True)
class Digest:
    """A digest of entries: the sum of the SHA-256 of each, so that a change costs what it touches.

    Equal sets of entries have equal digests, in whatever order they came, and other sets have others.
    """

    number: int = 0

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Return the digest with this text; ValueError if it is none."""
        return cls(int(text, 16))

    def changed(self, path: str, before: Json | None, after: Json | None) -> Digest:
        """Return the digest after the entry at `path` has become another one; None where there is none."""
        return Digest((self.number - _hash(path, before) + _hash(path, after)) % _DIGESTS)

    def __str__(self) -> str:
        return f"{self.number:064x}"


def _hash(path: str, entry: Json | None) -> int:
    """Return the number of an entry. Its generation is not in it: it says when, not what."""
    if entry is None:
        return 0
    fields = {name: value for name, value in entry.items() if name != "generation"}
    return int.from_bytes(hashlib.sha256(f"{path}\0{text_of(fields)}".encode()).digest())


@dataclass(frozen=True, slots=True)
class Odd:
    """An entry that is not what this node would write: as it is in the store, None if it is not there.

    `reason` is why it is not taken here, as a sentence; empty if it only has what this version does not know.
    """

    value: Json | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Pending:
    """A backend that was changed here while the store was away: as it is in the store, and at which generation.

    `vip_generation` is that of its VIP there.
    """

    base: DesiredBackend
    generation: int
    vip_generation: int


@dataclass(frozen=True, slots=True)
class StoreCopy:
    """Of which state in a store this one is a copy: its lineage, empty if of none, its generation and digest.

    `head` is the head as it was read. `odd` are the entries that differ from what is desired here, by path.
    """

    lineage: str = ""
    generation: int = 0
    digest: Digest = Digest()
    head: Json = field(default_factory=dict)
    odd: Mapping[str, Odd] = field(default_factory=dict)
    pending: Mapping[Place, Pending] = field(default_factory=dict)

    def refused(self) -> dict[str, str]:
        """Return what is not taken here, by path, and why."""
        return {path: odd.reason for path, odd in self.odd.items() if odd.reason}


NO_COPY = StoreCopy()
"""There is no store, or the state has never been in one."""
