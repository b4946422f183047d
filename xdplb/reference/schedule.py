"""Which backend gets a new flow, where the VIP's scheduler does not leave it to the flow's hash."""

from __future__ import annotations

from xdplb.balance.hashing import TABLE_SIZE
from xdplb.dataplane.plane import VipEntry
from xdplb.model.vip import Scheduler

from .config import NO_BACKEND, Config
from .flow_hash import other_slot_number, slot_number
from .journey import Journey

__all__ = ["schedule"]

STRIDE = 8191
"""CPUs count their new flows apart from each other: this keeps their rotations apart too."""


def schedule(journey: Journey, vip: VipEntry, hashed: int) -> int:
    """Return the id of the backend whose turn it is, or that has the least to do; 0 where there is none."""
    if vip.scheduler in {Scheduler.RR, Scheduler.WRR}:
        return _next_in_rotation(journey, vip)
    if vip.scheduler in {Scheduler.LC, Scheduler.WLC}:
        return _least_loaded(journey, vip, hashed)
    return _better_of_two(journey, vip, hashed)


def _next_in_rotation(journey: Journey, vip: VipEntry) -> int:
    """Return the owner of the next slot: those of a rotation's table are in the order of their turns."""
    turn = journey.state.new_flows.get((vip.id, journey.cpu), 0) + journey.cpu * STRIDE
    return journey.config.slot(vip.id, turn % TABLE_SIZE).owner


def _least_loaded(journey: Journey, vip: VipEntry, hashed: int) -> int:
    """Return the usable candidate with the fewest flows for its weight.

    The first slots of the table name each candidate once. Of equal ones the first wins, counted from a place that
    depends on the flow, so that a row of new flows does not all go to one.
    """
    start = (hashed >> 32) * vip.candidates >> 32
    best = NO_BACKEND
    for step in range(vip.candidates):
        candidate = journey.config.slot(vip.id, (start + step) % vip.candidates).owner
        if not journey.config.is_usable(candidate):
            continue
        if best == NO_BACKEND or _has_less_to_do(journey, candidate, best):
            best = candidate
    return best


def _better_of_two(journey: Journey, vip: VipEntry, hashed: int) -> int:
    """Return the less loaded of two owners picked at random (M. Mitzenmacher, The Power of Two Choices, 1996)."""
    config = journey.config
    first = config.slot(vip.id, slot_number(hashed)).owner
    second = config.slot(vip.id, other_slot_number(hashed)).owner
    if not config.is_usable(second):
        return first
    return second if not config.is_usable(first) or _has_less_to_do(journey, second, first) else first


def _has_less_to_do(journey: Journey, one: int, other: int) -> bool:
    """Whether `one` has fewer flows for its weight than `other`: compared as fractions, without dividing."""
    loads = journey.state.loads
    return loads.get(one, 0) * _weight(journey.config, other) < loads.get(other, 0) * _weight(journey.config, one)


def _weight(config: Config, backend_id: int) -> int:
    return config.backends[backend_id].weight
