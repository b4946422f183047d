# SPDX-License-Identifier: Apache-2.0
"""The data plane in the kernel, used through its pinned maps. The program was made by bcc; nothing here needs bcc."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import starmap
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from xdplb.model.access import AccessList
from xdplb.model.decap import Decap
from xdplb.model.next_hop import ClientWay
from xdplb.model.shared_record import SharedRecords

from . import flow_records, layout
from .backend_maps import BackendMaps
from .capacity import check_backends, check_frame, check_table, check_vips
from .capture import CaptureReader
from .client_ways import ClientWays
from .decision_codec import decision_of, encode_filter
from .decisions import Capture, CaptureFilter, KernelDecision
from .features import Feature, Features
from .flow_lines import FlowLines
from .flow_records import RawFlows
from .grace import wait_for_packets
from .handshake_maps import HandshakeMaps
from .inner_maps import inner_keys
from .kept import Kept
from .libbpf import Fd, count_runs, obj_get, prog_test_run
from .maps import BpfMap
from .needs import check_access, check_needs, needs_of, needs_of_values
from .nics import Nics
from .pinned_maps import Maps
from .pinned_reader import PinnedReader
from .pins import INSTANCE, META, PROGRAM, WATCH
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
from .platform_errors import kernel_errors, kernel_errors_in
from .probing import Probing
from .programs import current_program, explaining_program, refuse_to_replace, text_hash
from .reasons import REASONS
from .recall import recall
from .remembered import FlowId, Remembered
from .shared_flows import SharedFlowReader
from .source import compile_flags
from .swap_guard import SwapGuard
from .swap_watch import SwapWatch
from .table_prints import NO_PRINT, TablePrints
from .told_flows import FlowTeller, told_flows
from .tunnel_sources import TunnelSources
from .vip_maps import VipMaps
from .vip_tables import VipTables

__all__ = ["PROGRAM_NAME", "BccPlane"]

PROGRAM_NAME = "xdplb"


class BccPlane:
    """The DataPlane over maps that are open. It is their only writer; closing it changes nothing in the kernel."""

    def __init__(
        self,
        maps: Maps,
        cache_dir: Path | None = None,
        guard: SwapGuard | None = None,
        *,
        rolled_back: str | None = None,
    ) -> None:
        self._maps = maps
        self._rolled_back = rolled_back
        self._cache_dir = cache_dir
        self._guard = guard
        self._counting: Fd | None = None
        """Lets the kernel count how often the program runs, as long as it is watched."""
        self._vips = VipMaps(maps)
        self._backends = BackendMaps(maps)
        self._tables = VipTables(maps.vip_tables)
        self._handshakes = HandshakeMaps(maps)
        self._client_ways = ClientWays(maps)
        self._prints = TablePrints(maps.table_prints)
        self._tunnels = TunnelSources(None)
        self._kept = Kept(maps)
        self.nics = Nics(maps, self._kept)
        self._capture: CaptureReader | None = None
        self._compiling = Lock()  # one program after the other, whichever thread asks
        self._probing = Probing(maps.pin_dir, cache_dir)
        self._probing_lock = Lock()  # opening it takes seconds, beside all else
        self._tellers: dict[int, FlowTeller] = {}

    @property
    def capacity(self) -> Capacity:
        """How much the maps hold."""
        return self._maps.capacity

    @property
    def maps(self) -> Maps:
        """The maps themselves, for tests and benchmarks that look behind this class."""
        return self._maps

    @property
    def features(self) -> Features:
        """What the program is compiled for."""
        return self._maps.meta.features

    def require(self, features: Features) -> None:
        """Make sure that the program has at least these; the old one goes on where that fails."""
        if features <= self.features:  # also while another thread compiles
            return
        with self._compiling:
            if not features <= self.features:
                self.compile_for(self.features | features).close()

    def compile_for(self, features: Features) -> Fd:
        """Return the program for exactly these features and what the maps hold: the pinned one, or a new one.

        Additional maps are created first, maps no longer needed are removed last. After an error all is as before.
        """
        features |= needs_of(self._vips.held.values()) | needs_of_values(self._backends.values())
        if self._backends.answers_directly:
            features |= {Feature.NAT_DIRECT}
        maps = self._maps
        with self._counted(), ExitStack() as undo:
            with kernel_errors_in("create the maps"):
                maps.grow(features, undo)
            flags = compile_flags(maps.pin_dir, maps.capacity, features)
            with kernel_errors_in("replace the program"):
                program = current_program(
                    maps.pin_dir,
                    maps.meta,
                    PROGRAM_NAME,
                    flags,
                    self._cache_dir,
                    features=features,
                    swapping=self.nics.swapping,
                    guard=self._guard,
                )
            undo.pop_all()
        if not (maps.pin_dir / WATCH).exists():  # the program before may be put back, and have the other features
            maps.shrink()
        self._kept.program(program)
        return program

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Count what programs do while one may be swapped in, and on only if that is watched: packets pay for it."""
        if self._guard is not None:
            self._counting = count_runs()
        try:
            yield
        finally:
            if not (self._maps.pin_dir / WATCH).exists():
                self._counting = None

    @property
    def rolled_back(self) -> str | None:
        """What was worse with a program of the start before, which this start has put back; None if it has not."""
        return self._rolled_back

    @property
    def is_held_back(self) -> bool:
        """Whether the program is an older one, since that of this xdplb was rolled back."""
        refused = self._maps.meta.refused_text
        return refused != 0 and refused == text_hash(PROGRAM_NAME)

    @kernel_errors("look at the new program")
    def watch_swap(self) -> SwapState | None:
        """Judge the program that was swapped in last, and put back the one before if it is worse."""
        guard, folder = self._guard, self._maps.pin_dir
        with self._compiling, self.nics.swapping:
            watch = None if guard is None else SwapWatch.open(folder)
            if guard is None or watch is None:
                self._counting = None
                return None
            after = watch.after()
            worse = guard.worse(watch.before, after, alone=watch.alone)
            if worse is not None:
                watch.roll_back(self._maps.meta)
                self._maps.meta.set_refused_text(watch.text_hash)
                with obj_get(folder / PROGRAM) as program:
                    self._kept.program(program)
            elif after.seconds >= guard.watch_seconds:
                watch.finish()
            else:
                if watch.alone and after.seconds >= guard.alone_seconds:
                    watch.end_alone()
                return SwapState(watch.before, after, alone=watch.alone)
            self._counting = None
            return SwapState(watch.before, after, is_over=True, worse=worse)

    @kernel_errors("pin again what was removed")
    def repair(self) -> Sequence[str]:
        """Pin again what somebody has removed from the pin dir; return its names."""
        if not self._compiling.acquire(blocking=False):
            return ()  # pins come and go now, and it is asked again soon
        try:
            return self._kept.repair()
        finally:
            self._compiling.release()

    @kernel_errors("look at the NICs")
    def attachments(self) -> Sequence[Attachment]:
        """Return the NICs that have a link of ours now."""
        if not self._compiling.acquire(blocking=False):
            return self.nics.attached()  # the program is being swapped, and it is asked again soon
        try:
            return self.nics.attached_or_replaced()
        finally:
            self._compiling.release()

    @kernel_errors("attach the program")
    def attach(self, interface: str, mode: str) -> None:
        """Make sure that the program is on this NIC."""
        self.nics.attach(interface, mode)

    @kernel_errors("put the program back")
    def take_back(self, interface: str) -> None:
        """Put the program into the link of this NIC again; not while it is swapped, which does the same."""
        if self._compiling.acquire(blocking=False):
            try:
                self.nics.take_back(interface)
            finally:
                self._compiling.release()

    @kernel_errors("read the VIPs")
    def read_vips(self) -> Mapping[int, VipEntry]:
        """Return the VIPs the packets see, by id."""
        return self._vips.read()

    @kernel_errors("write the VIPs")
    def write_vips(self, vips: Sequence[VipEntry], instead_of: Collection[int] | None = None) -> None:
        """Swap the indexes and tries that are different."""
        held = self._vips.held.keys()
        replaced = set(held) if instead_of is None else held & set(instead_of)
        check_vips(self.capacity, vips, held - replaced)
        check_needs(self.features, needs_of(vips))
        self._vips.write(vips, replaced)

    @kernel_errors("write which tunnels end here")
    def write_decap(self, decap: Decap) -> None:
        """Make these the tunnels that end here. ValueError if there are some and the feature was not required."""
        check_needs(self.features, frozenset({Feature.DECAP}) if decap.at else frozenset())
        self._tunnels = TunnelSources(self._maps.tunnel_sources)
        self._tunnels.write(decap)

    @kernel_errors("write the access lists")
    def write_access(self, lists: Mapping[int, AccessList]) -> None:
        """Swap the access lists."""
        check_access(self.features, lists)
        self._vips.write_access(lists)

    def read_access(self) -> Mapping[int, AccessList]:
        """Return the access lists of the VIPs that have one, by VIP id."""
        return PinnedReader(self._maps.pin_dir).read_access()

    @kernel_errors("read the VIPs' tables")
    def table_ids(self) -> Collection[int]:
        """Return the ids that have a table."""
        return inner_keys(self._maps.vip_tables)

    @kernel_errors("read the tables' fingerprints")
    def read_prints(self) -> Mapping[int, bytes]:
        """Return the fingerprints of the tables that were written with one."""
        return self._prints.read()

    @kernel_errors("read a VIP's table")
    def read_table(self, vip_id: int) -> Slots | None:
        """Return a copy of a VIP's table, None where it has none."""
        return self._tables.read(vip_id)

    @kernel_errors("write a VIP's table")
    def write_table(self, vip_id: int, slots: Slots, fingerprint: bytes = NO_PRINT) -> None:
        """Change the slots that differ, in place."""
        check_table(self.capacity, vip_id, slots)
        self._prints.write(vip_id, NO_PRINT)
        self._tables.write(vip_id, slots)
        self._prints.write(vip_id, fingerprint)

    @kernel_errors("verify a VIP's table")
    def restore_table(self, vip_id: int, slots: Slots) -> bool:
        """Write a VIP's table again if it does not have these slots; return whether it had not."""
        return self._tables.restore(vip_id, slots)

    @kernel_errors("write a table's fingerprint")
    def write_print(self, vip_id: int, fingerprint: bytes) -> None:
        """Set the fingerprint of a table that is right as it is."""
        self._prints.write(vip_id, fingerprint)

    def verify(self) -> Iterator[str]:
        """Compare some of what was written at each step."""
        with kernel_errors_in("verify the maps"):
            yield from (name if changed else "" for name, changed in self._vips.verify())
            yield from (name if changed else "" for name, changed in self._backends.verify())
            yield from ("table_prints" if changed else "" for changed in self._prints.verify())
            yield "tunnel_sources" if self._tunnels.restore() else ""
            yield "client_ways" if self._client_ways.restore() else ""
            yield "tx_ports" if self.nics.restore_ports() else ""
            yield META if self._maps.meta.restore() else ""
            yield INSTANCE if self._maps.instance.restore() else ""

    @kernel_errors("delete a VIP's table")
    def delete_table(self, vip_id: int) -> None:
        """Remove a VIP's table; no error if it has none."""
        self._prints.write(vip_id, NO_PRINT)
        self._tables.delete(vip_id)

    @kernel_errors("read the backends")
    def read_backends(self) -> Mapping[int, BackendEntry]:
        """Return the backends in the maps, by id; those never written are left out."""
        return self._backends.read()

    @kernel_errors("write the backends")
    def write_backends(self, backends: Sequence[BackendEntry]) -> None:
        """Write these entries. Counters of a new (id, epoch) are zeroed first."""
        check_backends(self.capacity, [backend.id for backend in backends])
        check_needs(self.features, needs_of(backends=backends))
        if backends:
            self._backends.write(backends)

    @kernel_errors("clear backends")
    def clear_backends(self, ids: Sequence[int]) -> None:
        """Empty these entries, once no packet has a slot that named them."""
        check_backends(self.capacity, ids)
        if ids:
            wait_for_packets()
            self._backends.clear(ids)

    @kernel_errors("let probes be sent by the traffic's own way")
    def open_probing(self) -> None:
        """Load the programs of probes and put them on the NICs."""
        with self._probing_lock:
            self._probing.open(self._maps.backends, self.capacity)
            self._probing.keep_on([one.ifindex for one in self.nics.attached()])

    @kernel_errors("keep the programs of probes on the NICs")
    def keep_probing(self) -> Sequence[str]:
        """Put the programs of probes, and their pins, where they are not."""
        if not self._probing_lock.acquire(blocking=False):
            return ()  # they are put there just now
        try:
            if not self._probing.is_open:
                return ()
            self._probing.repair()
            return self._probing.keep_on([one.ifindex for one in self.nics.attached()])
        finally:
            self._probing_lock.release()

    @kernel_errors("write where probes go")
    def write_probe_ways(self, ways: Mapping[int, ProbeWay | None]) -> None:
        """Set where the probes of these backends go."""
        if not self._probing.is_open:
            raise ValueError("no probes can be sent by the traffic's own way: open it first")
        check_backends(self.capacity, list(ways))
        self._probing.write(ways)

    @kernel_errors("remove the programs of probes")
    def close_probing(self) -> None:
        """Take the programs of probes off all NICs, and remove them."""
        with self._probing_lock:
            self._probing.close()

    @kernel_errors("read which state the maps belong to")
    def read_mark(self) -> Mark | None:
        """Return which state the maps belong to."""
        return self._maps.instance.read()

    @kernel_errors("note which state the maps belong to")
    def write_mark(self, mark: Mark) -> None:
        """Note which state the maps belong to."""
        self._maps.instance.write(mark)

    @kernel_errors("write the backends' loads")
    def write_loads(self, flows: Mapping[int, int]) -> None:
        """Set how many open flows each of these backends has."""
        check_backends(self.capacity, list(flows))
        if flows:
            self._backends.write_loads(flows)

    @kernel_errors("say which backends are suspect")
    def write_suspects(self, ids: Collection[int]) -> None:
        """Make these backends suspect, and no others."""
        check_backends(self.capacity, ids)
        self._backends.write_suspects(ids)

    @kernel_errors("prepare new VIPs")
    def start_vips(self, vip_ids: Sequence[int]) -> None:
        """Start the counters of these VIP ids at zero, and give an empty table to those that have none."""
        self._tables.add(vip_ids)
        counters = self._maps.vip_stats
        keys = np.array(vip_ids, np.uint32)
        counters.update_batch(keys, np.zeros((len(vip_ids), counters.value_bytes), np.uint8))
        self._maps.vip_strays.update_batch(keys, np.zeros(len(vip_ids), np.uint64))

    @kernel_errors("read the counters")
    def counters(self) -> Counters:
        """Read the counters of the VIPs and backends that there are, and of all reasons."""
        reasons = _sums(self._maps.reason_stats, [reason.number for reason in REASONS])[:, 0]
        return Counters(
            vips=self._vip_counters(sorted(self._vips.held)),
            backends=self._backend_counters(self._backends.ids),
            reasons=dict(zip((reason.name for reason in REASONS), reasons.tolist(), strict=True)),
            nics=self._nic_counters(),
            unwrapped=self._unwrapped(),
        )

    @kernel_errors("read the counters")
    def backend_counters(self, backend_ids: Collection[int]) -> Mapping[int, BackendCounters]:
        """Read the counters of these backends."""
        return self._backend_counters(backend_ids)

    @kernel_errors("read the counters")
    def vip_counters(self, vip_ids: Collection[int]) -> Mapping[int, VipCounters]:
        """Read the counters of these VIPs."""
        return self._vip_counters(vip_ids)

    @kernel_errors("set which connections are sampled")
    def write_shares(self, shares: Mapping[int, int]) -> None:
        """Set which connections of these VIPs are sampled."""
        self._handshakes.write_shares(shares)

    @kernel_errors("write the ways to clients")
    def write_client_ways(self, ways: Mapping[int, ClientWay]) -> None:
        """Let replies of NAT backends go these ways, by IP version."""
        self._client_ways.write(ways)

    @kernel_errors("read the sampled connections")
    def read_handshakes(self, since: int) -> NDArray[np.void]:
        """Return what was noted of the sampled connections that began at `since` or later."""
        return self._handshakes.read(since)

    @kernel_errors("read the sampled connections")
    def handshake_counters(self, backend_ids: Collection[int]) -> NDArray[np.void]:
        """Return the counters of the sampled connections of these backends."""
        return self._handshakes.counters(backend_ids)

    @kernel_errors("read the flow table")
    def scan_flows(self) -> FlowRecords:
        """Read all flow tables. A record that leaves its probation meanwhile is seen twice, but never missed."""
        with ExitStack() as opened:
            tables = []
            for table, version, probation in self._flow_tables(opened):
                keys, values = table.read_all()
                tables.append(RawFlows(keys, values, version, probation))
        return flow_records.from_raw(tables, time.monotonic_ns())

    @kernel_errors("count the flow table")
    def flow_count(self) -> int:
        """Return how many records there are, without those on probation. The kernel keeps no count: they are read."""
        with ExitStack() as opened:
            tables = [table for table, _, probation in self._flow_tables(opened) if not probation]
            return sum(len(table.read_all()[0]) for table in tables)

    @kernel_errors("delete flow records")
    def delete_flows(self, records: FlowRecords) -> None:
        """Delete these records; no error for those already gone."""
        if not len(records.backend):
            return
        wait_for_packets()
        with ExitStack() as opened:
            for table, version, probation in self._flow_tables(opened):
                table.delete_batch(flow_records.flow_keys(records, version, probation=probation))

    @kernel_errors("write flow records of other balancers")
    def tell_flows(
        self, records: SharedRecords, vips: NDArray[np.uint16], backends: NDArray[np.uint16], epochs: NDArray[np.uint16]
    ) -> NDArray[np.uint8]:
        """Write records that other balancers told of; return the Fate of each. Of a version without tables, none is."""
        fates = np.zeros(len(records), np.uint8)
        for told in told_flows(records, vips, backends, epochs, time.monotonic_ns()):
            teller = self._teller(told.version)
            if teller is not None:
                fates[told.numbers] = teller.write(told)
        return fates

    @kernel_errors("read the connections that other balancers must know")
    def open_shared(self) -> SharedFlows:
        """Return what reads the connections that other balancers must know."""
        ring, losses = self._maps.shared_flows, self._maps.shared_losses
        if ring is None or losses is None:
            raise ValueError("the program is not compiled to tell other balancers of connections: require it first")
        return SharedFlowReader(ring, losses)

    @kernel_errors("explain a packet")
    def explain(self, frame: bytes, ifindex: int) -> KernelDecision:
        """Return what would become of a frame that comes in by this NIC."""
        check_frame(frame)
        maps = self._maps
        flags = compile_flags(maps.pin_dir, maps.capacity, self.features - {Feature.CAPTURE})
        maps.explain_decision.update(0, np.zeros(1, layout.DECISION))
        with explaining_program(maps.pin_dir, maps.meta, PROGRAM_NAME, flags, self._cache_dir) as program:
            result = prog_test_run(program, frame, ifindex=ifindex)
        return decision_of(result, maps.explain_decision.read(0))

    @kernel_errors("read the records of a flow")
    def recall(self, flow: FlowId, vip_id: int) -> Remembered:
        """Return what the maps hold about this flow, for the VIP with this id."""
        return recall(self._maps, flow, vip_id)

    @kernel_errors("capture packets")
    def start_capture(self, wanted: CaptureFilter) -> Capture:
        """Capture packets until `stop_capture`; ConflictError if another program is in xdplb's link."""
        self._close_capture()
        refuse_to_replace(self._maps.pin_dir, PROGRAM_NAME, "a capture")
        self._maps.capture_filter.update(0, encode_filter(wanted))
        self._capture = CaptureReader(self._maps.capture_events, wanted.snap_bytes)
        try:
            self.require(frozenset({Feature.CAPTURE}))
        except BaseException:
            self._close_capture()
            raise
        return self._capture

    def stop_capture(self) -> None:
        """End the capture."""
        self._close_capture()
        with self._compiling:
            if Feature.CAPTURE in self.features:
                self.compile_for(self.features - {Feature.CAPTURE}).close()

    def _nic_counters(self) -> dict[str, Mapping[str, int]]:
        counters = self._maps.nic_stats
        if counters is None:
            return {}
        places = self.nics.places()
        rows = _sums(counters, list(places.values())).tolist()
        return {name: dict(zip(ACTIONS, row, strict=False)) for name, row in zip(places, rows, strict=True)}

    def _unwrapped(self) -> int | None:
        counter = self._maps.unwrapped_packets
        return None if counter is None else int(_sums(counter, [0])[0, 0])

    def _vip_counters(self, vip_ids: Collection[int]) -> dict[int, VipCounters]:
        rows = _sums(self._maps.vip_stats, vip_ids)[:, :6]
        return dict(zip(vip_ids, starmap(VipCounters, rows.tolist()), strict=True))

    def _backend_counters(self, backend_ids: Collection[int]) -> dict[int, BackendCounters]:
        rows = _sums(self._maps.backend_stats, backend_ids)[:, :4]
        second = np.zeros((len(rows), 2), rows.dtype)
        if Feature.SECOND_CHOICE in self.features:
            second = _sums(self._maps.second_stats, backend_ids)
        rows = np.hstack((rows[:, :3], second, rows[:, 3:]))
        return dict(zip(backend_ids, starmap(BackendCounters, rows.tolist()), strict=True))

    def _close_capture(self) -> None:
        capture, self._capture = self._capture, None
        if capture is not None:
            capture.close()

    def _teller(self, version: int) -> FlowTeller | None:
        """Return what writes to the tables of this IP version. It stays open: to map the lines takes milliseconds."""
        maps = self._maps
        flows, lines = (maps.flows, maps.flow_lines) if version == 4 else (maps.flows6, maps.flow_lines6)
        if flows is None or lines is None:
            return None
        if version not in self._tellers:
            self._tellers[version] = FlowTeller(flows, FlowLines(lines))
        return self._tellers[version]

    def _flow_tables(self, opened: ExitStack) -> list[tuple[BpfMap | FlowLines, int, bool]]:
        """Return the flow tables, what version of IP they are for and whether for probation; those first."""
        maps = self._maps
        lines, lines6 = (
            None if found is None else opened.enter_context(FlowLines(found))
            for found in (maps.flow_lines, maps.flow_lines6)
        )
        tables = (
            (maps.probation, 4, True),
            (lines, 4, False),
            (maps.flows, 4, False),
            (maps.probation6, 6, True),
            (lines6, 6, False),
            (maps.flows6, 6, False),
        )
        return [(table, version, probation) for table, version, probation in tables if table is not None]


def _sums(counters: BpfMap, keys: Collection[int]) -> NDArray[np.uint64]:
    """Return a row for each key, with its 64-bit fields summed over the CPUs."""
    fields = counters.info.value_size // 8
    if not keys:
        return np.zeros((0, fields), np.uint64)
    of_cpus: NDArray[np.uint64] = counters.read_some(keys).view(np.uint64).reshape(len(keys), -1, fields)
    sums: NDArray[np.uint64] = of_cpus.sum(axis=1, dtype=np.uint64)
    return sums
