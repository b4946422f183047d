# SPDX-License-Identifier: Apache-2.0
"""Which connections are other balancers told of? Those whose slot does not tell where they are.

That is so in a slot that is moving or pinned, and of a second choice. Of a VIP that says so, they are told of all that
are recorded.
"""

from __future__ import annotations

from xdplb.dataplane.features import Feature
from xdplb.dataplane.plane import BackendEntry, VipEntry

from .flow import SECOND_CHOICE, flags_of
from .flow_state import FlowTable, SharedFlow
from .journey import Choice, Journey
from .packet import Packet
from .slot import Slot, SlotState

__all__ = ["news_of", "share"]


def news_of(choice: Choice, packet: Packet, vip: VipEntry, slot: Slot) -> int:
    """Return what other balancers are told once the packet is sent, FLOW_* and SHARED_*, 0 for nothing."""
    news = flags_of(packet) if choice.record_in is FlowTable.OPEN else choice.news
    is_told = vip.shares_all or slot.state is not SlotState.STEADY or news & SECOND_CHOICE
    return news if is_told else 0


def share(journey: Journey, packet: Packet, vip: VipEntry, choice: Choice, backend: BackendEntry) -> None:
    """Tell other balancers of a connection, if there is anything to tell."""
    if choice.news and Feature.SYNC in journey.config.features:
        flow = SharedFlow(packet.flow, vip.id, backend.id, backend.epoch, choice.news)
        journey.effects.shared.append(flow)
