# SPDX-License-Identifier: Apache-2.0
"""The maps as input of the reference model: the configuration in them, and the state that packets left there."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice

from xdplb.balance.held_table import HeldTable
from xdplb.control.plan.steps import Held
from xdplb.dataplane.features import Feature
from xdplb.dataplane.plane import Attachment, DataPlane, Slots, VipEntry
from xdplb.dataplane.remembered import FlowId, FlowRecord, Remembered
from xdplb.model.access import AccessList
from xdplb.model.address import IPAddress
from xdplb.reference.config import Config
from xdplb.reference.flow_state import Bucket, Flow, FlowKey, FlowState, SourceKey

__all__ = ["concerning", "config_of", "matching", "now", "on_one_cpu", "state_of"]

COARSE_MONOTONIC = 6
"""CLOCK_MONOTONIC_COARSE, the clock that the program reads."""


def now() -> int:
    """Return the time of the program's clock, in ns."""
    return time.clock_gettime_ns(COARSE_MONOTONIC)


def config_of(held: Held, plane: DataPlane, attachments: Collection[Attachment], source: IPAddress) -> Config:
    """Return the model's configuration from the maps, as far as it concerns packets of this source."""
    return Config(
        vips=held.vips,
        tables=_SlotsOf(held.tables),
        backends=held.backends,
        features=plane.features - {Feature.CAPTURE},
        access=concerning(held.access or {}, source),
        interfaces=frozenset(attachment.ifindex for attachment in attachments),
        max_backends=plane.capacity.backends,
    )


class _SlotsOf(Mapping[int, Slots]):
    """The slots of tables, computed when they are asked for: the model looks into one or two."""

    def __init__(self, tables: Mapping[int, HeldTable]) -> None:
        self._tables = tables

    def __getitem__(self, vip_id: int) -> Slots:
        return self._tables[vip_id].slots

    def __iter__(self) -> Iterator[int]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)


def concerning(access: Mapping[int, AccessList], source: IPAddress) -> dict[int, AccessList]:
    """Return the access lists cut down to this source: the model searches a list linearly for each packet."""
    return {vip_id: _concerning(one, source) for vip_id, one in access.items()}


def _concerning(access: AccessList, source: IPAddress) -> AccessList:
    """Return the list with only the prefixes that decide about this source."""
    allow, deny = access.allow.longest(source), access.deny.longest(source)
    # A source outside a non-empty allow list is denied, so one of its prefixes must stay even if none matches.
    return AccessList(islice(access.allow, 1) if allow is None else [allow], [] if deny is None else [deny])


def matching(config: Config, flow: FlowId) -> list[VipEntry]:
    """Return the VIPs that match this packet's destination; the first one gets the packet."""
    found = [
        vip
        for vip in config.vips.values()
        if flow.destination in vip.key.network
        and flow.destination_port in vip.key.ports
        and flow.protocol in vip.key.protocol.numbers
    ]
    return sorted(found, key=lambda vip: vip.key.rank, reverse=True)


def state_of(flow: FlowId, vip_id: int, found: Remembered, cpu: int) -> FlowState:
    """Return the state that a packet of this flow meets when it comes in on this CPU."""
    state = FlowState(
        loads=dict(found.loads),
        vip_buckets={vip_id: Bucket(*found.vip_buckets)},
        backend_buckets=dict(found.backend_buckets),
        strays={vip_id: found.strays},
    )
    if found.record is not None:
        key = FlowKey(flow.source, flow.source_port, flow.destination, flow.destination_port, flow.protocol)
        (state.probation if found.record.probation else state.flows)[key] = _flow(found.record)
    if found.source_buckets is not None:
        state.source_buckets[SourceKey.of(flow.source, vip_id)] = Bucket(*found.source_buckets)
    if cpu < len(found.new_flows):
        state.new_flows[vip_id, cpu] = found.new_flows[cpu]
    return state


def _flow(record: FlowRecord) -> Flow:
    return Flow(record.backend, record.epoch, record.flags, record.vip, record.last_seen)


@contextmanager
def on_one_cpu() -> Iterator[int]:
    """Pin this thread to one CPU and yield its number: round robin has a turn for each CPU."""
    before = os.sched_getaffinity(0)
    cpu = min(before)
    os.sched_setaffinity(0, {cpu})
    try:
        yield cpu
    finally:
        os.sched_setaffinity(0, before)
