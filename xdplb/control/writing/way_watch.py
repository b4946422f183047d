# SPDX-License-Identifier: Apache-2.0
"""What of this host's own ways to the backends was taken away: routes, addresses to send from, neighbour entries.

None of these is xdplb's to put back but the neighbour entries, which it asks for anew. A backend that no longer answers
is none of this; its health and its next hop tell of it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet

from xdplb.control.events import DriftKind
from xdplb.control.writing.drifts import Drifts
from xdplb.model.address import IPAddress
from xdplb.model.next_hop import Lack, NeighbourEdit
from xdplb.net.next_hops import NextHopSource

__all__ = ["WayWatch"]

_BACKENDS = "backends"
_KINDS = {Lack.ROUTE: DriftKind.ROUTE, Lack.ADDRESS: DriftKind.ADDRESS}


class WayWatch:
    """Notes what was taken away and what is back. Used in the event loop."""

    def __init__(self, next_hops: NextHopSource, drifts: Drifts) -> None:
        self._next_hops, self._drifts = next_hops, drifts
        self._had: set[IPAddress] = set()
        self._lost: dict[DriftKind, dict[IPAddress, str]] = {kind: {} for kind in _KINDS.values()}

    def changed(self, addresses: Collection[IPAddress]) -> None:
        """Look at what the next hops of these addresses lack now."""
        for address in addresses:
            resolution = self._next_hops.lookup(address)
            kind = None if resolution.lacks is None else _KINDS[resolution.lacks]
            if resolution.next_hop is not None:
                self._had.add(address)
            for each, lost in self._lost.items():
                if each is kind and address in self._had:  # one that never had a way is a mistake of a change
                    lost[address] = resolution.reason
                else:
                    lost.pop(address, None)
        self._say()

    def keep(self, addresses: AbstractSet[IPAddress]) -> None:
        """Forget all other addresses: no backend has them any more."""
        self._had &= addresses
        for lost in self._lost.values():
            for address in lost.keys() - addresses:
                del lost[address]
        self._say()

    def edited(self, edits: Sequence[NeighbourEdit]) -> None:
        """Tell of neighbour entries that another process changed: of thousands at once in one line."""
        for edit in edits:
            self._say_fixed(edit)
        removed = [edit for edit in edits if edit.fixed is None and not edit.freed]
        if removed:
            first, more = removed[0], _and_more(len(removed) - 1, "entries")
            reason = (
                f"the neighbour entry of {first.address} on {first.interface} was removed{more}; it is asked for again,"
                " and the MAC known so far is used meanwhile"
            )
            self._drifts.noted(DriftKind.NEIGHBOUR, str(first.address), reason, repaired=True)

    def _say_fixed(self, edit: NeighbourEdit) -> None:
        if edit.fixed is not None:
            reason = (
                f"a permanent neighbour entry on {edit.interface} says that {edit.address} has the MAC"
                f" {edit.fixed.hex(':')}, which is not the one that it answered with; packets go there: if that is"
                f" wrong, ip neigh del {edit.address} dev {edit.interface}"
            )
            self._drifts.stands(DriftKind.NEIGHBOUR, str(edit.address), reason)
        else:
            self._drifts.well(DriftKind.NEIGHBOUR, str(edit.address))

    def _say(self) -> None:
        for kind, lost in self._lost.items():
            if lost:
                first = next(iter(lost.values()))
                self._drifts.stands(kind, _BACKENDS, f"{first}{_and_more(len(lost) - 1, 'backends')}")
            else:
                self._drifts.well(kind, _BACKENDS)


def _and_more(number: int, what: str) -> str:
    return f", and so for {number} more {what}" if number else ""
