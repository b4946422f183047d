# SPDX-License-Identifier: Apache-2.0
"""Reads what the maps hold about one flow."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xdplb.model.address import IPAddress

from . import layout
from .flow_lines import FlowLines
from .flow_records import raw_key, record_of
from .pinned_maps import Maps
from .remembered import Buckets, FlowId, FlowRecord, Remembered

__all__ = ["recall"]


def recall(maps: Maps, flow: FlowId, vip_id: int) -> Remembered:
    """Return what the maps hold about a flow, and about the VIP that it is for."""
    doubts = maps.backend_doubts.read_all()[1].view(layout.BACKEND_DOUBT).reshape(-1)
    return Remembered(
        record=_record(maps, flow),
        source_buckets=_source_buckets(maps, flow.source, vip_id),
        vip_buckets=_buckets(maps.vip_buckets.read(vip_id)),
        loads=_loads(maps),
        new_flows=_new_flows(maps, vip_id),
        backend_buckets=_that_have(doubts["empty_at"]),
        suspects=frozenset(_that_have(doubts["suspect"])),
        strays=int.from_bytes(maps.vip_strays.read(vip_id), "little"),
    )


def _record(maps: Maps, flow: FlowId) -> FlowRecord | None:
    """Return the flow's record. It leaves probation after it is among the open ones, so that these are asked last."""
    is_ipv6 = flow.destination.version == 6
    on_probation, others, lines = (
        (maps.probation6, maps.flows6, maps.flow_lines6) if is_ipv6 else (maps.probation, maps.flows, maps.flow_lines)
    )
    key = raw_key(flow.source, flow.source_port, flow.destination, flow.destination_port, flow.protocol)
    if on_probation is None or others is None or lines is None:
        return None
    with FlowLines(lines) as places:
        found = [(table.lookup(key), table is on_probation) for table in (on_probation, others, places)]
    records = [record_of(value, probation=probation) for value, probation in found if value is not None]
    return records[-1] if records else None


def _source_buckets(maps: Maps, source: IPAddress, vip_id: int) -> Buckets | None:
    if maps.source_buckets is None:
        return None
    key = np.zeros(1, layout.SOURCE_KEY)
    number = int(source)
    key["source"] = (number << 32 if source.version == 4 else number >> 64, 0)
    key["vip"] = vip_id
    value = maps.source_buckets.lookup(key)
    return None if value is None else _buckets(value)


def _buckets(value: bytes) -> Buckets:
    found = np.frombuffer(value, layout.BUCKET)[0]
    return Buckets(int(found["packets"]), int(found["flows"]))


def _loads(maps: Maps) -> dict[int, int]:
    return _that_have(maps.backend_loads.read_all()[1].view(layout.BACKEND_LOAD)["flows"].reshape(-1))


def _that_have(numbers: NDArray[Any]) -> dict[int, int]:
    """Return the numbers that are not 0, by their index."""
    return {int(index): int(numbers[index]) for index in np.flatnonzero(numbers)}


def _new_flows(maps: Maps, vip_id: int) -> tuple[int, ...]:
    counters = np.frombuffer(maps.vip_stats.read(vip_id), layout.VIP_COUNTERS)
    return tuple(int(count) for count in counters["new_flows"])
