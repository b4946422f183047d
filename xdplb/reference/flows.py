"""Records of flows: when one is looked up, when it counts, how a packet changes it. docs/connections.md says why."""

from __future__ import annotations

from dataclasses import replace

from xdplb.dataplane.plane import VipEntry
from xdplb.model.vip import Scheduler

from .config import Slot, SlotState
from .journey import Choice, Journey
from .limits import SECOND
from .packet import TCP, UDP, Packet, TcpFlag
from .state import Flow

__all__ = ["begins_anew", "counts", "is_looked_up", "record", "touch"]

ESTABLISHED, FIN, RST = 0x01, 0x02, 0x04  # FLOW_* of the layout
ENDED = FIN | RST
TOUCH_AFTER = SECOND
"""`last_seen` is kept no more precisely than this, so that a record is not written for each packet."""


def is_looked_up(vip: VipEntry, slot: Slot, packet: Packet) -> bool:
    """Whether a record may say more than the slot.

    UDP has nothing that tells a new flow from an old one, so that it moves with its slot where not all is recorded.
    """
    return vip.track_always or (slot.state is not SlotState.STEADY and packet.protocol == TCP)


def counts(journey: Journey, flow: Flow) -> bool:
    """Whether the backend of this record still is the one it was made for, and may be sent to."""
    return journey.config.is_current(flow.backend, flow.epoch)


def begins_anew(flow: Flow, packet: Packet, idle_seconds: int, now: int) -> bool:
    """Whether the packet is the first of another flow than the one recorded, on the same addresses and ports."""
    was_silent = now > flow.last_seen + idle_seconds * SECOND
    if packet.protocol == UDP:
        return was_silent
    return packet.is_syn and (was_silent or bool(flow.flags & ENDED))


def touch(journey: Journey, flow: Flow, packet: Packet, vip: VipEntry) -> None:
    """Note in the flow's record what the packet adds to it. A flow that ends is a load no more."""
    flags = flow.flags | _flags_of(packet)
    is_due = journey.now >= flow.last_seen + TOUCH_AFTER
    touched = replace(flow, flags=flags, last_seen=journey.now if is_due else flow.last_seen)
    if touched != flow:
        journey.changes.flows[packet.flow] = touched
    if _counts_load(vip) and not flow.flags & ENDED and flags & ENDED:
        journey.changes.loads[flow.backend] -= 1


def record(journey: Journey, packet: Packet, vip: VipEntry, choice: Choice) -> None:
    """Write the record of a flow that was sent on; it replaces the one found, if any."""
    epoch = journey.config.backends[choice.backend_id].epoch
    made = Flow(choice.backend_id, epoch, _flags_of(packet), vip.id, journey.now)
    journey.changes.flows[packet.flow] = made
    if choice.found is None:
        journey.changes.counts["vip", vip.id, "records"] += 1
    if _counts_load(vip):
        if choice.found is not None and not choice.found.flags & ENDED:
            journey.changes.loads[choice.found.backend] -= 1
        journey.changes.loads[choice.backend_id] += 1


def _flags_of(packet: Packet) -> int:
    flags = 0 if packet.is_syn else ESTABLISHED
    flags |= FIN if packet.tcp_flags & TcpFlag.FIN else 0
    return flags | (RST if packet.tcp_flags & TcpFlag.RST else 0)


def _counts_load(vip: VipEntry) -> bool:
    return vip.scheduler in {Scheduler.LC, Scheduler.WLC, Scheduler.P2C}
