# SPDX-License-Identifier: Apache-2.0
"""Events of the tables and flow records that packets see."""

from __future__ import annotations

from dataclasses import dataclass

from xdplb.control.events.base import Event, Level

__all__ = [
    "FlowScanFailed",
    "SlotsPinned",
    "SlotsSteady",
    "StaleFlowsDeleted",
    "TablePublished",
]


@dataclass(frozen=True, slots=True)
class TablePublished(Event):
    """A new table of a VIP was published to the packet path."""

    KIND = "table_published"
    TITLE = "table published"
    vip: str
    moved_slots: int


@dataclass(frozen=True, slots=True)
class SlotsPinned(Event):
    """Moving slots of a VIP were pinned after its idle timeout; `pinned_slots` of its slots are pinned now."""

    KIND = "slots_pinned"
    TITLE = "slots pinned"
    vip: str
    pinned_slots: int


@dataclass(frozen=True, slots=True)
class SlotsSteady(Event):
    """Pinned slots of a VIP became steady; `pinned_slots` are still pinned."""

    KIND = "slots_steady"
    TITLE = "slots steady"
    vip: str
    pinned_slots: int


@dataclass(frozen=True, slots=True)
class StaleFlowsDeleted(Event):
    """Flow records were deleted that must not be found any more."""

    KIND = "stale_flows_deleted"
    TITLE = "stale flow records deleted"
    records: int


@dataclass(frozen=True, slots=True)
class FlowScanFailed(Event):
    """The flow table could not be read; it is retried."""

    KIND = "flow_scan_failed"
    TITLE = "flow scan failed"
    LEVEL = Level.ERROR
    error: str
