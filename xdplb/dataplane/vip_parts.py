# SPDX-License-Identifier: Apache-2.0
"""Where VIPs lie in the kernel's maps: in the index of their family, or in its trie. A change costs what it changes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from xdplb.model.key import Protocol

from . import vip_index, vip_prefixes
from .plane import Capacity, VipEntry
from .source import vip_groups, vip_groups6

__all__ = ["FAMILIES", "Part", "VipParts", "groups_of"]

FAMILIES = {4: vip_index.IPV4, 6: vip_index.IPV6}

Part = tuple[int, bool]
"""Which of the four a VIP lies in: its address's version, and whether in the index (else in the trie)."""

_Place = tuple[int, int, int]
"""The version of an address, the address, and a port."""


_Row = tuple[int, int, int]
"""The address, port and protocol of an entry in an index."""

_ADDRESS = (0, 0)
"""Port and protocol of the entry that says that an address has VIPs, by which fragments are known."""


class VipParts:
    """The VIPs by where they lie. What a change does not touch costs nothing."""

    def __init__(self, vips: Sequence[VipEntry] = ()) -> None:
        self.vips: dict[int, VipEntry] = {}
        """All VIPs, by id."""
        self._at: defaultdict[_Place, dict[int, VipEntry]] = defaultdict(dict)
        self._rows: dict[int, dict[_Row, bytes]] = {4: {}, 6: {}}
        self._addresses: Counter[tuple[int, int]] = Counter()
        self._tries: dict[int, dict[int, VipEntry]] = {4: {}, 6: {}}
        self.replace(vips, ())

    def replace(self, vips: Iterable[VipEntry], instead_of: Collection[int]) -> set[Part]:
        """Put these VIPs in place of those with the ids `instead_of`; return the parts that differ afterwards."""
        old = {vip_id: self.vips[vip_id] for vip_id in instead_of if vip_id in self.vips}
        new = {vip.id: vip for vip in vips}
        if same := {vip_id for vip_id, vip in new.items() if old.get(vip_id) == vip}:
            old = {vip_id: vip for vip_id, vip in old.items() if vip_id not in same}
            new = {vip_id: vip for vip_id, vip in new.items() if vip_id not in same}
        touched: set[Part] = set()
        places: dict[_Place, None] = {}
        for vip in old.values():
            del self.vips[vip.id]
            places |= self._take(vip, touched)
        for vip in new.values():
            self.vips[vip.id] = vip
            places |= self._put(vip, touched)
        for version in (4, 6):
            mine = [place for place in places if place[0] == version]
            if mine:
                touched |= self._arrange(version, mine)
        return touched

    def build(
        self, capacity: Capacity, part: Part, seeds: Sequence[int] | None
    ) -> NDArray[np.void] | vip_prefixes.Rules:
        """Return the index or the rules of a part; CapacityError if its VIPs do not fit. `seeds` are tried first."""
        version, exact = part
        if not exact:
            return vip_prefixes.build(list(self._tries[version].values()))
        return FAMILIES[version].place(self.entries(version), groups_of(capacity, version), seeds)

    def entries(self, version: int) -> NDArray[np.void]:
        """Return the entries of the index of this family, also those that only say that an address has VIPs."""
        return np.frombuffer(b"".join(self._rows[version].values()), FAMILIES[version].entry)

    def _take(self, vip: VipEntry, touched: set[Part]) -> dict[_Place, None]:
        version = vip.key.address.version
        if self._tries[version].pop(vip.id, None) is not None:
            touched.add((version, False))
        if not vip.key.is_exact:
            return {}
        place = _place(vip)
        del self._at[place][vip.id]
        self._addresses[place[:2]] -= 1
        return {place: None}

    def _put(self, vip: VipEntry, touched: set[Part]) -> dict[_Place, None]:
        version = vip.key.address.version
        if not vip.key.is_exact:
            self._tries[version][vip.id] = vip
            touched.add((version, False))
            return {}
        place = _place(vip)
        self._at[place][vip.id] = vip
        self._addresses[place[:2]] += 1
        return {place: None}

    def _arrange(self, version: int, places: Iterable[_Place]) -> set[Part]:
        """Make the rows of these places anew; return the parts that this touches.

        A VIP of both protocols behind two of one protocol each has no row to be read from, so it lies in the trie.
        """
        rows, trie = self._rows[version], self._tries[version]
        touched: set[Part] = {(version, True)}
        wanted: dict[_Row, VipEntry | None] = {}
        for place in places:
            _, address, port = place
            vips = self._at[place]
            found = {
                (address, port, number): vip
                for vip in sorted(vips.values(), key=lambda vip: vip.key.rank)
                for number in vip.key.protocol.numbers
            }
            seen = {vip.id for vip in found.values()}
            for vip in vips.values():
                if vip.id not in seen:
                    trie[vip.id] = vip
                    touched.add((version, False))
                elif trie.pop(vip.id, None) is not None:
                    touched.add((version, False))
            for number in Protocol.BOTH.numbers:
                rows.pop((address, port, number), None)
            wanted |= found
            if not vips:
                del self._at[place]
            if self._addresses[place[:2]]:
                wanted[address, *_ADDRESS] = None
            else:
                del self._addresses[place[:2]]
                rows.pop((address, *_ADDRESS), None)
        rows.update(zip(wanted, FAMILIES[version].rows(list(wanted), list(wanted.values())), strict=True))
        return touched


def groups_of(capacity: Capacity, version: int) -> int:
    """Return how many groups the index of this family has."""
    return vip_groups(capacity) if version == 4 else vip_groups6(capacity)


def _place(vip: VipEntry) -> _Place:
    return vip.key.address.version, int(vip.key.address), vip.key.port
