# SPDX-License-Identifier: Apache-2.0
"""Which backend gets a new flow if the VIP's scheduler chooses per connection, not by the flow's hash."""

from __future__ import annotations

from xdplb.balance.hashing import TABLE_SIZE
from xdplb.dataplane.plane import VipEntry

from .config import Config
from .journey import Journey
from .slot import NO_BACKEND, other_slot_number, slot_number

__all__ = ["schedule"]

STRIDE = 8191
"""Each CPU counts its own new flows, and begins this many slots after the one before it."""


def schedule(journey: Journey, vip: VipEntry, hashed: int) -> int:
    """Return the id of the backend whose turn it is, or that has the least load; 0 if there is none."""
    if vip.scheduler.takes_turns:
        return _next_in_rotation(journey, vip, hashed)
    if vip.scheduler.compares_all:
        return _least_loaded(journey, vip, hashed)
    return _better_of_two(journey, vip, hashed)


def _next_in_rotation(journey: Journey, vip: VipEntry, hashed: int) -> int:
    """Return the owner of the next slot: the table of a rotation has the backends in the order of their turns.

    If that backend is not usable, return the owner of the flow's slot. A turn ends only when a flow is sent, so all new
    flows would else wait until the control plane takes the backend out of the table.
    """
    turn = journey.state.new_flows.get((vip.id, journey.cpu), 0) + journey.cpu * STRIDE
    owner = journey.config.slot(vip.id, turn % TABLE_SIZE).owner
    return owner if journey.config.is_usable(owner) else journey.config.slot(vip.id, slot_number(hashed)).owner


def _least_loaded(journey: Journey, vip: VipEntry, hashed: int) -> int:
    """Return the usable candidate with the lowest load for its weight, the new flow included.

    The first slots of the table name each candidate once. Of equals the first wins, counted from a place that depends
    on the flow, so that a burst of new flows does not all go to the same one.
    """
    if not vip.candidates:
        return NO_BACKEND
    start = (hashed >> 32) * vip.candidates >> 32
    places = [(start + step) % vip.candidates for step in range(vip.candidates)]
    best, *others = [journey.config.slot(vip.id, place).owner for place in places]
    for candidate in others:
        best = _better(journey, best, candidate)
    return best


def _better_of_two(journey: Journey, vip: VipEntry, hashed: int) -> int:
    """Return the less loaded of two owners picked at random (M. Mitzenmacher, The Power of Two Choices, 1996)."""
    first = journey.config.slot(vip.id, slot_number(hashed)).owner
    second = journey.config.slot(vip.id, other_slot_number(hashed)).owner
    return _better(journey, first, second)


def _better(journey: Journey, one: int, other: int) -> int:
    """Return the usable one with the lower load for its weight, the new flow included; `one` if they are equal."""
    config, loads = journey.config, journey.state.loads
    if not config.is_usable(other):
        return one
    if not config.is_usable(one):
        return other
    flows_one, flows_other = loads.get(one, 0) + 1, loads.get(other, 0) + 1
    # flows_other / weight_other < flows_one / weight_one, without dividing
    return other if flows_other * _weight(config, one) < flows_one * _weight(config, other) else one


def _weight(config: Config, backend_id: int) -> int:
    return config.backends[backend_id].weight
