# SPDX-License-Identifier: Apache-2.0
"""The packet path as the reference model has it, driven by the real control plane over maps that are dicts.

After each step of the control plane `between_steps` is called: a packet may come at any moment.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from ipaddress import ip_address

import numpy as np

from xdplb.balance.slots import NOBODY, PINNED, STEADY
from xdplb.dataplane import layout
from xdplb.dataplane.features import Feature, Features
from xdplb.dataplane.plane import Attachment, BackendEntry, Capacity, Counters, FlowRecords, Slots, VipEntry
from xdplb.dataplane.told_flows import Fate, after, told_flows
from xdplb.model.access import AccessList
from xdplb.model.shared_record import SharedRecords
from xdplb.model.vip import VipKey
from xdplb.reference.choose import choose_for_request, settle
from xdplb.reference.config import Config
from xdplb.reference.flow import write_record
from xdplb.reference.flow_hash import hash_flow
from xdplb.reference.flow_state import Flow as FlowRecord
from xdplb.reference.flow_state import FlowKey, FlowState
from xdplb.reference.journey import Choice, Journey
from xdplb.reference.packet import Packet, TcpFlag
from xdplb.reference.reasons import Stop
from xdplb.reference.share import share

SECOND = 1_000_000_000
TCP = 6


@dataclass(frozen=True)
class Flow:
    """A client's address and port."""

    source: str
    source_port: int


class PacketPath:
    """The flows are of one VIP, `key`, of TCP or UDP, with id 0; times are `now` in seconds, which a test moves.

    A UDP flow has no first packet that could be told from others.
    """

    def __init__(self, key: VipKey) -> None:
        self.key = key
        [self._protocol] = key.protocol.numbers
        self.capacity = Capacity(vips=4, backends=64, flows=4096)
        self.features: Features = frozenset()
        self.now = 1000.0
        self.vips: dict[int, VipEntry] = {}
        self.tables: dict[int, Slots] = {}
        self.entries: dict[int, BackendEntry] = {}
        self.state = FlowState()
        self.between_steps: Callable[[], None] = lambda: None
        self.on_sent: Callable[[BackendEntry, Choice], None] = lambda _backend, _choice: None

    # --- packets

    def syn(self, flow: Flow) -> tuple[int, int] | None:
        """Return id and epoch of the backend that gets the first packet of a connection, None if it is dropped."""
        return self._packet(flow, TcpFlag.SYN)

    def ack(self, flow: Flow) -> tuple[int, int] | None:
        return self._packet(flow, TcpFlag.ACK)

    def fin(self, flow: Flow) -> tuple[int, int] | None:
        return self._packet(flow, TcpFlag.ACK | TcpFlag.FIN)

    def records(self) -> dict[FlowKey, FlowRecord]:
        """Return all records, those on probation too."""
        return {**self.state.flows, **self.state.probation}

    def _packet(self, flow: Flow, tcp_flags: int) -> tuple[int, int] | None:
        config = Config(self.vips, self.tables, self.entries, self.features)
        now = round(self.now * SECOND)
        journey = Journey(config, self.state, ifindex=2, now=now, cpu=0, headroom=256, precise=now)
        packet = Packet(
            frame=b"", link=b"", version=self.key.address.version, ip=b"", payload=b"",
            source=ip_address(flow.source), destination=self.key.address, protocol=self._protocol, traffic_class=0,
            hop_limit=64, source_port=flow.source_port, destination_port=self.key.port,
            tcp_flags=tcp_flags if self._protocol == TCP else 0,
        )  # fmt: skip
        vip = self.vips.get(0)
        if vip is None:
            return None
        try:
            choice = choose_for_request(journey, packet, vip, hash_flow(packet, vip.hash))
            backend = settle(journey, choice)
        except Stop:
            return None
        write_record(journey, packet, vip, choice)
        share(journey, packet, vip, choice, backend)
        self.state.apply(journey.effects, cpu=0)
        self.on_sent(backend, choice)
        return backend.id, backend.epoch

    # --- what the control plane asks of it

    def require(self, features: Features) -> None:
        self.features |= features

    def repair(self) -> Sequence[str]:
        """Put back nothing: there is nothing that another process could remove."""
        return ()

    def attachments(self) -> Sequence[Attachment]:
        return ()

    def read_vips(self) -> dict[int, VipEntry]:
        return dict(self.vips)

    def write_vips(self, vips: Sequence[VipEntry], instead_of: Collection[int] | None = None) -> None:
        left = {} if instead_of is None else {key: vip for key, vip in self.vips.items() if key not in instead_of}
        self.vips = left | {vip.id: vip for vip in vips}
        self._stepped()

    def table_ids(self) -> Collection[int]:
        return list(self.tables)

    def read_prints(self) -> Mapping[int, bytes]:
        return {}

    def read_table(self, vip_id: int) -> Slots | None:
        return self.tables[vip_id].copy() if vip_id in self.tables else None

    def write_table(self, vip_id: int, slots: Slots, fingerprint: bytes = b"") -> None:
        # Packets come while some slots are new and others are not.
        before = self.tables.get(vip_id, np.zeros_like(slots))
        self.tables[vip_id] = np.where(np.arange(len(slots)) % 2, slots, before)
        self._stepped()
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

    def write_access(self, lists: Mapping[int, AccessList]) -> None:
        self._stepped()

    def write_loads(self, flows: Mapping[int, int]) -> None:
        self.state.loads.update(flows)

    def start_vips(self, vip_ids: Sequence[int]) -> None:
        self._stepped()

    def counters(self) -> Counters:
        return Counters({}, {}, {})

    def scan_flows(self) -> FlowRecords:
        keys, records = list(self.records()), list(self.records().values())
        return FlowRecords(
            key=np.zeros((len(keys), 40), np.uint8),
            version=np.array([key.source.version for key in keys], np.uint8),
            source=_halves([int(key.source) for key in keys]),
            source_port=np.array([key.source_port for key in keys], np.uint16),
            destination=_halves([int(key.destination) for key in keys]),
            destination_port=np.array([key.destination_port for key in keys], np.uint16),
            protocol=np.array([key.protocol for key in keys], np.uint8),
            vip=np.array([record.vip for record in records], np.uint16),
            backend=np.array([record.backend for record in records], np.uint16),
            epoch=np.array([record.epoch for record in records], np.uint16),
            flags=np.array([record.flags for record in records], np.uint16),
            age=np.array([self.now - record.last_seen / SECOND for record in records], np.float64),
            probation=np.array([key in self.state.probation for key in keys], np.bool_),
        )

    def flow_count(self) -> int:
        return len(self.state.flows)

    def delete_flows(self, records: FlowRecords) -> None:
        gone = set(zip(map(tuple, records.source.tolist()), records.source_port.tolist(), strict=True))
        for key in [key for key in self.records() if (divmod(int(key.source), 1 << 64), key.source_port) in gone]:
            self.state.flows.pop(key, None)
            self.state.probation.pop(key, None)
        self._stepped()

    def tell_flows(
        self, records: SharedRecords, vips: np.ndarray, backends: np.ndarray, epochs: np.ndarray
    ) -> np.ndarray:
        fates = np.zeros(len(records), np.uint8)
        for told in told_flows(records, vips, backends, epochs, round(self.now * SECOND)):
            for place, number in enumerate(told.numbers.tolist()):
                key = flow_key(records[number])
                held = self.state.flows.get(key)
                raw = None if held is None else np.array([astuple(held)], layout.FLOW).tobytes()
                new = after(raw, told.values[place : place + 1], opened=bool(told.opened[place]))
                if new is not None:
                    self.state.flows[key] = FlowRecord(*new[0].tolist())
                fates[number] = Fate.KNOWN if new is None else Fate.INSERTED if held is None else Fate.CHANGED
        return fates

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
                # With peers, one that is lost here is the previous owner until it is back: it may live for others.
                is_there = previous in self.entries if Feature.SYNC in self.features else self._usable(previous)
                assert previous in {STEADY, PINNED} or is_there, f"the table names {previous}"

    def _usable(self, backend: int) -> bool:
        return backend in self.entries and self.entries[backend].usable


def flow_key(record: np.void) -> FlowKey:
    """Return the flow of a record that another balancer has told of, of IPv4."""
    ends = (ip_address(int(record[name][1])) for name in ("source", "destination"))
    source, destination = ends
    ports = int(record["source_port"]), int(record["destination_port"])
    return FlowKey(source, ports[0], destination, ports[1], int(record["protocol"]))


def _halves(addresses: list[int]) -> np.ndarray:
    """Return addresses as the upper and the lower 64 bits of each, shape (n, 2)."""
    return np.array([divmod(address, 1 << 64) for address in addresses], np.uint64).reshape(-1, 2)
