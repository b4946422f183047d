"""Which backend gets a new flow, where the VIP's scheduler does not leave it to the flow's hash."""

from __future__ import annotations

from xdplb.balance.hashing import TABLE_SIZE
from xdplb.dataplane.plane import VipEntry

from .config import NO_BACKEND, Config
from .flow_hash import other_slot_number, slot_number
from .journey import Journey

__all__ = ["schedule"]

STRIDE = 8191
"""CPUs count their new flows apart from each other: this keeps their rotations apart too."""


def schedule(journey: Journey, vip: VipEntry, hashed: int) -> int:
    """Return the id of the backend whose turn it is, or that has the least to do; 0 where there is none."""
    if vip.scheduler.takes_turns:
        return _next_in_rotation(journey, vip, hashed)
    if vip.scheduler.compares_all:
        return _least_loaded(journey, vip, hashed)
    return _better_of_two(journey, vip, hashed)


def _next_in_rotation(journey: Journey, vip: VipEntry, hashed: int) -> int:
    """Return the owner of the next slot: those of a rotation's table are in the order of their turns.

    Where it may not be sent to, the owner of the flow's slot: the turn ends only with a flow that is sent on, and the
    control plane may be about to take that backend out of the table.
    """
    turn = journey.state.new_flows.get((vip.id, journey.cpu), 0) + journey.cpu * STRIDE
    owner = journey.config.slot(vip.id, turn % TABLE_SIZE).owner
    return owner if journey.config.is_usable(owner) else journey.config.slot(vip.id, slot_number(hashed)).owner


def _least_loaded(journey: Journey, vip: VipEntry, hashed: int) -> int:
    """Return the usable candidate that would have the fewest flows for its weight with the new one.

    The first slots of the table name each candidate once. Of equal ones the first wins, counted from a place that
    depends on the flow, so that a row of new flows does not all go to one.
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
    """Return the usable one that would have fewer flows for its weight with the new one; `one` where that leaves both.

    Flows for weight are fractions, compared without dividing.
    """
    config, loads = journey.config, journey.state.loads
    if not config.is_usable(other):
        return one
    if not config.is_usable(one):
        return other
    flows_one, flows_other = loads.get(one, 0) + 1, loads.get(other, 0) + 1
    return other if flows_other * _weight(config, one) < flows_one * _weight(config, other) else one


def _weight(config: Config, backend_id: int) -> int:
    return config.backends[backend_id].weight
