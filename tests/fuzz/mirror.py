# SPDX-License-Identifier: Apache-2.0
"""The state of both: what the maps hold, beside what the reference model remembers."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping

import numpy as np

from tests.fuzz import codec
from tests.fuzz.kernel import Kernel
from xdplb.dataplane import layout
from xdplb.dataplane.maps import BpfMap
from xdplb.dataplane.plane import ACTIONS
from xdplb.dataplane.reasons import REASONS
from xdplb.reference.flow_state import (
    Bucket,
    Count,
    Effects,
    Flow,
    FlowKey,
    FlowState,
    FlowTable,
    Fragment,
    FragmentKey,
    Handshake,
    SourceKey,
)

__all__ = ["Mirror"]

_HANDSHAKE_COUNTS = [
    *[name for name in layout.HANDSHAKE_COUNTERS.names or () if name != "latency"],
    *[f"latency {bucket}" for bucket in range(layout.HANDSHAKE_BUCKETS)],
]

Entry = tuple[str, object, object]
"""What it is, what the maps hold of it, what the model does."""


class Mirror:
    """The maps and the model's state on one CPU; what is written here is written to both."""

    def __init__(self, kernel: Kernel, state: FlowState, cpu: int) -> None:
        self._kernel, self._cpu = kernel, cpu
        self.state = state

    # --- writing both

    def put_all(self, state: FlowState) -> None:
        """Add all of this."""
        for table, flows in ((FlowTable.OPEN, state.flows), (FlowTable.PROBATION, state.probation)):
            for key, flow in flows.items():
                self.put_flow(key, flow, table)
        for fragment_key, fragment in state.fragments.items():
            self.put_fragment(fragment_key, fragment)
        for vip_id, bucket in state.vip_buckets.items():
            self.put_vip_bucket(vip_id, bucket)
        for backend_id, empty_at in state.backend_buckets.items():
            self.put_backend_bucket(backend_id, empty_at)
        for vip_id, last_seen in state.strays.items():
            self.put_strays(vip_id, last_seen)
        for source_key, bucket in state.source_buckets.items():
            self.put_source_bucket(source_key, bucket)
        self.put_loads(dict(state.loads))
        self.put_answer_budget(state.answer_budgets.get(self._cpu, 0))

    def put_flow(self, key: FlowKey, flow: Flow | None, table: FlowTable) -> None:
        """Make this the record of a flow, in this table and in no other; None for no record at all."""
        if not self._kernel.has(_table_name(FlowTable.OPEN, key.source.version)):
            return
        for each in FlowTable:
            self._kernel.forget_flow(_table_name(each, key.source.version), codec.encode_flow_key(key))
            self._flows(each).pop(key, None)
        if flow is not None:
            self._flow_map(table, key).update(codec.encode_flow_key(key), codec.encode_flow(flow))
            self._flows(table)[key] = flow

    def put_fragment(self, key: FragmentKey, fragment: Fragment) -> None:
        """Make this what is known of a packet's first fragment."""
        self._kernel.map("fragments").update(codec.encode_fragment_key(key), codec.encode_fragment(fragment))
        self.state.fragments[key] = fragment

    def put_loads(self, loads: dict[int, int]) -> None:
        """Make these the open flows of backends."""
        self._kernel.plane.write_loads(loads)
        self.state.loads.update(loads)

    def put_vip_bucket(self, vip_id: int, bucket: Bucket) -> None:
        """Make this what a VIP has taken."""
        self._kernel.map("vip_buckets").update(vip_id, codec.encode_bucket(bucket))
        self.state.vip_buckets[vip_id] = bucket

    def put_source_bucket(self, key: SourceKey, bucket: Bucket) -> None:
        """Make this what a source has sent to a VIP."""
        self._kernel.map("source_buckets").update(codec.encode_source_key(key), codec.encode_bucket(bucket))
        self.state.source_buckets[key] = bucket

    def put_handshake(self, place: int, handshake: Handshake) -> None:
        """Make this what is known of a sampled connection."""
        self._kernel.map("handshakes").update(place, codec.encode_handshake(handshake))
        self.state.handshakes[place] = handshake

    def put_backend_bucket(self, backend_id: int, empty_at: int) -> None:
        """Make this what a backend has taken."""
        self._kernel.put_backend_bucket(backend_id, empty_at)
        self.state.backend_buckets[backend_id] = empty_at

    def put_strays(self, vip_id: int, last_seen: int) -> None:
        """Make this when a stray of a VIP was last seen."""
        self._kernel.map("vip_strays").update(vip_id, last_seen.to_bytes(8, "little"))
        self.state.strays[vip_id] = last_seen

    def put_answer_budget(self, budget: int) -> None:
        """Make this what the CPU has spent on answers."""
        budgets = self._kernel.map("answer_budget")
        budgets.update(0, np.full(budgets.value_bytes // 8, budget, np.uint64))
        self.state.answer_budgets[self._cpu] = budget

    # --- what one packet has changed

    def changed(self, effects: Effects) -> Iterator[Entry]:
        """Yield what these effects are about: as it is in the maps, and as it should be."""
        for table, flows in ((FlowTable.OPEN, effects.flows), (FlowTable.PROBATION, effects.probation)):
            for key, flow in flows.items():
                yield f"{table.value} {key}", self.read_flow(table, key), flow
        for fragment_key, fragment in effects.fragments.items():
            yield f"{fragment_key}", self._read_fragment(fragment_key), fragment
        for source_key, bucket in effects.source_buckets.items():
            yield f"{source_key}", self._read_source_bucket(source_key), bucket
        for vip_id, bucket in effects.vip_buckets.items():
            yield f"bucket of VIP {vip_id}", self._read_vip_bucket(vip_id), bucket
        for backend_id, empty_at in effects.backend_buckets.items():
            yield f"bucket of backend {backend_id}", self._kernel.backend_buckets().get(backend_id), empty_at
        for vip_id, last_seen in effects.strays.items():
            yield f"strays of VIP {vip_id}", self._kernel.strays().get(vip_id), last_seen
        for budget in effects.answer_budgets.values():
            yield "answer budget", self._read_answer_budget(), budget

    def adopt(self, effects: Effects) -> None:
        """Put into `effects` what the maps hold of it."""
        for table, flows in ((FlowTable.OPEN, effects.flows), (FlowTable.PROBATION, effects.probation)):
            flows.update({key: self.read_flow(table, key) for key in flows})
        for fragment_key in effects.fragments:
            found = self._read_fragment(fragment_key)
            if found is not None:
                effects.fragments[fragment_key] = found
        for source_key in effects.source_buckets:
            effects.source_buckets[source_key] = self._read_source_bucket(source_key)
        for vip_id in effects.vip_buckets:
            effects.vip_buckets[vip_id] = self._read_vip_bucket(vip_id)
        for backend_id in effects.backend_buckets:
            effects.backend_buckets[backend_id] = self._kernel.backend_buckets().get(backend_id, 0)
        for vip_id in effects.strays:
            effects.strays[vip_id] = self._kernel.strays().get(vip_id, 0)
        for cpu in effects.answer_budgets:
            effects.answer_budgets[cpu] = self._read_answer_budget()

    # --- all there is

    def everything(self, moment: int) -> Iterator[Entry]:
        """Yield each map, as it is and as it should be. Of times in buckets, what is over at `moment` is 0."""
        for table in FlowTable:
            for version in (4, 6):
                yield from self._flow_tables(table, version)
        fragments = self.state.fragments.items()
        expected = {codec.encode_fragment_key(key): codec.encode_fragment(value) for key, value in fragments}
        yield "fragments", self._kernel.contents("fragments"), expected
        if self._kernel.has("source_buckets"):
            yield self._all_source_buckets(moment)
        yield self._all_vip_buckets(moment)
        buckets = {number: at for number, at in self.state.backend_buckets.items() if at}
        yield "backend_doubts", self._kernel.backend_buckets(), buckets
        yield "vip_strays", self._kernel.strays(), {vip_id: at for vip_id, at in self.state.strays.items() if at}
        yield "answer_budget", self._read_answer_budget(), self.state.answer_budgets.get(self._cpu, 0)
        if self._kernel.has("handshakes"):
            places = enumerate(self._kernel.handshakes())
            found = {place: value.tobytes() for place, value in places if value["hash"]}
            own = self.state.handshakes.items()
            yield "handshakes", found, {place: codec.encode_handshake(value) for place, value in own}
        yield "shared_flows", self._kernel.shared(), [codec.encode_shared(flow) for flow in self.state.shared]
        yield "backend_loads", self._kernel.loads(), {number: load for number, load in self.state.loads.items() if load}
        yield "counters", self._counts(), {count: value for count, value in self.state.counts.items() if value}

    def new_reasons(self) -> list[str]:
        """Return the reasons that the program has counted and the model has not."""
        known = self.state.counts
        sums = self._kernel.sums("reason_stats")[:, 0]
        return [reason.name for reason in REASONS if sums[reason.number] > known["reason", reason.name, "packets"]]

    def _flow_tables(self, table: FlowTable, version: int) -> Iterator[Entry]:
        own = {key: flow for key, flow in self._flows(table).items() if key.source.version == version}
        name = _table_name(table, version)
        if self._kernel.has(name):
            expected = {codec.encode_flow_key(key): codec.encode_flow(flow) for key, flow in own.items()}
            yield name, self._kernel.contents(name), expected

    def _all_source_buckets(self, moment: int) -> Entry:
        found = {
            key: _still_filled(codec.decode_bucket(value), moment)
            for key, value in self._kernel.contents("source_buckets").items()
        }
        expected = {
            codec.encode_source_key(key): _still_filled(bucket, moment)
            for key, bucket in self.state.source_buckets.items()
        }
        return "source_buckets", found, expected

    def _all_vip_buckets(self, moment: int) -> Entry:
        values = self._kernel.map("vip_buckets").read_all()[1]
        raw = {vip_id: value.tobytes() for vip_id, value in enumerate(values) if vip_id in self.state.vip_buckets}
        found = {vip_id: _still_filled(codec.decode_bucket(value), moment) for vip_id, value in raw.items()}
        expected = {vip_id: _still_filled(bucket, moment) for vip_id, bucket in self.state.vip_buckets.items()}
        return "vip_buckets", found, expected

    def _counts(self) -> dict[Count, int]:
        found: dict[Count, int] = {}
        kinds = (
            ("vip", "vip_stats", layout.VIP_COUNTERS),
            ("backend", "backend_stats", layout.BACKEND_COUNTERS),
            ("second", "second_stats", layout.SECOND_COUNTERS),
        )
        for kind, name, fields in kinds:
            sums = self._kernel.sums(name)
            for number, place in zip(*np.nonzero(sums), strict=True):
                found[kind, int(number), list(fields.fields or ())[place]] = int(sums[number, place])
        if self._kernel.has("handshake_stats"):
            sums = self._kernel.sums("handshake_stats")
            for number, place in zip(*np.nonzero(sums), strict=True):
                found["handshake", int(number), _HANDSHAKE_COUNTS[place]] = int(sums[number, place])
        if self._kernel.has("nic_stats"):
            sums = self._kernel.sums("nic_stats")
            for place, action in zip(*np.nonzero(sums), strict=True):
                found["nic", int(place), ACTIONS[action]] = int(sums[place, action])
        if self._kernel.has("unwrapped_packets") and (unwrapped := int(self._kernel.sums("unwrapped_packets")[0, 0])):
            found["unwrapped", 0, "packets"] = unwrapped
        reasons = self._kernel.sums("reason_stats")[:, 0]
        counted = [reason for reason in REASONS if reasons[reason.number]]
        return found | {("reason", reason.name, "packets"): int(reasons[reason.number]) for reason in counted}

    # --- one entry

    def _flows(self, table: FlowTable) -> MutableMapping[FlowKey, Flow]:
        return self.state.flows if table is FlowTable.OPEN else self.state.probation

    def _flow_map(self, table: FlowTable, key: FlowKey) -> BpfMap:
        return self._kernel.map(_table_name(table, key.source.version))

    def read_flow(self, table: FlowTable, key: FlowKey) -> Flow | None:
        """Return a record as the maps hold it."""
        found = self._kernel.flow(_table_name(table, key.source.version), codec.encode_flow_key(key))
        return None if found is None else codec.decode_flow(found)

    def _read_fragment(self, key: FragmentKey) -> Fragment | None:
        found = self._kernel.map("fragments").lookup(codec.encode_fragment_key(key))
        return None if found is None else codec.decode_fragment(found)

    def _read_source_bucket(self, key: SourceKey) -> Bucket:
        found = self._kernel.map("source_buckets").lookup(codec.encode_source_key(key))
        return Bucket() if found is None else codec.decode_bucket(found)

    def _read_vip_bucket(self, vip_id: int) -> Bucket:
        return codec.decode_bucket(self._kernel.map("vip_buckets").read(vip_id))

    def _read_answer_budget(self) -> int:
        return int(np.frombuffer(self._kernel.map("answer_budget").read(0), np.uint64)[self._cpu])


def _table_name(table: FlowTable, version: int) -> str:
    name = "flows" if table is FlowTable.OPEN else "probation"
    return name if version == 4 else f"{name}6"


def _still_filled(bucket: Bucket, moment: int) -> Bucket:
    """Return a bucket, with 0 for a time that is over: an empty bucket is as good as another."""
    packets, flows = bucket.packets, bucket.flows
    return Bucket(packets if packets > moment else 0, flows if flows > moment else 0)
