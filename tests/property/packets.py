"""The packet path as a reference: the cases of bpf/lib/choose.h in Python, over maps that are dicts.

It is a DataPlane, so that the real control plane drives it, and after each of its steps `between_steps` is called: a
packet may come at any moment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

import numpy as np

from xdplb.balance.hashing import flow_hash, slot_of
from xdplb.balance.slots import NOBODY, PINNED, STEADY
from xdplb.dataplane.layout import FLOW_ESTABLISHED, FLOW_FIN
from xdplb.dataplane.plane import Attachment, BackendEntry, Capacity, Counters, FlowRecords, Slots, VipEntry
from xdplb.model.vip import VipKey

TOUCH_AFTER_SECONDS = 1.0


@dataclass(frozen=True)
class Flow:
    """A client's address and port, and the slot it falls into."""

    source: int
    source_port: int
    slot: int

    @classmethod
    def of(cls, source: str, source_port: int, port: int) -> Flow:
        address = int(IPv4Address(source))
        return cls(address, source_port, int(slot_of(flow_hash(address, source_port, port))[0]))


@dataclass
class Record:
    backend: int
    epoch: int
    flags: int
    last_seen: float


class PacketPath:
    """The flows are of one TCP VIP, `key`, with id 0; times are `now`, which a test moves."""

    def __init__(self, key: VipKey) -> None:
        self.key = key
        self.capacity = Capacity(vips=4, backends=64, flows=4096)
        self.now = 1000.0
        self.vips: dict[int, VipEntry] = {}
        self.tables: dict[int, Slots] = {}
        self.entries: dict[int, BackendEntry] = {}
        self.flows: dict[Flow, Record] = {}
        self.between_steps: Callable[[], None] = lambda: None

    # --- packets

    def syn(self, flow: Flow) -> tuple[int, int] | None:
        """Return id and epoch of the backend that gets the first packet of a connection, None if it is dropped."""
        return self._packet(flow, syn=True, flags=0)

    def ack(self, flow: Flow) -> tuple[int, int] | None:
        return self._packet(flow, syn=False, flags=FLOW_ESTABLISHED)

    def fin(self, flow: Flow) -> tuple[int, int] | None:
        return self._packet(flow, syn=False, flags=FLOW_ESTABLISHED | FLOW_FIN)

    def _packet(self, flow: Flow, *, syn: bool, flags: int) -> tuple[int, int] | None:
        vip = self.vips[0]
        owner, previous = int(self.tables[0][flow.slot]) & 0xFFFF, int(self.tables[0][flow.slot]) >> 16
        chosen, record = owner, False
        if vip.track_always or previous != STEADY:
            known = self._known(flow)
            if known is None:
                moving = previous not in {STEADY, PINNED}
                lost = not syn and previous != STEADY and not (moving and self._usable(previous))
                if not syn and moving and not lost:
                    chosen = previous
                record = vip.track_always or (moving and not lost)
            elif syn and (known.flags & FLOW_FIN or self.now > known.last_seen + vip.idle_seconds):
                record = True
            else:
                chosen = known.backend
                known.flags |= flags
                if self.now >= known.last_seen + TOUCH_AFTER_SECONDS:
                    known.last_seen = self.now
        if not self._usable(chosen):
            return None
        epoch = self.entries[chosen].epoch
        if record:
            self.flows[flow] = Record(chosen, epoch, flags, self.now)
        return chosen, epoch

    def _known(self, flow: Flow) -> Record | None:
        record = self.flows.get(flow)
        if record is None or not self._usable(record.backend) or self.entries[record.backend].epoch != record.epoch:
            return None
        return record

    def _usable(self, backend: int) -> bool:
        return backend in self.entries and self.entries[backend].usable

    # --- what the control plane asks of it

    def attachments(self) -> Sequence[Attachment]:
        return ()

    def read_vips(self) -> dict[int, VipEntry]:
        return dict(self.vips)

    def write_vips(self, vips: Sequence[VipEntry]) -> None:
        self.vips = {vip.id: vip for vip in vips}
        self._stepped()

    def read_table(self, vip_id: int) -> Slots | None:
        return self.tables[vip_id].copy() if vip_id in self.tables else None

    def write_table(self, vip_id: int, slots: Slots) -> None:
        self.tables[vip_id] = slots.copy()
        self._stepped()

    def delete_table(self, vip_id: int) -> None:
        self.tables.pop(vip_id, None)
        self._stepped()

    def read_backends(self) -> dict[int, BackendEntry]:
        return dict(self.entries)

    def write_backends(self, backends: Sequence[BackendEntry]) -> None:
        self.entries |= {
            entry.id: replace(entry, usable=entry.usable and entry.next_hop is not None) for entry in backends
        }
        self._stepped()

    def clear_backends(self, ids: Sequence[int]) -> None:
        for backend_id in ids:
            self.entries.pop(backend_id, None)
        self._stepped()

    def reset_vip_counters(self, vip_ids: Sequence[int]) -> None:
        self._stepped()

    def counters(self) -> Counters:
        return Counters({}, {}, {})

    def scan_flows(self) -> FlowRecords:
        flows, records = list(self.flows), list(self.flows.values())
        return FlowRecords(
            key=np.array([(flow.source, flow.source_port, 0, 0) for flow in flows], "<u4").reshape(-1, 4).view("u1"),
            source=np.array([flow.source for flow in flows], np.uint32),
            source_port=np.array([flow.source_port for flow in flows], np.uint16),
            destination=np.full(len(flows), int(self.key.address), np.uint32),
            destination_port=np.full(len(flows), self.key.port, np.uint16),
            protocol=np.full(len(flows), self.key.protocol.number, np.uint8),
            backend=np.array([record.backend for record in records], np.uint16),
            epoch=np.array([record.epoch for record in records], np.uint16),
            flags=np.array([record.flags for record in records], np.uint32),
            age=np.array([self.now - record.last_seen for record in records], np.float64),
        )

    def flow_count(self) -> int:
        return len(self.flows)

    def delete_flows(self, records: FlowRecords) -> None:
        gone = set(zip(records.source.tolist(), records.source_port.tolist(), strict=True))
        self.flows = {flow: r for flow, r in self.flows.items() if (flow.source, flow.source_port) not in gone}
        self._stepped()

    def _stepped(self) -> None:
        self._check_names()
        self.between_steps()

    def _check_names(self) -> None:
        """Whatever packets can reach is there: tables of VIPs, usable owners, written previous owners."""
        for vip in self.vips.values():
            words = np.unique(self.tables[vip.id])
            for word in words.tolist():
                owner, previous = word & 0xFFFF, word >> 16
                assert owner == NOBODY or self._usable(owner), f"the table names {owner}, which cannot be sent to"
                assert previous in {STEADY, PINNED} or self._usable(previous), f"the table names {previous}"
