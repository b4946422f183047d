# SPDX-License-Identifier: Apache-2.0
"""A data plane in memory, for tests of what uses one: it refuses, forgets and reads back as the real one does."""

from __future__ import annotations

import functools
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import astuple, replace
from ipaddress import ip_address
from typing import Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from xdplb.model.access import AccessList
from xdplb.model.address import IPAddress
from xdplb.model.errors import NotFoundError, PlatformError
from xdplb.model.next_hop import ClientWay
from xdplb.model.shared_record import SharedRecords
from xdplb.model.vip import VipKey

from . import access_index, backend_codec, flow_records, layout
from .capacity import check_backends, check_frame, check_table, check_vips
from .decisions import Capture, CaptureFilter, KernelDecision
from .fake_parts import FakeCapture, FakeFlows, FakeSharedFlows
from .features import Feature, Features
from .needs import check_access, check_needs, needs_of
from .plane import (
    ACTIONS,
    Attachment,
    BackendCounters,
    BackendEntry,
    Capacity,
    Counters,
    FlowRecords,
    Mark,
    ProbeWay,
    SharedFlows,
    Slots,
    SwapState,
    VipCounters,
    VipEntry,
)
from .reasons import REASONS
from .remembered import Buckets, FlowId, Remembered
from .table_prints import NO_PRINT
from .told_flows import told_flows
from .vip_maps import assign_lists
from .vip_parts import VipParts

__all__ = ["FakePlane"]

P = ParamSpec("P")
R = TypeVar("R")

BOOT_NS = 10**18  # the clock's zero: far enough back for a record of any age


def _monotonic_ns() -> int:
    return BOOT_NS + time.monotonic_ns()


def _operation(function: Callable[Concatenate[FakePlane, P], R]) -> Callable[Concatenate[FakePlane, P], R]:
    """Note each call in `calls`, and fail before it does anything if `fail` says so."""

    @functools.wraps(function)
    def inner(self: FakePlane, /, *args: P.args, **kwargs: P.kwargs) -> R:
        self.calls.append(function.__name__)
        errors = self.failures[function.__name__]
        if errors:
            raise errors.pop(0)
        return function(self, *args, **kwargs)

    return inner


class FakePlane:
    """The DataPlane in memory, on one NIC `eth0`.

    `calls` has the name of each method of the DataPlane that was called, `access` the access lists, `loads` the flows
    of the backends by id, `suspects` the ids of those that are suspect, `removed` the pins that `repair` puts back;
    `probe_ways` is None unless probing is open, and `probing_lost` has the NICs that `keep_probing` puts programs on
    again; `explain` returns `decision`, and fails while it is None. `vip_buckets`, `source_buckets` and
    `backend_buckets` are what rate limits remember. `clock` is ns of a monotonic clock. `shares` say what is sampled,
    by VIP id, `handshakes` what was noted of that. `shared` is what other balancers are told.
    """

    def __init__(
        self,
        capacity: Capacity | None = None,
        *,
        features: Features = frozenset(),
        clock: Callable[[], int] = _monotonic_ns,
    ) -> None:
        self.calls: list[str] = []
        self.failures: defaultdict[str, list[Exception]] = defaultdict(list)
        self.attached: list[Attachment] = [Attachment("eth0", 2, "native", 1)]
        self.nics: dict[str, int] = {"eth0": 2}
        self.removed: Sequence[str] = ()
        self.access: dict[int, AccessList] = {}
        self.loads: dict[int, int] = {}
        self.probe_ways: dict[int, ProbeWay] | None = None
        self.probing_lost: Sequence[str] = ()
        self.suspects: frozenset[int] = frozenset()
        self.decision: KernelDecision | None = None
        self.swap_states: list[SwapState] = []
        self.is_held_back = False
        self.rolled_back: str | None = None
        self.vip_buckets: dict[int, Buckets] = {}
        self.source_buckets: dict[tuple[IPAddress, int], Buckets] = {}
        self.backend_buckets: dict[int, int] = {}
        self.capture: FakeCapture | None = None
        self._capacity = capacity or Capacity()
        self._features = features
        self._clock = clock
        self._vips: dict[int, VipEntry] = {}
        self._parts: VipParts | None = None  # None after an error
        self._tables: dict[int, Slots] = {}
        self._prints: dict[int, bytes] = {}
        self._overwritten: dict[str, object] = {}
        self._backends: dict[int, BackendEntry] = {}
        self._flows = FakeFlows(self._capacity.flows)
        self._mark: Mark | None = None
        self._vip_counters: dict[int, VipCounters] = {}
        self._backend_counters: dict[int, BackendCounters] = {}
        self._reasons: Counter[str] = Counter()
        self._frames: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.shared = FakeSharedFlows()
        self.shares: dict[int, int] = {}
        self.client_ways: dict[int, ClientWay] = {}
        self.handshakes: NDArray[np.void] = np.zeros(0, layout.HANDSHAKE)
        self._handshake_counters: NDArray[np.void] = np.zeros(self._capacity.backends + 1, layout.HANDSHAKE_COUNTERS)

    @property
    def capacity(self) -> Capacity:
        """How much it holds."""
        return self._capacity

    @property
    def features(self) -> Features:
        """What was required."""
        return self._features

    @_operation
    def require(self, features: Features) -> None:
        """Note that these are needed."""
        self._features |= features

    @_operation
    def watch_swap(self) -> SwapState | None:
        """Return the next of `swap_states`, which a test may fill."""
        return self.swap_states.pop(0) if self.swap_states else None

    @_operation
    def repair(self) -> Sequence[str]:
        """Put back what a test has put into `removed`."""
        removed, self.removed = self.removed, ()
        return removed

    def attachments(self) -> Sequence[Attachment]:
        """Return `attached`, which a test may change."""
        return list(self.attached)

    @_operation
    def attach(self, interface: str, mode: str) -> None:
        """Attach to one of `nics`, the ifindexes by name, which a test may change."""
        if interface not in self.nics:
            raise NotFoundError(f"there is no NIC {interface}", hint=f"NICs of this host: {', '.join(self.nics)}")
        if all(one.interface != interface for one in self.attached):
            actual = "skb" if mode == "skb" else "native"
            self.attached.append(Attachment(interface, self.nics[interface], actual, 1))

    @_operation
    def take_back(self, interface: str) -> None:
        """Put the program in the place of another one."""
        self.attached = [replace(one, other="") if one.interface == interface else one for one in self.attached]

    @_operation
    def read_vips(self) -> Mapping[int, VipEntry]:
        """Return the VIPs, by id."""
        return dict(self._vips)

    @_operation
    def write_vips(self, vips: Sequence[VipEntry], instead_of: Collection[int] | None = None) -> None:
        """Replace some VIPs, or all."""
        gone = self._vips.keys() if instead_of is None else instead_of
        left = {number: vip for number, vip in self._vips.items() if number not in gone}
        check_vips(self._capacity, vips, left)
        check_needs(self._features, needs_of(vips))
        parts, self._parts = self._parts or VipParts(list(self._vips.values())), None
        for part in parts.replace(vips, list(gone)):
            parts.build(self._capacity, part, None)
        self._vips, self._parts = left | {vip.id: vip for vip in vips}, parts

    @_operation
    def table_ids(self) -> Collection[int]:
        """Return the ids that have a table."""
        return sorted(self._tables)

    @_operation
    def read_prints(self) -> Mapping[int, bytes]:
        """Return the fingerprints of the tables that were written with one."""
        return dict(self._prints)

    @_operation
    def read_table(self, vip_id: int) -> Slots | None:
        """Return a copy of a VIP's table, None where it has none."""
        table = self._tables.get(vip_id)
        return None if table is None else table.copy()

    @_operation
    def write_table(self, vip_id: int, slots: Slots, fingerprint: bytes = NO_PRINT) -> None:
        """Replace a VIP's table."""
        check_table(self._capacity, vip_id, slots)
        self._tables[vip_id] = slots.copy()
        self._prints.pop(vip_id, None)
        if fingerprint:
            self._prints[vip_id] = fingerprint

    @_operation
    def restore_table(self, vip_id: int, slots: Slots) -> bool:
        """Replace a VIP's table if it is another one."""
        held = self._tables.get(vip_id)
        if held is not None and np.array_equal(held, slots):
            return False
        self._tables[vip_id] = slots.copy()
        return True

    @_operation
    def write_print(self, vip_id: int, fingerprint: bytes) -> None:
        """Set a table's fingerprint."""
        self._prints[vip_id] = fingerprint

    def verify(self) -> Iterator[str]:
        """Undo what `overwrite` has done."""
        while self._overwritten:
            name, before = self._overwritten.popitem()
            setattr(self, f"_{name}", before)
            yield name

    @_operation
    def delete_table(self, vip_id: int) -> None:
        """Forget a VIP's table."""
        self._tables.pop(vip_id, None)
        self._prints.pop(vip_id, None)

    @_operation
    def read_backends(self) -> Mapping[int, BackendEntry]:
        """Return the backends, by id."""
        return {backend_id: self._backends[backend_id] for backend_id in self._ids()}

    @_operation
    def write_backends(self, backends: Sequence[BackendEntry]) -> None:
        """Write these entries; counters and load of a new (id, epoch) start at zero."""
        check_backends(self._capacity, [backend.id for backend in backends])
        check_needs(self._features, needs_of(backends=backends))
        for backend in backends:
            held = self._backends.get(backend.id)
            if held is None or held.epoch != backend.epoch:
                self._backend_counters.pop(backend.id, None)
                self.loads.pop(backend.id, None)
                self._handshake_counters[backend.id] = 0
                self.suspects -= {backend.id}
            self._backends[backend.id] = _read_back(backend)

    @_operation
    def clear_backends(self, ids: Sequence[int]) -> None:
        """Empty these entries."""
        check_backends(self._capacity, ids)
        for backend_id in ids:
            self._backends.pop(backend_id, None)
            self.loads.pop(backend_id, None)
            self.suspects -= {backend_id}

    @_operation
    def write_access(self, lists: Mapping[int, AccessList]) -> None:
        """Replace the access lists."""
        check_access(self._features, lists)
        for build in (access_index.build4, access_index.build6):
            build({number: lists[vip_id] for vip_id, number in assign_lists({}, lists).items()})
        self.access = dict(lists)

    @_operation
    def read_access(self) -> Mapping[int, AccessList]:
        """Return the access lists of the VIPs that have one, as they were written."""
        return {vip.id: self.access[vip.id] for vip in self._vips.values() if vip.has_access_list}

    @_operation
    def open_probing(self) -> None:
        """Let `probe_ways` be written."""
        self.probe_ways = {} if self.probe_ways is None else self.probe_ways

    @_operation
    def keep_probing(self) -> Sequence[str]:
        """Return what a test has put into `probing_lost`."""
        lost, self.probing_lost = self.probing_lost, ()
        return lost

    @_operation
    def write_probe_ways(self, ways: Mapping[int, ProbeWay | None]) -> None:
        """Set where the probes of these backends go."""
        if self.probe_ways is None:
            raise ValueError("no probes can be sent by the traffic's own way: open it first")
        check_backends(self._capacity, list(ways))
        held = {**self.probe_ways, **ways}
        self.probe_ways = {number: way for number, way in held.items() if way is not None}

    @_operation
    def close_probing(self) -> None:
        """Forget all ways."""
        self.probe_ways = None

    @_operation
    def read_mark(self) -> Mark | None:
        """Return what was noted."""
        return self._mark

    @_operation
    def write_mark(self, mark: Mark) -> None:
        """Note which state this belongs to."""
        self._mark = mark

    @_operation
    def write_loads(self, flows: Mapping[int, int]) -> None:
        """Set how many open flows each of these backends has."""
        check_backends(self._capacity, list(flows))
        self.loads |= flows

    @_operation
    def write_suspects(self, ids: Collection[int]) -> None:
        """Make these backends suspect, and no others."""
        check_backends(self._capacity, ids)
        self.suspects = frozenset(ids)

    @_operation
    def start_vips(self, vip_ids: Sequence[int]) -> None:
        """Start the counters of these VIP ids at zero, and give an empty table to those that have none."""
        for vip_id in vip_ids:
            self._tables.setdefault(vip_id, np.zeros(layout.TABLE_SIZE, np.uint32))
            self._vip_counters.pop(vip_id, None)

    @_operation
    def counters(self) -> Counters:
        """Return what tests have counted."""
        return Counters(
            vips={vip_id: self._vip_counters.get(vip_id, VipCounters()) for vip_id in sorted(self._vips)},
            backends={number: self._backend_counters.get(number, BackendCounters()) for number in self._ids()},
            reasons={reason.name: self._reasons[reason.name] for reason in REASONS},
            nics={one.interface: self._nic_counters(one.interface) for one in self.attached}
            if Feature.NICS in self._features
            else {},
            unwrapped=0 if Feature.DECAP in self._features else None,
        )

    @_operation
    def backend_counters(self, backend_ids: Collection[int]) -> Mapping[int, BackendCounters]:
        """Return what tests have counted of these backends."""
        return {number: self._backend_counters.get(number, BackendCounters()) for number in backend_ids}

    @_operation
    def vip_counters(self, vip_ids: Collection[int]) -> Mapping[int, VipCounters]:
        """Return what tests have counted of these VIPs."""
        return {vip_id: self._vip_counters.get(vip_id, VipCounters()) for vip_id in vip_ids}

    @_operation
    def write_shares(self, shares: Mapping[int, int]) -> None:
        """Set which connections of these VIPs are sampled."""
        self.shares |= shares

    @_operation
    def write_client_ways(self, ways: Mapping[int, ClientWay]) -> None:
        """Let replies of NAT backends go these ways, by IP version."""
        self.client_ways = dict(ways)

    @_operation
    def read_handshakes(self, since: int) -> NDArray[np.void]:
        """Return those of `handshakes` that began at `since` or later."""
        return self.handshakes[self.handshakes["syn_at"] >= since]

    @_operation
    def handshake_counters(self, backend_ids: Collection[int]) -> NDArray[np.void]:
        """Return what tests have counted of these backends."""
        return self._handshake_counters[list(backend_ids)]

    @_operation
    def scan_flows(self) -> FlowRecords:
        """Return the flow records that tests have added."""
        return self._flows.scan(self._clock())

    @_operation
    def flow_count(self) -> int:
        """Return how many flow records there are, without those on probation."""
        return self._flows.count()

    @_operation
    def delete_flows(self, records: FlowRecords) -> None:
        """Delete these records."""
        self._flows.delete(records)

    @_operation
    def tell_flows(
        self, records: SharedRecords, vips: NDArray[np.uint16], backends: NDArray[np.uint16], epochs: NDArray[np.uint16]
    ) -> NDArray[np.uint8]:
        """Write records that other balancers told of."""
        fates = np.zeros(len(records), np.uint8)
        for told in told_flows(records, vips, backends, epochs, self._clock()):
            fates[told.numbers] = self._flows.tell(told)
        return fates

    @_operation
    def open_shared(self) -> SharedFlows:
        """Return what reads the connections that a test puts into `shared`."""
        check_needs(self._features, frozenset({Feature.SYNC}))
        return self.shared

    @_operation
    def explain(self, frame: bytes, ifindex: int) -> KernelDecision:
        """Return `decision`, which a test sets, for every frame."""
        check_frame(frame)
        if ifindex not in {attachment.ifindex for attachment in self.attached}:
            raise PlatformError(f"there is no NIC {ifindex}")
        if self.decision is None:
            raise PlatformError("an in-memory data plane has no program to ask")
        return replace(self.decision, frame=self.decision.frame or frame)

    @_operation
    def recall(self, flow: FlowId, vip_id: int) -> Remembered:
        """Return what tests have set."""
        key = flow_records.raw_key(*astuple(flow))
        return Remembered(
            record=self._flows.find(flow.destination.version, key),
            source_buckets=self.source_buckets.get((flow.source, vip_id)),
            vip_buckets=self.vip_buckets.get(vip_id, Buckets()),
            loads={backend_id: load for backend_id, load in self.loads.items() if load},
            new_flows=(self._vip_counters.get(vip_id, VipCounters()).new_flows,),
            suspects=self.suspects,
            backend_buckets=dict(self.backend_buckets),
        )

    @_operation
    def start_capture(self, wanted: CaptureFilter) -> Capture:
        """Return a capture that hands out what a test puts into its `packets`."""
        self.capture = FakeCapture(wanted)
        self._features |= {Feature.CAPTURE}
        return self.capture

    @_operation
    def stop_capture(self) -> None:
        """End the capture."""
        self.capture = None
        self._features -= {Feature.CAPTURE}

    def overwrite(self, name: str) -> None:
        """Empty the maps of `vips` or `backends` as another process would."""
        self._overwritten[name] = getattr(self, f"_{name}")
        setattr(self, f"_{name}", {})

    def fail(self, method: str, error: Exception, *, times: int = 1) -> None:
        """Let the next `times` calls of `method` raise `error` and do nothing."""
        self.failures[method] += [error] * times

    def add_flow(
        self,
        source: str,
        source_port: int,
        vip: VipKey,
        *,
        backend: int,
        epoch: int = 0,
        flags: int = layout.FLOW_ESTABLISHED,
        age: float = 0.0,
        vip_id: int | None = None,
        probation: bool = False,
    ) -> None:
        """Record a flow, last seen `age` seconds ago; the oldest is evicted if the table is full.

        `vip_id` None is that of the VIP written with this key, 0 where there is none.
        """
        if vip_id is None:
            vip_id = next((entry.id for entry in self._vips.values() if entry.key == vip), 0)
        key = flow_records.raw_key(ip_address(source), source_port, vip.address, vip.port, vip.protocol.numbers[0])
        value = np.zeros(1, layout.FLOW)
        value[0] = (backend, epoch, flags, vip_id, self._clock() - round(age * 1e9))
        self._flows.add(vip.address.version, key, value.tobytes(), probation=probation)

    def count_vip(self, vip_id: int, counters: VipCounters) -> None:
        """Set a VIP's counters."""
        self._vip_counters[vip_id] = counters

    def count_backend(self, backend_id: int, counters: BackendCounters) -> None:
        """Set a backend's counters."""
        self._backend_counters[backend_id] = counters

    def count_handshakes(self, backend_id: int, counters: NDArray[np.void]) -> None:
        """Set the counters of a backend's sampled connections."""
        self._handshake_counters[backend_id] = counters

    def count_nic(self, interface: str, **frames: int) -> None:
        """Count frames that came in by a NIC, by what became of them."""
        self._frames[interface].update(frames)

    def _nic_counters(self, interface: str) -> dict[str, int]:
        return {action: self._frames[interface][action] for action in ACTIONS}

    def count_reason(self, name: str, packets: int = 1) -> None:
        """Count packets that were passed or dropped, for a reason such as `drop_no_backend`."""
        self._reasons[name] += packets

    def _ids(self) -> list[int]:
        return sorted(self._backends)


def _read_back(backend: BackendEntry) -> BackendEntry:
    """Return what the maps would say of it."""
    value = backend_codec.encode([backend])
    keys, direct = backend_codec.nat_keys(backend), backend_codec.nat_direct_keys(backend)
    read = backend_codec.decode(backend.id, value, backend.weight, backend.quic_server_id, keys, direct=direct)
    return replace(read, max_new_flows=backend.max_new_flows)
