# SPDX-License-Identifier: Apache-2.0
"""What the data plane remembers between packets, and the effects of one packet on it.

A packet only reads `FlowState`, and only the entries it needs, so its mappings can also be views of the kernel's maps.
What it would change is collected in `Effects`, which the caller may apply.
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
    "Count",
    "Effects",
    "Flow",
    "FlowKey",
    "FlowState",
    "FlowTable",
    "Found",
    "Fragment",
    "FragmentKey",
    "Handshake",
    "SharedFlow",
    "SourceKey",
]

Count = tuple[str, int | str, str]
"""A counter: of what, of which one, its name; such as ("vip", 1, "packets") or ("reason", "drop_ttl", "packets")."""


@dataclass(frozen=True, slots=True)
class FlowKey:
    """A flow, as the client's packets show it."""

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
    """Where a record is: made by a SYN it is on probation until more is sent, any other is among the open ones.

    Both are LRU tables, so a SYN flood evicts only records on probation.
    """

    PROBATION = "probation"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Found:
    """The record found for a flow, and where it is."""

    flow: Flow
    table: FlowTable


@dataclass(frozen=True, slots=True)
class FragmentKey:
    """What the fragments of one packet have in common (RFC 791, section 3.2, and RFC 8200, section 4.5).

    IPv6's have no protocol in common (0 here): "The Next Header values in the Fragment headers of different fragments
    of the same original packet may differ."
    """

    source: IPAddress
    destination: IPAddress
    identification: int
    protocol: int


@dataclass(frozen=True, slots=True)
class Fragment:
    """Where the first fragment of a packet was sent, backend 0 if it was passed to the host; `last_seen` is in ns.

    `protocol` is the transport's, which only the first fragment tells for sure.
    """

    backend: int
    epoch: int
    vip: int
    last_seen: int
    protocol: int = 0


@dataclass(frozen=True, slots=True)
class Bucket:
    """When the buckets for packets and for new flows will be empty, in ns; a time in the past means the same as 0."""

    packets: int = 0
    flows: int = 0


@dataclass(frozen=True, slots=True)
class SourceKey:
    """A source, for one VIP. An IPv6 source is a /64: a host can use as many addresses of one as it likes."""

    source: IPAddress
    vip: int

    @classmethod
    def of(cls, source: IPAddress, vip: int) -> Self:
        """Return the key for a packet's source address."""
        return cls(IPv6Address(int(source) >> 64 << 64) if source.version == 6 else source, vip)


@dataclass(frozen=True, slots=True)
class Handshake:
    """What a sampled connection has shown of its handshake. `flags` are HANDSHAKE_* of the layout, times are in ns.

    `flow` is ports and the end of the destination, `source` the address or, of IPv6, its first half.
    """

    hash: int
    flow: int
    source: bytes
    syn_at: int
    last_at: int
    vip: int
    backend: int
    epoch: int
    flags: int = 0
    repeated: int = 0


@dataclass(frozen=True, slots=True)
class SharedFlow:
    """What other balancers are told of a connection. `flags` are FLOW_* and SHARED_* of the layout."""

    key: FlowKey
    vip: int
    backend: int
    epoch: int
    flags: int


@dataclass(slots=True)
class Effects:
    """The effects of one packet. Values replace the old ones, None deletes them; `counts` and `shared` are added."""

    flows: dict[FlowKey, Flow | None] = field(default_factory=dict)
    probation: dict[FlowKey, Flow | None] = field(default_factory=dict)
    fragments: dict[FragmentKey, Fragment] = field(default_factory=dict)
    source_buckets: dict[SourceKey, Bucket] = field(default_factory=dict)
    vip_buckets: dict[int, Bucket] = field(default_factory=dict)
    answer_budgets: dict[int, int] = field(default_factory=dict)
    backend_buckets: dict[int, int] = field(default_factory=dict)
    strays: dict[int, int] = field(default_factory=dict)
    loads: dict[int, int] = field(default_factory=dict)
    handshakes: dict[int, Handshake] = field(default_factory=dict)
    shared: list[SharedFlow] = field(default_factory=list)
    counts: Counter[Count] = field(default_factory=Counter)


@dataclass(slots=True)
class FlowState:
    """The maps that packets write.

    A flow has at most one record, in `flows` or in `probation`. `source_buckets` are by source and VIP, `vip_buckets`
    by VIP id. `loads` are the open flows of each backend, by id. `answer_budgets` are by CPU: the time at which the
    bucket for too-big answers will be empty; `backend_buckets` are the same of new connections, by backend id. `strays`
    are by VIP id: when a connection that is not with its slot's owner was last seen, in ns. `new_flows` are those that
    one CPU has counted for a VIP, by (VIP id, CPU): a rotation continues from there. `handshakes` are
    the sampled connections, by their place. `shared` is what other balancers are told. `counts` are the sums of all
    CPUs.
    """

    flows: MutableMapping[FlowKey, Flow] = field(default_factory=dict)
    probation: MutableMapping[FlowKey, Flow] = field(default_factory=dict)
    fragments: MutableMapping[FragmentKey, Fragment] = field(default_factory=dict)
    source_buckets: MutableMapping[SourceKey, Bucket] = field(default_factory=dict)
    vip_buckets: MutableMapping[int, Bucket] = field(default_factory=dict)
    answer_budgets: MutableMapping[int, int] = field(default_factory=dict)
    backend_buckets: MutableMapping[int, int] = field(default_factory=dict)
    strays: MutableMapping[int, int] = field(default_factory=dict)
    loads: MutableMapping[int, int] = field(default_factory=dict)
    new_flows: MutableMapping[tuple[int, int], int] = field(default_factory=dict)
    handshakes: MutableMapping[int, Handshake] = field(default_factory=dict)
    shared: list[SharedFlow] = field(default_factory=list)
    counts: Counter[Count] = field(default_factory=Counter)

    def apply(self, effects: Effects, cpu: int) -> None:
        """Apply the effects of a packet that came in on this CPU."""
        _replace(self.flows, effects.flows)
        _replace(self.probation, effects.probation)
        self.fragments.update(effects.fragments)
        self.source_buckets.update(effects.source_buckets)
        self.vip_buckets.update(effects.vip_buckets)
        self.answer_budgets.update(effects.answer_budgets)
        self.backend_buckets.update(effects.backend_buckets)
        self.strays.update(effects.strays)
        self.loads.update(effects.loads)
        self.handshakes.update(effects.handshakes)
        self.shared += effects.shared
        for count, delta in effects.counts.items():
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
