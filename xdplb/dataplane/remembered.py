# SPDX-License-Identifier: Apache-2.0
"""What the maps hold about one flow, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from xdplb.model.address import IPAddress

__all__ = ["Buckets", "FlowId", "FlowRecord", "Remembered"]


@dataclass(frozen=True, slots=True)
class FlowId:
    """A flow as its client's packets show it; `protocol` is IANA's number."""

    source: IPAddress
    source_port: int
    destination: IPAddress
    destination_port: int
    protocol: int


@dataclass(frozen=True, slots=True)
class FlowRecord:
    """The record of a flow. `flags` are FLOW_* of layout, `last_seen` is in ns of CLOCK_MONOTONIC."""

    backend: int
    epoch: int
    flags: int
    vip: int
    last_seen: int
    probation: bool


class Buckets(NamedTuple):
    """When the buckets for packets and for new flows would be empty, in ns of CLOCK_MONOTONIC."""

    packets: int = 0
    flows: int = 0


EMPTY = Buckets()


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the maps hold about a flow and its VIP: None if there is nothing.

    `loads` are the open flows of all backends that have some, by id; `new_flows` are those that each CPU has counted
    for the VIP, by which a rotation goes on. `backend_buckets` are when the buckets of backends that take only so many
    new connections would be empty, and `strays` when a connection of the VIP that is not with its slot's owner was
    last seen, in ns of CLOCK_MONOTONIC. `suspects` are the ids of the backends that are suspect.
    """

    record: FlowRecord | None = None
    source_buckets: Buckets | None = None
    vip_buckets: Buckets = EMPTY
    loads: Mapping[int, int] = field(default_factory=dict)
    new_flows: tuple[int, ...] = ()
    backend_buckets: Mapping[int, int] = field(default_factory=dict)
    strays: int = 0
    suspects: frozenset[int] = frozenset()
