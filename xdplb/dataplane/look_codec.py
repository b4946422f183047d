"""Decisions, captured frames and the filter of a capture, as the maps have them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xdplb.model.address import IPNetwork

from . import layout
from .explained import CapturedFrame, CaptureFilter, Chosen, KernelDecision
from .libbpf import RunResult
from .reasons import REASONS

__all__ = ["decision_of", "encode_filter", "frame_of", "reason_of"]

LOW64 = 2**64 - 1


def decision_of(result: RunResult, value: bytes) -> KernelDecision:
    """Return the decision that a program which explains left in its map, with what became of the frame."""
    decision = np.frombuffer(value, layout.DECISION)[0]
    flags = int(decision["flags"])
    has_slot = bool(flags & layout.DECISION_SLOT)
    slot = int(decision["slot"])
    return KernelDecision(
        verdict=result.verdict,
        frame=result.packet,
        reason=reason_of(int(decision["reason"])),
        chosen=list(Chosen)[int(decision["chosen"])],
        vip_id=int(decision["vip"]) if flags & layout.DECISION_VIP else None,
        backend_id=int(decision["backend"]) or None,
        hash=int(decision["hash"]) or None,
        slot=int(decision["slot_number"]) if has_slot else None,
        owner=slot & 0xFFFF if has_slot else None,
        previous=slot >> 16 if has_slot else None,
        has_record=bool(flags & layout.DECISION_RECORD),
        is_new=bool(flags & layout.DECISION_NEW),
        is_at_risk=bool(flags & layout.DECISION_AT_RISK),
    )


def frame_of(sample: bytes, snap_bytes: int) -> CapturedFrame:
    """Return what a program that captures handed out. The kernel pads samples: `snap_bytes` says where it ends."""
    size = layout.CAPTURE_EVENT.itemsize
    event = np.frombuffer(sample[:size], layout.CAPTURE_EVENT)[0]
    whole, vip = int(event["frame_bytes"]), int(event["vip"])
    return CapturedFrame(
        time=int(event["time"]),
        ifindex=int(event["ifindex"]),
        whole_bytes=whole,
        verdict=int(event["verdict"]),
        reason=reason_of(int(event["reason"])),
        vip_id=None if vip == layout.CAPTURE_ANY else vip,
        backend_id=int(event["backend"]) or None,
        frame=sample[size : size + min(snap_bytes, whole)],
    )


def reason_of(number: int) -> str | None:
    """Return the name of a reason, None for the number behind the last one: the packet was sent on."""
    return REASONS[number].name if number < len(REASONS) else None


def encode_filter(wanted: CaptureFilter) -> NDArray[np.void]:
    """Return the value, shape (1,), of the map `capture_filter`."""
    value = np.zeros(1, layout.CAPTURE_FILTER)
    for name, network in (("source", wanted.source), ("destination", wanted.destination)):
        if network is not None:
            value[name] = _words(network, int(network.network_address))
            value[f"{name}_mask"] = _words(network, int(network.netmask))
    value["snap_bytes"] = wanted.snap_bytes
    value["vip"] = layout.CAPTURE_ANY if wanted.vip_id is None else wanted.vip_id
    value["backend"] = layout.CAPTURE_ANY if wanted.backend_id is None else wanted.backend_id
    value["reason"] = _reason(wanted.reason)
    return value


def _words(network: IPNetwork, number: int) -> NDArray[np.uint64]:
    """Return an address or mask as packets have it: of IPv4 in the first four bytes of the first word."""
    if network.version == 4:
        return np.array([number << 32, 0], np.uint64)
    return np.array([number >> 64, number & LOW64], np.uint64)


def _reason(name: str | None) -> int:
    if name is None:
        return layout.CAPTURE_ANY
    return next((reason.number for reason in REASONS if reason.name == name), len(REASONS))
