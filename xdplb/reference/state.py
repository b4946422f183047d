"""What the data plane remembers between packets, and how one packet changes it.

A packet only reads `State`, and only the entries it needs: its mappings may just as well be windows on the kernel's
maps. What it would change is collected in `Changes`, for the caller to apply, or not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv6Address
from typing import Self

from xdplb.model.address import IPAddress

__all__ = [
    "Bucket",
    "Changes",
    "Count",
    "Flow",
    "FlowKey",
    "FlowTable",
    "Found",
    "Fragment",
    "FragmentKey",
    "SourceKey",
    "State",
]

Count = tuple[str, int | str, str]
"""A counter: of what, of which one, its name; such as ("vip", 1, "packets") or ("reason", "drop_ttl", "packets")."""


@dataclass(frozen=True, slots=True)
class FlowKey:
    """A flow, as its client's packets show it."""

    source: IPAddress
    source_port: int
    destination: IPAddress
    destination_port: int
    protocol: int


@dataclass(frozen=True, slots=True)
class Flow:
    """The record of a flow. `flags` are FLOW_* of the layout, `last_seen` is in ns."""

    backend: int
    epoch: int
    flags: int
    vip: int
    last_seen: int


class FlowTable(Enum):
    """Where a record lies: one that a SYN has made on probation until more is sent, all others among the open ones.

    Both are LRU tables. What only sends SYNs, such as a flood of random sources, evicts nothing but its like.
    """

    PROBATION = "probation"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Found:
    """The record found of a flow, and where it lies."""

    flow: Flow
    table: FlowTable


@dataclass(frozen=True, slots=True)
class FragmentKey:
    """What the fragments of one packet have in common (RFC 791, section 3.2, and RFC 8200, section 4.5)."""

    source: IPAddress
    destination: IPAddress
    identification: int
    protocol: int


@dataclass(frozen=True, slots=True)
class Fragment:
    """Where the first fragment of a packet went, backend 0 where the host has it; `last_seen` is in ns."""

    backend: int
    epoch: int
    vip: int
    last_seen: int


@dataclass(frozen=True, slots=True)
class Bucket:
    """When the buckets for packets and for new flows would be empty, in ns; a time that is over says no more than 0."""

    packets: int = 0
    flows: int = 0


@dataclass(frozen=True, slots=True)
class SourceKey:
    """A source, as one VIP sees it: of IPv6 the first address of its /64, of which a host has as many as it likes."""

    source: IPAddress
    vip: int

    @classmethod
    def of(cls, source: IPAddress, vip: int) -> Self:
        """Return the key of what a packet comes from."""
        return cls(IPv6Address(int(source) >> 64 << 64) if source.version == 6 else source, vip)


@dataclass(slots=True)
class Changes:
    """What one packet changes. Values replace those there were, None deletes them; `counts` are added to them."""

    flows: dict[FlowKey, Flow | None] = field(default_factory=dict)
    probation: dict[FlowKey, Flow | None] = field(default_factory=dict)
    fragments: dict[FragmentKey, Fragment] = field(default_factory=dict)
    source_buckets: dict[SourceKey, Bucket] = field(default_factory=dict)
    vip_buckets: dict[int, Bucket] = field(default_factory=dict)
    answer_budgets: dict[int, int] = field(default_factory=dict)
    loads: dict[int, int] = field(default_factory=dict)
    counts: Counter[Count] = field(default_factory=Counter)


@dataclass(slots=True)
class State:
    """The maps that packets write.

    A flow has one record at most, in `flows` or in `probation`. `source_buckets` are by source and VIP, `vip_buckets`
    by VIP id. `loads` are the open flows of each backend, by id. `answer_budgets` are by CPU: the time at which the
    bucket of too-big answers would be empty. `new_flows` are those that one CPU has counted for a VIP, by (VIP id,
    CPU), by which a rotation goes on. `counts` are of all CPUs.
    """

    flows: MutableMapping[FlowKey, Flow] = field(default_factory=dict)
    probation: MutableMapping[FlowKey, Flow] = field(default_factory=dict)
    fragments: MutableMapping[FragmentKey, Fragment] = field(default_factory=dict)
    source_buckets: MutableMapping[SourceKey, Bucket] = field(default_factory=dict)
    vip_buckets: MutableMapping[int, Bucket] = field(default_factory=dict)
    answer_budgets: MutableMapping[int, int] = field(default_factory=dict)
    loads: MutableMapping[int, int] = field(default_factory=dict)
    new_flows: MutableMapping[tuple[int, int], int] = field(default_factory=dict)
    counts: Counter[Count] = field(default_factory=Counter)

    def apply(self, changes: Changes, cpu: int) -> None:
        """Make the changes of a packet that came in on this CPU."""
        _replace(self.flows, changes.flows)
        _replace(self.probation, changes.probation)
        self.fragments.update(changes.fragments)
        self.source_buckets.update(changes.source_buckets)
        self.vip_buckets.update(changes.vip_buckets)
        self.answer_budgets.update(changes.answer_budgets)
        self.loads.update(changes.loads)
        for count, delta in changes.counts.items():
            self.counts[count] += delta
            kind, number, name = count
            if kind == "vip" and name == "new_flows":
                key = int(number), cpu
                self.new_flows[key] = self.new_flows.get(key, 0) + delta


def _replace(records: MutableMapping[FlowKey, Flow], changed: dict[FlowKey, Flow | None]) -> None:
    for key, flow in changed.items():
        if flow is not None:
            records[key] = flow
        else:
            records.pop(key, None)
