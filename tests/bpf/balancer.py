# SPDX-License-Identifier: Apache-2.0
"""The balancer's program, really loaded, and its maps: what a test sets up, sends through it and looks at."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from typing import Any

import numpy as np

from tests.bpf import packets
from xdplb.dataplane import layout
from xdplb.dataplane.bcc_plane import BccPlane
from xdplb.dataplane.flow_lines import FlowLines
from xdplb.dataplane.libbpf import Fd, RunResult, prog_test_run
from xdplb.dataplane.maps import BpfMap
from xdplb.dataplane.plane import BackendEntry, VipEntry
from xdplb.model.next_hop import NextHop, VlanTag
from xdplb.model.vip import Forward, HashKind, Protocol, VipKey

__all__ = ["EPOCH", "IDLE_SECONDS", "VIP6_IDS", "VIP_IDS", "Balancer", "Record", "backend", "slot", "vip_entry"]

EPOCH = 7
IDLE_SECONDS = 60
VIP_IDS = {Protocol.TCP: 1, Protocol.UDP: 2}
VIP6_IDS = {Protocol.TCP: 3, Protocol.UDP: 4}
ALL_IDS = (*VIP_IDS.values(), *VIP6_IDS.values())
NUMBERS = {Protocol.TCP: 6, Protocol.UDP: 17}
LOOPBACK = 1
"""What a test run comes in by: a backend with this ifindex is sent to by XDP_TX."""


@dataclass(frozen=True)
class Record:
    """What the flow tables say of the one flow of a test: whose it is, FLOW_* flags, seconds since its last packet."""

    backend: int
    flags: int = 0
    age: float = 0.0
    epoch: int = EPOCH
    probation: bool = False


def slot(owner: int, previous: int = layout.NO_BACKEND) -> int:
    """Return a slot as the maps hold it."""
    return owner | previous << 16


def backend(
    backend_id: int,
    *,
    forward: Forward = Forward.DR,
    version: int = 4,
    inner_version: int = 4,
    usable: bool = True,
    takes_new: bool = True,
    ifindex: int = LOOPBACK,
    mtu: int = 1500,
    source: str | None = None,
    source_mask: int = 0,
    tags: Sequence[VlanTag] = (),
    keep_tags: bool = False,
) -> BackendEntry:
    """Return a backend whose addresses, of this version, follow from its id."""
    addresses = {4: packets.backend_address(backend_id), 6: packets.backend_address6(backend_id)}
    sources = {4: packets.IPIP_SOURCE, 6: packets.IPIP_SOURCE6}
    outer_source = ip_address(source or sources[version])
    hop = NextHop(
        destination_mac=bytes.fromhex(packets.backend_mac(backend_id).replace(":", "")),
        source_mac=bytes.fromhex(packets.BALANCER_MAC.replace(":", "")),
        interface="",
        ifindex=ifindex,
        mtu=mtu,
        source=outer_source,
        tags=tuple(tags),
    )
    return BackendEntry(
        id=backend_id,
        epoch=EPOCH,
        vip_id=VIP_IDS[Protocol.TCP],
        address=ip_address(addresses[version]),
        forward=forward,
        usable=usable,
        takes_new=takes_new,
        next_hop=hop,
        source=outer_source if source_mask else None,
        source_mask=source_mask,
        inner_version=inner_version,
        keep_tags=keep_tags,
    )


def vip_entry(vip_id: int, key: str, **fields: Any) -> VipEntry:
    """Return the entry of a VIP as it is written on the command line, `203.0.113.0/24:80-89/tcp`."""
    options: dict[str, Any] = {"track_always": False, "idle_seconds": IDLE_SECONDS, **fields}
    return VipEntry(vip_id, VipKey.parse(key), **options)


class Balancer:
    """One VIP address of each family with TCP and UDP on one port, whose slots are all alike."""

    def __init__(self, plane: BccPlane, program: Fd) -> None:
        self.plane = plane
        self._program = program

    @property
    def program(self) -> Fd:
        """The program itself, for a harness that runs it."""
        return self._program

    def clear(self) -> None:
        """Take away what the last test left."""
        vip_ids = sorted({*ALL_IDS, *self.plane.read_vips()})
        self.plane.write_vips([])
        self.plane.delete_flows(self.plane.scan_flows())
        self.plane.start_vips(vip_ids)
        for vip_id in vip_ids:
            self.plane.delete_table(vip_id)
        self.plane.clear_backends(sorted(self.plane.read_backends()))
        for key, _ in list(self.plane.maps.fragments.items()):
            self.plane.maps.fragments.delete(key)
        for counters in (self.plane.maps.reason_stats, self.plane.maps.answer_budget):
            for number in range(counters.info.max_entries):
                counters.update(number, bytes(counters.value_bytes))

    def write_vips(self, *, track_always: bool = False, hash_kind: HashKind = HashKind.FIVE_TUPLE) -> None:
        """Set all VIPs, without tables."""
        self.plane.write_vips(
            [
                VipEntry(
                    vip_id,
                    VipKey(ip_address(address), packets.VIP_PORT, protocol),
                    track_always=track_always,
                    hash=hash_kind,
                    idle_seconds=IDLE_SECONDS,
                )
                for address, ids in ((packets.VIP, VIP_IDS), (packets.VIP6, VIP6_IDS))
                for protocol, vip_id in ids.items()
            ]
        )

    def write_slots(self, value: int | np.ndarray) -> None:
        """Give all VIPs a table: one value for all slots, or all of them."""
        for vip_id in ALL_IDS:
            self.plane.write_table(vip_id, self.slots(value))

    def slots(self, value: int | np.ndarray) -> np.ndarray:
        """Return a whole table: one value for all slots, or all of them."""
        slots = np.empty(layout.TABLE_SIZE, np.uint32)
        slots[:] = value
        return slots

    def set_up(
        self,
        slots: int | np.ndarray,
        backends: Collection[BackendEntry],
        *,
        track_always: bool = False,
        hash_kind: HashKind = HashKind.FIVE_TUPLE,
    ) -> None:
        """Set the VIPs, their tables and the backends."""
        self.plane.write_backends(list(backends))
        self.write_slots(slots)
        self.write_vips(track_always=track_always, hash_kind=hash_kind)

    def send(self, frame: bytes, *, metadata: bytes = b"") -> RunResult:
        """Run the program on a frame, with `metadata` of another program in front of it."""
        return prog_test_run(self._program, frame, metadata=metadata)

    def write_record(self, protocol: Protocol, record: Record) -> None:
        """Put the record of the tests' one flow (packets.CLIENT to packets.VIP) into its flow table."""
        value = np.zeros(1, layout.FLOW)
        last_seen = time.clock_gettime_ns(time.CLOCK_MONOTONIC) - int(record.age * 1e9)
        value[0] = (record.backend, record.epoch, record.flags, VIP_IDS[protocol], last_seen)
        self._flow_tables()[record.probation].update(_flow_key(protocol), value)

    def record(self, protocol: Protocol) -> Record | None:
        """Return the record of the tests' one flow; its age in tens of seconds, so that a slow host changes nothing."""
        key = _flow_key(protocol)
        found = [(table.lookup(key), probation) for probation, table in self._flow_tables().items()]
        with FlowLines(self.plane.maps.flow_lines) as lines:
            found.append((lines.lookup(key.tobytes()), False))
        records = [_record(value, probation) for value, probation in found if value is not None]
        assert len(records) < 2, "a flow has a record in both tables"
        return records[0] if records else None

    def _flow_tables(self) -> dict[bool, BpfMap]:
        """Return the tables by whether what is in them is on probation."""
        return {False: self.plane.maps.flows, True: self.plane.maps.probation}


def _record(raw: bytes, probation: bool) -> Record:
    value = np.frombuffer(raw, layout.FLOW)[0]
    age = (time.clock_gettime_ns(time.CLOCK_MONOTONIC) - int(value["last_seen"])) / 1e9
    return Record(int(value["backend"]), int(value["flags"]), float(age // 10 * 10), int(value["epoch"]), probation)


def _flow_key(protocol: Protocol) -> np.ndarray:
    key = np.zeros(1, layout.FLOW_KEY)
    source, destination = int(IPv4Address(packets.CLIENT)), int(IPv4Address(packets.VIP))
    key[0] = (source, destination, packets.CLIENT_PORT, packets.VIP_PORT, NUMBERS[protocol])
    return key
