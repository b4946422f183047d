# SPDX-License-Identifier: Apache-2.0
"""The encoding of a VIP in the maps: `struct vip` of layout.h, and the VIP's rate limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple

import numpy as np
from numpy.typing import NDArray

from xdplb.model.key import VipKey
from xdplb.model.vip import NO_LIMITS, HashKind, Protocol, QuicIds, RateLimits, Scheduler

from . import layout
from .plane import VipEntry

__all__ = ["decode", "encode", "limits_of", "protocol_of", "write_limits"]

SCHEDULERS = {
    Scheduler.MAGLEV: (layout.SCHEDULER_HASH, False),
    Scheduler.SH: (layout.SCHEDULER_HASH, True),
    Scheduler.RR: (layout.SCHEDULER_ROTATION, False),
    Scheduler.WRR: (layout.SCHEDULER_ROTATION, True),
    Scheduler.LC: (layout.SCHEDULER_LEAST, False),
    Scheduler.WLC: (layout.SCHEDULER_LEAST, True),
    Scheduler.P2C: (layout.SCHEDULER_TWO, False),
}
"""What each is to the kernel, and whether it is the second of two that are alike there."""

NAMES = {number: scheduler for scheduler, number in SCHEDULERS.items()}

HASHES = {
    HashKind.DESTINATION_PORT: layout.HASH_DESTINATION_PORT,
    HashKind.ADDRESSES: layout.HASH_ADDRESSES,
}
"""The kinds of hash that are no flag."""

HASH_NAMES = {number: kind for kind, number in HASHES.items()}

PROTOCOLS = {6: Protocol.TCP, 17: Protocol.UDP}

COSTS = ("packet_cost", "flow_cost", "source_packet_cost", "source_flow_cost")
"""The fields of a guard in the order of RateLimits."""


def encode(vips: Sequence[VipEntry]) -> NDArray[np.void]:
    """Return a `struct vip` for each."""
    values = np.zeros(len(vips), layout.VIP)
    for value, vip in zip(values, vips, strict=True):
        scheduler, is_alias = SCHEDULERS[vip.scheduler]
        flags = (
            layout.VIP_TRACK_ALWAYS * vip.track_always
            | layout.VIP_HASH_SOURCE * (vip.hash is HashKind.SOURCE)
            | layout.VIP_ACCESS * vip.has_access_list
            | layout.VIP_LIMITED * (vip.limits != NO_LIMITS)
            | layout.VIP_ALIAS * is_alias
            | layout.VIP_BOTH * (vip.key.protocol is Protocol.BOTH)
            | layout.VIP_SAMPLED * vip.is_sampled
            | layout.VIP_SECOND_CHOICE * vip.second_choice
        )
        quic = vip.quic.server_id_bytes | vip.quic.config_id << 4 if vip.quic else 0
        value["id"], value["idle_seconds"], value["flags"] = vip.id, vip.idle_seconds, flags
        value["scheduler"] = scheduler | HASHES.get(vip.hash, layout.HASH_BY_FLAG) << layout.HASH_SHIFT
        value["quic"], value["candidates"] = quic, vip.candidates
    return values


def protocol_of(value: np.void, number: int) -> Protocol:
    """Return the protocol of the VIP in a `struct vip` that was found for the protocol of this number."""
    return Protocol.BOTH if value["flags"] & layout.VIP_BOTH else PROTOCOLS[number]


def decode(value: np.void, key: VipKey) -> VipEntry:
    """Return the VIP in a `struct vip`, without its limits."""
    flags, scheduler, quic = int(value["flags"]), int(value["scheduler"]), int(value["quic"])
    return VipEntry(
        id=int(value["id"]),
        key=key,
        track_always=bool(flags & layout.VIP_TRACK_ALWAYS),
        idle_seconds=int(value["idle_seconds"]),
        hash=_hash_of(flags, scheduler),
        scheduler=NAMES[scheduler & layout.SCHEDULER_BITS, bool(flags & layout.VIP_ALIAS)],
        candidates=int(value["candidates"]),
        quic=QuicIds(quic & 0xF, quic >> 4) if quic else None,
        has_access_list=bool(flags & layout.VIP_ACCESS),
        is_sampled=bool(flags & layout.VIP_SAMPLED),
        second_choice=bool(flags & layout.VIP_SECOND_CHOICE),
    )


def _hash_of(flags: int, scheduler: int) -> HashKind:
    by_flag = HashKind.SOURCE if flags & layout.VIP_HASH_SOURCE else HashKind.FIVE_TUPLE
    return HASH_NAMES.get(scheduler >> layout.HASH_SHIFT & 3, by_flag)


def write_limits(guard: NDArray[np.void], limits: RateLimits) -> None:
    """Put the limits into a guard, shape (1,): ns that one packet or flow costs, and the rates as they were asked."""
    for name, rate in zip(COSTS, astuple(limits), strict=True):
        guard[name] = layout.bucket_cost(rate)
    guard["rates"] = astuple(limits)


def limits_of(guard: np.void) -> RateLimits:
    """Return the limits in a guard."""
    return RateLimits(*guard["rates"].tolist())
