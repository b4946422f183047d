# SPDX-License-Identifier: Apache-2.0
"""The encoding of decisions, captured frames and the filter of a capture in the maps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xdplb.model.address import IPNetwork

from . import layout
from .decisions import CapturedFrame, CapturedPacket, CaptureFilter, Chosen, KernelDecision
from .libbpf import RunResult
from .reasons import REASONS

__all__ = ["decision_of", "encode_filter", "event_of", "frame_of", "packet_of", "reason_of"]

LOW64 = 2**64 - 1

CHOSEN = {
    layout.CHOSEN_NOBODY: Chosen.NOBODY,
    layout.CHOSEN_OWNER: Chosen.OWNER,
    layout.CHOSEN_PREVIOUS: Chosen.PREVIOUS,
    layout.CHOSEN_RECORD: Chosen.RECORD,
    layout.CHOSEN_SCHEDULER: Chosen.SCHEDULER,
    layout.CHOSEN_QUIC: Chosen.QUIC,
    layout.CHOSEN_FRAGMENT: Chosen.FRAGMENT,
    layout.CHOSEN_SECOND: Chosen.SECOND,
    layout.CHOSEN_REPLY: Chosen.REPLY,
}

REASON_NAMES = {reason.number: reason.name for reason in REASONS}


def decision_of(result: RunResult, value: bytes) -> KernelDecision:
    """Return the decision that the explaining program wrote to its map, with the frame after it."""
    return _decision(np.frombuffer(value, layout.DECISION)[0], result.verdict, result.packet)


def event_of(sample: bytes) -> np.void:
    """Return the event that a capturing program puts in front of a frame's bytes."""
    event: np.void = np.frombuffer(sample[: layout.CAPTURE_EVENT.itemsize], layout.CAPTURE_EVENT)[0]
    return event


def frame_of(event: np.void, sample: bytes, snap_bytes: int) -> CapturedFrame:
    """Return the frame behind an event. The kernel pads samples: `snap_bytes` says where it ends."""
    size, whole = layout.CAPTURE_EVENT.itemsize, int(event["frame_bytes"])
    return CapturedFrame(
        time=int(event["time"]),
        ifindex=int(event["ifindex"]),
        whole_bytes=whole,
        data=sample[size : size + min(snap_bytes, whole)],
    )


def packet_of(came: CapturedFrame, event: np.void, sample: bytes, snap_bytes: int) -> CapturedPacket:
    """Return the packet of this incoming frame, from the event and sample of its outcome."""
    return CapturedPacket(
        came=came,
        left=frame_of(event, sample, snap_bytes) if event["ifindex"] else None,
        source_port=int(event["source_port"]),
        destination_port=int(event["destination_port"]),
        decision=_decision(event, int(event["verdict"]), b""),
    )


def _decision(noted: np.void, verdict: int, frame: bytes) -> KernelDecision:
    flags = int(noted["flags"])
    has_slot = bool(flags & layout.DECISION_SLOT)
    slot = int(noted["slot"])
    return KernelDecision(
        verdict=verdict,
        frame=frame,
        reason=reason_of(int(noted["reason"])),
        chosen=CHOSEN[int(noted["chosen"])],
        vip_id=int(noted["vip"]) if flags & layout.DECISION_VIP else None,
        backend_id=int(noted["backend"]) or None,
        hash=(int(noted["hash"]) or None) if "hash" in (noted.dtype.names or ()) else None,
        slot=int(noted["slot_number"]) if has_slot else None,
        owner=slot & 0xFFFF if has_slot else None,
        previous=slot >> 16 if has_slot else None,
        has_record=bool(flags & layout.DECISION_RECORD),
        is_new=bool(flags & layout.DECISION_NEW),
        is_at_risk=bool(flags & layout.DECISION_AT_RISK),
    )


def reason_of(number: int) -> str | None:
    """Return the name of a reason, None for a number that is no reason: the packet was sent on."""
    return REASON_NAMES.get(number)


def encode_filter(wanted: CaptureFilter) -> NDArray[np.void]:
    """Return the value, shape (1,), of the map `capture_filter`."""
    value = np.zeros(1, layout.CAPTURE_FILTER)
    for name, network in (("source", wanted.source), ("destination", wanted.destination)):
        if network is not None:
            value[name] = _words(network, int(network.network_address))
            value[f"{name}_mask"] = _words(network, int(network.netmask))
            value["version"] = network.version
    value["snap_bytes"] = wanted.snap_bytes
    value["one_in"] = wanted.one_in
    return value


def _words(network: IPNetwork, number: int) -> NDArray[np.uint64]:
    """Return an address or mask as packets have it: of IPv4 in the first four bytes of the first word."""
    if network.version == 4:
        return np.array([number << 32, 0], np.uint64)
    return np.array([number >> 64, number & LOW64], np.uint64)
