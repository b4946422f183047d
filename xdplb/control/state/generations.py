# SPDX-License-Identifier: Apache-2.0
"""Generations: the number of the last change to each VIP and backend, which clients see as an ETag."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xdplb.control.state.desired import Desired, DesiredVip
from xdplb.control.state.differing import carried, differing
from xdplb.model.address import IPAddress
from xdplb.model.vip import VipKey

__all__ = ["Generations", "VipGenerations", "stamp"]


@dataclass(frozen=True, slots=True)
class VipGenerations:
    """The last change to a VIP or anything that belongs to it, and the last change to each of its backends."""

    latest: int
    backends: Mapping[IPAddress, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Generations:
    """The number of the last change of all, and of the last change to each VIP."""

    current: int = 0
    vips: Mapping[VipKey, VipGenerations] = field(default_factory=dict)


def stamp(before: Desired, after: Desired, generations: Generations) -> Generations:
    """Return the generations after a change. It is one generation, however much it changes."""
    current = generations.current + 1
    difference = differing(before.vips, after.vips)
    given = {key: _stamped(before.vips.get(key), after.vips[key], generations, current) for key in difference.present}
    return Generations(current, carried(generations.vips, difference.gone, given, after.vips))


def _stamped(old: DesiredVip | None, new: DesiredVip, generations: Generations, current: int) -> VipGenerations:
    if old is None:
        return VipGenerations(current, dict.fromkeys(new.backends, current))
    known = generations.vips[new.vip.key]
    if old == new:
        return known
    difference = differing(old.backends, new.backends)
    changed = [key for key in difference.changed if old.backends[key] != new.backends[key]]
    given = dict.fromkeys((*difference.new, *changed), current)
    return VipGenerations(current, carried(known.backends, difference.gone, given, new.backends))
