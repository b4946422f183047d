# SPDX-License-Identifier: Apache-2.0
"""What a change does to VIPs and their backends, found at the cost of what it changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xdplb.control.state.differing import differing
from xdplb.control.state.snapshot import BoundBackend, BoundVip, Snapshot
from xdplb.model.address import IPAddress
from xdplb.model.vip import VipKey

__all__ = ["Touched", "touched"]


@dataclass(frozen=True, slots=True)
class Touched:
    """A VIP that is not the same after a change: before it and after it, None where it is not there.

    `lost` are the backends that the change has taken from it, `got` those that it has given to it; one that it changed
    is in both, as it was and as it is.
    """

    key: VipKey
    before: BoundVip | None
    after: BoundVip | None
    lost: tuple[BoundBackend, ...]
    got: tuple[BoundBackend, ...]


def touched(before: Snapshot, after: Snapshot) -> list[Touched]:
    """Return the VIPs that differ, in no particular order."""
    return [_touched(key, before.vips.get(key), after.vips.get(key)) for key in differing(before.vips, after.vips).all]


def _touched(key: VipKey, before: BoundVip | None, after: BoundVip | None) -> Touched:
    held, wanted = _backends(before), _backends(after)
    backends = differing(held, wanted)
    lost = tuple([held[address] for address in backends.past])
    return Touched(key, before, after, lost, tuple([wanted[address] for address in backends.present]))


def _backends(vip: BoundVip | None) -> Mapping[IPAddress, BoundBackend]:
    return {} if vip is None else vip.backends
