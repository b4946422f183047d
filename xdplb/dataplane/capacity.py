# SPDX-License-Identifier: Apache-2.0
"""Checks what a data plane refuses before it touches a map, and makes the errors that say what is full."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from xdplb.balance.rotation import check_candidates
from xdplb.model.errors import CapacityError, InvalidError

from . import layout
from .plane import Capacity, Slots, VipEntry

__all__ = [
    "MAX_BACKEND_ID",
    "check_access_lists",
    "check_backends",
    "check_frame",
    "check_table",
    "check_vips",
    "full",
    "growth_hint",
    "too_low",
    "too_many",
]

MAX_BACKEND_ID = 0xFFFE  # 0xffff marks a pinned slot
FRAME_BYTES = range(14, 3521)  # an Ethernet header, to what fits a page with the room in front and behind


def full(what: str, used: int, capacity: int) -> CapacityError:
    """Return the error for one more of `what` (`VIPs`, `backends` or `flows`) than there is room for."""
    return CapacityError(f"the data plane is full: {used} of {capacity} {what}", hint=growth_hint(what))


def growth_hint(what: str) -> str:
    """Return how to make room for more of `what` (`VIPs`, `backends` or `flows`)."""
    return f"restart xdplb up with a larger --max-{what.lower()}: traffic is not interrupted"


def too_low(what: str, asked: int, used: str, least: int) -> CapacityError:
    """Return the error for room for fewer of `what` (`vips`, `backends` or `flows`) than are in use."""
    return CapacityError(
        f"--max-{what} {asked} is too low: {used}", hint=f"give {least} or more, or remove what is not needed first"
    )


def too_many(what: str, count: int, limit: int, *, hint: str) -> CapacityError:
    """Return the error for a number that no restart raises, such as that of access lists."""
    return CapacityError(f"too many {what}: {count}, the limit is {limit}", hint=hint)


def check_vips(capacity: Capacity, vips: Sequence[VipEntry], others: Collection[int] = ()) -> None:
    """Raise CapacityError if there are more VIPs, a larger id, or more candidates of a VIP, than the maps hold.

    `others` are the ids of VIPs that are there beside these `vips`.
    """
    ids = {vip.id for vip in vips}
    if len({vip.key for vip in vips}) < len(vips) or len(ids) < len(vips) or any(number in others for number in ids):
        raise ValueError("a VIP or its id is given twice")
    if len(vips) + len(others) > capacity.vips:
        raise too_many("VIPs", len(vips) + len(others), capacity.vips, hint=growth_hint("VIPs"))
    for vip in vips:
        _check_id("VIP", vip.id, range(capacity.vips))
        check_candidates(vip.candidates)


def check_access_lists(count: int) -> None:
    """Raise CapacityError if there are more access lists than the maps hold."""
    if count > layout.ACCESS_LISTS:
        raise too_many(
            "access lists",
            count,
            layout.ACCESS_LISTS,
            hint="remove the lists of some VIPs, and filter for those elsewhere",
        )


def check_table(capacity: Capacity, vip_id: int, slots: Slots) -> None:
    """Raise CapacityError for an id the maps have no room for, ValueError for slots of another shape."""
    _check_id("VIP", vip_id, range(capacity.vips))
    if slots.shape != (layout.TABLE_SIZE,) or slots.dtype != np.uint32:
        raise ValueError(f"a table is {layout.TABLE_SIZE} slots of uint32, this is {slots.shape} of {slots.dtype}")


def check_backends(capacity: Capacity, ids: Collection[int]) -> None:
    """Raise CapacityError if a backend's id is above what the maps hold."""
    allowed = range(1, min(capacity.backends, MAX_BACKEND_ID) + 1)
    for backend_id in ids:
        _check_id("backend", backend_id, allowed)


def check_frame(frame: bytes) -> None:
    """Raise InvalidError if the kernel cannot run a frame of this length."""
    if len(frame) not in FRAME_BYTES:
        raise InvalidError.field(
            "/frame",
            f"a frame of {len(frame)} bytes cannot be run",
            hint=f"give one of {FRAME_BYTES[0]} to {FRAME_BYTES[-1]} bytes, with its Ethernet header",
        )


def _check_id(what: str, number: int, allowed: range) -> None:
    if number not in allowed:
        raise CapacityError(f"{what} id {number} is above the limit of {allowed[-1]}", hint=growth_hint(f"{what}s"))
