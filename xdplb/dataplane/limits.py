"""What a data plane refuses before it touches a map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xdplb.model.errors import CapacityError, InvalidError

from . import layout
from .plane import Capacity, Slots, VipEntry

__all__ = ["MAX_BACKEND_ID", "check_backends", "check_frame", "check_table", "check_vips"]

MAX_BACKEND_ID = 0xFFFE  # 0xffff marks a pinned slot
MAX_CANDIDATES = 128  # as many as bpf/lib/schedule.h compares
FRAME_BYTES = range(14, 3521)  # an Ethernet header, to what fits a page with the room in front and behind


def check_vips(capacity: Capacity, vips: Sequence[VipEntry]) -> None:
    """Raise CapacityError where there are more VIPs, or a larger id, than the maps hold."""
    if len({vip.key for vip in vips}) < len(vips) or len({vip.id for vip in vips}) < len(vips):
        raise ValueError("a VIP or its id is there twice")
    if len(vips) > capacity.vips:
        raise CapacityError(
            f"{len(vips)} VIPs are more than the {capacity.vips} that the maps hold", hint=_remedy("--max-vips")
        )
    for vip in vips:
        _check_id("VIP", vip.id, range(capacity.vips), "--max-vips")
        if vip.candidates > MAX_CANDIDATES:
            raise CapacityError(
                f"{vip.key} would choose by load among {vip.candidates} backends, {MAX_CANDIDATES} are the most",
                hint="choose p2c, which compares two of any number",
            )


def check_table(capacity: Capacity, vip_id: int, slots: Slots) -> None:
    """Raise CapacityError for an id the maps have no room for, ValueError for slots of another shape."""
    _check_id("VIP", vip_id, range(capacity.vips), "--max-vips")
    if slots.shape != (layout.TABLE_SIZE,) or slots.dtype != np.uint32:
        raise ValueError(f"a table is {layout.TABLE_SIZE} slots of uint32, this is {slots.shape} of {slots.dtype}")


def check_backends(capacity: Capacity, ids: Sequence[int]) -> None:
    """Raise CapacityError where a backend's id is beyond what the maps hold."""
    allowed = range(1, min(capacity.backends, MAX_BACKEND_ID) + 1)
    for backend_id in ids:
        _check_id("backend", backend_id, allowed, "--max-backends")


def check_frame(frame: bytes) -> None:
    """Raise InvalidError where the kernel cannot try a frame of this length."""
    if len(frame) not in FRAME_BYTES:
        raise InvalidError.field(
            "/frame",
            f"a frame of {len(frame)} bytes cannot be tried",
            hint=f"give one of {FRAME_BYTES[0]} to {FRAME_BYTES[-1]} bytes, with its Ethernet header",
        )


def _check_id(what: str, number: int, allowed: range, option: str) -> None:
    if number not in allowed:
        raise CapacityError(f"{what} id {number} is beyond the {len(allowed)} that the maps hold", hint=_remedy(option))


def _remedy(option: str) -> str:
    return f"`xdplb down --all`, then `xdplb up` with a larger {option}"
