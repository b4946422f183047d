# SPDX-License-Identifier: Apache-2.0
"""What other balancers are told of connections, and where what they tell belongs here. Pure.

On the way, a VIP is an address and port, and a backend an address; ids are each balancer's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from xdplb.balance.hashing import TABLE_SIZE, slots_of_flows
from xdplb.balance.held_table import HeldTable
from xdplb.balance.slots import PINNED, STEADY
from xdplb.control.flows.settle import records_of, slots_of
from xdplb.dataplane.layout import FLOW_ESTABLISHED, FLOW_FIN, FLOW_RST, FLOW_SECOND_CHOICE
from xdplb.dataplane.plane import BackendEntry, FlowRecords, VipEntry
from xdplb.model.address import IPAddress
from xdplb.model.key import VipKey
from xdplb.model.shared_record import ENDED, SHARED_RECORD, SharedRecords, SharedSlots
from xdplb.model.vip import HashKind

__all__ = ["Arrived", "Finder", "Placed", "moving_slots", "of_shared", "place", "records_to_tell", "slots_to_move"]

_TOLD_FLAGS = FLOW_ESTABLISHED | FLOW_FIN | FLOW_RST | FLOW_SECOND_CHOICE
_LOWER = (1 << 64) - 1
_UDP = 17
_MOST_DESTINATIONS = 4096


class Finder:
    """Finds VIPs by destinations and backends by addresses, among what the maps hold."""

    def __init__(self) -> None:
        self._vips: Mapping[int, VipEntry] = {}
        self._by_key: Mapping[VipKey, VipEntry] = {}
        self._several: dict[tuple[int, int], dict[int, list[VipEntry]]] = {}
        """VIPs of several addresses or ports, by IP version and host bits, longest prefix first, and by network."""
        self._exact: dict[tuple[int, int, int, int], VipEntry] = {}
        self._destinations: dict[tuple[int, int, int, int], VipEntry | None] = {}
        self._backends: Mapping[int, BackendEntry] = {}
        self._ids: dict[int, tuple[frozenset[int], dict[IPAddress, BackendEntry]]] = {}

    def look(self, vips: Mapping[int, VipEntry], backends: Mapping[int, BackendEntry]) -> None:
        """Find among these from now on; they are replaced as a whole, never changed."""
        if vips is not self._vips:
            ranked = sorted(vips.values(), key=lambda vip: vip.key.rank)
            self._vips, self._destinations = vips, {}
            self._exact = {
                (vip.key.address.version, int(vip.key.address), vip.key.port, number): vip
                for vip in ranked
                if vip.key.is_exact
                for number in vip.key.protocol.numbers
            }
            self._by_key = {vip.key: vip for vip in ranked}
            self._several = {}
            for vip in reversed(ranked):
                if not vip.key.is_exact:
                    version, address, host_bits = vip.key.address.version, int(vip.key.address), _host_bits(vip.key)
                    of_length = self._several.setdefault((version, host_bits), {})
                    of_length.setdefault(address >> host_bits, []).append(vip)
        if backends is not self._backends:
            self._backends, self._ids = backends, {}

    def vip(self, version: int, address: int, port: int, protocol: int) -> VipEntry | None:
        """Return the VIP that packets for this destination belong to."""
        wanted = version, address, port, protocol
        if (exact := self._exact.get(wanted)) is not None:
            return exact
        if wanted not in self._destinations:
            if len(self._destinations) >= _MOST_DESTINATIONS:
                self._destinations = {}
            self._destinations[wanted] = self._of_several(*wanted)
        return self._destinations[wanted]

    def of_key(self, key: VipKey) -> VipEntry | None:
        """Return the VIP with this key."""
        return self._by_key.get(key)

    def backend(self, vip_id: int, ids: frozenset[int], address: IPAddress) -> BackendEntry | None:
        """Return the VIP's backend with this address; `ids` are those of its backends."""
        known = self._ids.get(vip_id)
        if known is None or known[0] != ids:
            entries = [self._backends[number] for number in ids if number in self._backends]
            known = self._ids[vip_id] = ids, {each.address: each for each in entries}
        return known[1].get(address)

    def _of_several(self, version: int, address: int, port: int, protocol: int) -> VipEntry | None:
        for (of_version, host_bits), networks in self._several.items():
            for vip in networks.get(address >> host_bits, ()) if of_version == version else ():
                if port in vip.key.ports and protocol in vip.key.protocol.numbers:
                    return vip
        return None


@dataclass(frozen=True, slots=True)
class Placed:
    """Where records belong. Columns of equal length: VIP's id, backend's id and epoch, number of the slot.

    `found`: there is such a VIP, and it has such a backend. `written`: the record says more than the slot does.
    `pinned`: its slot is steady and says otherwise.
    """

    vips: NDArray[np.uint16]
    backends: NDArray[np.uint16]
    epochs: NDArray[np.uint16]
    slots: NDArray[np.uint32]
    found: NDArray[np.bool_]
    written: NDArray[np.bool_]
    pinned: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Arrived:
    """How many records of other balancers were inserted, changed one, or said nothing new; those without a place."""

    inserted: int
    changed: int
    known: int
    unplaced: SharedRecords


def place(
    records: SharedRecords, finder: Finder, tables: Mapping[int, HeldTable], ids: Mapping[int, frozenset[int]]
) -> Placed:
    """Return where records belong; `ids` are those of the backends of each VIP."""
    entries, group = _vips_of(records, finder)
    known = {vip.id: vip for vip in entries if vip is not None and vip.id in tables}
    vips = np.array([-1 if vip is None or vip.id not in known else vip.id for vip in entries], np.int32)[group]
    there = vips >= 0
    backends, epochs = _backends_of(records, vips, finder, ids)
    slots = np.zeros(len(records), np.uint32)
    owners, previous = np.zeros(len(records), np.uint16), np.zeros(len(records), np.uint16)
    tracks = np.zeros(len(records), np.bool_)
    for kind in {vip.hash for vip in known.values()}:
        chosen = there & np.isin(vips, [vip.id for vip in known.values() if vip.hash is kind])
        _hash(records, chosen, slots, kind)
    for vip_id, chosen_ in _by_vip(vips):
        table, mine = tables[vip_id], slots[chosen_]
        owners[chosen_], previous[chosen_] = table.owners.of_slots(mine), table.previous.of_slots(mine)
        tracks[chosen_] = known[vip_id].track_always
    goes_by_record = (backends != 0) & (tracks | (records["protocol"] != _UDP))
    is_news = (owners != backends) & (records["flags"] & ENDED == 0)
    return Placed(
        vips=np.where(there, vips, 0).astype(np.uint16),
        backends=backends,
        epochs=epochs,
        slots=slots,
        found=backends != 0,
        written=goes_by_record & (tracks | (previous != STEADY) | is_news),
        pinned=goes_by_record & ~tracks & (previous == STEADY) & is_news,
    )


def _vips_of(records: SharedRecords, finder: Finder) -> tuple[list[VipEntry | None], NDArray[np.intp]]:
    """Return the VIPs of the destinations that records have, each once, and which of them each record has."""
    names = ["version", "destination", "destination_port", "protocol"]
    _, first, group = np.unique(records[names], return_index=True, return_inverse=True)
    rows = zip(*(records[name][first].tolist() for name in names), strict=True)
    found = [finder.vip(version, halves[0] << 64 | halves[1], *rest) for version, halves, *rest in rows]
    return found, group.reshape(-1)


def _backends_of(
    records: SharedRecords, vips: NDArray[np.int32], finder: Finder, ids: Mapping[int, frozenset[int]]
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Return the ids and epochs of the backends that records name; `vips` are their VIPs' ids. 0 is for none."""
    named = np.zeros(len(records), [("vip", "<i4"), ("version", "u1"), ("backend", "<u8", 2)])
    named["vip"], named["version"], named["backend"] = vips, records["backend_version"], records["backend"]
    each, group = np.unique(named, return_inverse=True)
    found = np.zeros((len(each), 2), np.uint16)
    columns = zip(*(each[name].tolist() for name in ("vip", "version", "backend")), strict=True)
    for number, (vip_id, version, halves) in enumerate(columns):
        if vip_id >= 0:
            address = _address(version, halves)
            entry = None if address is None else finder.backend(vip_id, ids.get(vip_id, frozenset()), address)
            found[number] = (0, 0) if entry is None else (entry.id, entry.epoch)
    group = group.reshape(-1)
    return found[group, 0], found[group, 1]


def _hash(records: SharedRecords, chosen: NDArray[np.bool_], slots: NDArray[np.uint32], kind: HashKind) -> None:
    """Fill in the slots of the chosen records."""
    for version in (4, 6):
        mine = np.flatnonzero(chosen & (records["version"] == version))
        if len(mine):
            names = ("source", "source_port", "destination", "destination_port")
            slots[mine] = slots_of_flows(version, *(records[name][mine] for name in names), kind=kind)


def _by_vip(vips: NDArray[np.int32]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Yield each VIP's id, and which records are its own."""
    order = np.argsort(vips, kind="stable")
    numbers, starts = np.unique(vips[order], return_index=True)
    bounds = [*starts.tolist(), len(order)]
    for number, (start, end) in zip(numbers.tolist(), pairwise(bounds), strict=True):
        if number >= 0:
            yield number, order[start:end]


def records_to_tell(
    flows: FlowRecords,
    live: NDArray[np.bool_],
    vips: Mapping[int, VipEntry],
    tables: Mapping[int, HeldTable],
    backends: Mapping[int, BackendEntry],
) -> SharedRecords:
    """Return the records of open connections that other balancers must know, of these VIPs: `live` marks them all."""
    told = np.zeros(len(flows.backend), np.bool_)
    for vip_id, vip in vips.items():
        mine = records_of(vip, flows)
        if not len(mine) or vip_id not in tables:
            continue
        if vip.shares_all and vip.track_always:
            told[mine] = True
            continue
        unsteady = tables[vip_id].previous.of_slots(slots_of(vip, flows, mine)) != STEADY
        told[mine] = unsteady | (flows.flags[mine] & FLOW_SECOND_CHOICE != 0)
    chosen = np.flatnonzero(told & live & ~flows.probation)
    records = np.zeros(len(chosen), SHARED_RECORD)
    for name in ("source", "destination", "source_port", "destination_port", "version", "protocol", "age"):
        records[name] = getattr(flows, name)[chosen]
    records["flags"] = flows.flags[chosen] & _TOLD_FLAGS
    return records[_name_backends(records, flows.backend[chosen], flows.epoch[chosen], backends)]


def of_shared(flows: NDArray[np.void], backends: Mapping[int, BackendEntry]) -> SharedRecords:
    """Return what the program hands out for other balancers (layout.SHARED_FLOW) as they are told of it."""
    records = np.zeros(len(flows), SHARED_RECORD)
    is_ipv4 = flows["version"] == 4
    for name in ("source", "destination"):
        halves = flows[name].astype(np.uint64)
        records[name] = halves
        records[name][is_ipv4, 0] = 0
        records[name][is_ipv4, 1] = halves[is_ipv4, 0] >> np.uint64(32)
    for name in ("source_port", "destination_port", "version", "protocol", "flags"):
        records[name] = flows[name]
    return records[_name_backends(records, flows["backend"], flows["epoch"], backends)]


def moving_slots(
    key: VipKey,
    table: HeldTable,
    moves: tuple[NDArray[np.intp], NDArray[np.float64]],
    backends: Mapping[int, BackendEntry],
) -> SharedSlots | None:
    """Return the moving slots of a VIP as other balancers are told of them, None if there are none.

    `moves` are their numbers and ages.
    """
    numbers, ages = moves
    ids, previous = np.unique(table.previous.of_slots(numbers), return_inverse=True)
    entries = [backends.get(number) for number in ids.tolist()]
    known = np.array([entry is not None for entry in entries], np.bool_)[previous.reshape(-1)]
    if not known.any():
        return None
    places = np.cumsum([entry is not None for entry in entries]) - 1
    return SharedSlots(
        key,
        tuple(entry.address for entry in entries if entry is not None),
        numbers[known].astype(np.uint32),
        places[previous.reshape(-1)][known].astype(np.uint16),
        ages[known].astype(np.float32),
    )


def slots_to_move(
    told: SharedSlots,
    table: HeldTable,
    ages: tuple[NDArray[np.intp], NDArray[np.float64]],
    previous_ids: Sequence[int],
    settle_seconds: float,
    *,
    pinned: NDArray[np.integer],
) -> tuple[NDArray[np.uint32], NDArray[np.uint16], NDArray[np.float64]]:
    """Return which slots move here, too: their numbers, previous owners by id, and ages.

    `ages` are the moving slots here, `previous_ids` the ids of the addresses told, 0 for those unknown. `pinned` are
    slots that are pinned only since another balancer has told of a record. Of a slot that moves here as well, the
    older move says where old connections are.
    """
    inside = told.numbers < TABLE_SIZE
    numbers, age = told.numbers[inside], told.ages[inside].astype(np.float64)
    previous = np.array([*previous_ids, 0], np.uint16)[np.minimum(told.previous[inside], len(previous_ids))]
    held, owners = table.previous.of_slots(numbers), table.owners.of_slots(numbers)
    own_age = np.zeros(TABLE_SIZE)
    own_age[ages[0]] = ages[1]
    at_rest = (held == STEADY) | ((held == PINNED) & np.isin(numbers, pinned))
    is_older = (held != STEADY) & (held != PINNED) & (age > own_age[numbers])
    chosen = (previous != 0) & (previous != owners) & (age < settle_seconds) & (at_rest | is_older)
    return numbers[chosen], previous[chosen], age[chosen]


def _name_backends(
    records: SharedRecords,
    ids: NDArray[np.uint16],
    epochs: NDArray[np.uint16],
    backends: Mapping[int, BackendEntry],
) -> NDArray[np.bool_]:
    """Fill in the backends' addresses; return which records have one that is still there."""
    numbers, group = np.unique(ids, return_inverse=True)
    entries = [backends.get(number) for number in numbers.tolist()]
    values = [0 if entry is None else int(entry.address) for entry in entries]
    group = group.reshape(-1)
    records["backend"] = np.array([(value >> 64, value & _LOWER) for value in values], np.uint64).reshape(-1, 2)[group]
    versions = [0 if entry is None else entry.address.version for entry in entries]
    records["backend_version"] = np.array(versions, np.uint8)[group]
    of_entries = np.array([-1 if entry is None else entry.epoch for entry in entries], np.int32)
    there: NDArray[np.bool_] = of_entries[group] == epochs
    return there


def _host_bits(key: VipKey) -> int:
    return key.address.max_prefixlen - (key.prefix_length or 0)


def _address(version: int, halves: Sequence[int]) -> IPAddress | None:
    """Return the address in a record, None for one that no record can have."""
    if version == 6:
        return IPv6Address(halves[0] << 64 | halves[1])
    return IPv4Address(halves[1]) if version == 4 and halves[1] < 1 << 32 else None
