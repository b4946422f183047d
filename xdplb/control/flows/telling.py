"""What other balancers are told of connections, and where what they tell belongs here. Pure.

On the way, a VIP is an address and port, and a backend an address; ids are each balancer's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

import numpy as np
from numpy.typing import NDArray

from xdplb.balance.hashing import TABLE_SIZE, flow_hash, flow_hash6, slot_of
from xdplb.balance.held_table import HeldTable
from xdplb.balance.slots import PINNED, STEADY
from xdplb.control.flows.settle import records_of, slots_of
from xdplb.dataplane.layout import FLOW_ESTABLISHED, FLOW_FIN, FLOW_RST, FLOW_SECOND_CHOICE
from xdplb.dataplane.plane import BackendEntry, FlowRecords, VipEntry
from xdplb.model.address import IPAddress
from xdplb.model.key import VipKey
from xdplb.model.shared_record import ENDED, SHARED_RECORD, SharedRecords, SharedSlots

__all__ = ["Arrived", "Finder", "Placed", "moving_slots", "of_shared", "place", "records_to_tell", "slots_to_move"]

_TOLD_FLAGS = FLOW_ESTABLISHED | FLOW_FIN | FLOW_RST | FLOW_SECOND_CHOICE
_LOWER = (1 << 64) - 1
_UDP = 17
_MOST_DESTINATIONS = 4096


class Finder:
    """Finds VIPs by destinations and backends by addresses, among what the maps hold."""

    def __init__(self) -> None:
        self._vips: Mapping[int, VipEntry] = {}
        self._by_rank: list[VipEntry] = []
        self._exact: dict[tuple[int, int, int, int], VipEntry] = {}
        self._destinations: dict[tuple[int, int, int, int], VipEntry | None] = {}
        self._backends: Mapping[int, BackendEntry] = {}
        self._ids: dict[int, dict[IPAddress, int]] = {}

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
            self._by_rank = [vip for vip in reversed(ranked) if not vip.key.is_exact]
        self._backends = backends

    def vip(self, version: int, address: int, port: int, protocol: int) -> VipEntry | None:
        """Return the VIP that packets for this destination belong to."""
        wanted = version, address, port, protocol
        if (exact := self._exact.get(wanted)) is not None:
            return exact
        if wanted not in self._destinations:
            if len(self._destinations) >= _MOST_DESTINATIONS:
                self._destinations = {}
            self._destinations[wanted] = next((vip for vip in self._by_rank if _accepts(vip.key, *wanted)), None)
        return self._destinations[wanted]

    def backend(self, vip_id: int, ids: frozenset[int], address: IPAddress) -> BackendEntry | None:
        """Return the VIP's backend with this address; `ids` are those of its backends."""
        known = self._ids.get(vip_id, {})
        entry = self._backends.get(known.get(address, 0))
        if entry is None or entry.vip_id != vip_id or entry.address != address:
            entries = [self._backends[number] for number in ids if number in self._backends]
            known = self._ids[vip_id] = {each.address: each.id for each in entries}
            entry = self._backends.get(known.get(address, 0))
        return entry


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
    count = len(records)
    placed = Placed(
        vips=np.zeros(count, np.uint16),
        backends=np.zeros(count, np.uint16),
        epochs=np.zeros(count, np.uint16),
        slots=np.zeros(count, np.uint32),
        found=np.zeros(count, np.bool_),
        written=np.zeros(count, np.bool_),
        pinned=np.zeros(count, np.bool_),
    )
    names = ["version", "destination", "destination_port", "protocol"]
    _, first, group = np.unique(records[names], return_index=True, return_inverse=True)
    for number, row in enumerate(first.tolist()):
        one = records[row]
        vip = finder.vip(
            int(one["version"]), _number(one["destination"]), int(one["destination_port"]), int(one["protocol"])
        )
        if vip is not None and vip.id in tables:
            chosen = np.flatnonzero(group.reshape(-1) == number)
            mine = records[chosen]
            named = _backends_of(mine, finder, vip.id, ids.get(vip.id, frozenset()))
            placed.backends[chosen], placed.epochs[chosen] = named
            _place_in(placed, chosen, mine, vip, tables[vip.id])
    return placed


def _backends_of(
    records: SharedRecords, finder: Finder, vip_id: int, ids: frozenset[int]
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Return the ids and epochs of the backends that records of a VIP name, 0 for those that it does not have."""
    _, first, group = np.unique(records[["backend_version", "backend"]], return_index=True, return_inverse=True)
    entries = [finder.backend(vip_id, ids, _address(records[row])) for row in first.tolist()]
    found = np.array([(0, 0) if entry is None else (entry.id, entry.epoch) for entry in entries], np.uint16)
    return found[group.reshape(-1), 0], found[group.reshape(-1), 1]


def _place_in(
    placed: Placed, chosen: NDArray[np.intp], records: SharedRecords, vip: VipEntry, table: HeldTable
) -> None:
    numbers = placed.backends[chosen]
    slots = _slots(records, vip)
    previous = table.previous.of_slots(slots)
    is_news = (table.owners.of_slots(slots) != numbers) & (records["flags"] & ENDED == 0)
    goes_by_record = vip.track_always | (records["protocol"] != _UDP)
    found = numbers != 0
    placed.vips[chosen], placed.slots[chosen], placed.found[chosen] = vip.id, slots, found
    placed.written[chosen] = found & goes_by_record & (vip.track_always | (previous != STEADY) | is_news)
    placed.pinned[chosen] = found & goes_by_record & (not vip.track_always) & (previous == STEADY) & is_news


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
    there = np.zeros(len(records), np.bool_)
    numbers, group = np.unique(ids, return_inverse=True)
    for place_, number in enumerate(numbers.tolist()):
        entry = backends.get(number)
        if entry is None:
            continue
        mine = np.flatnonzero((group.reshape(-1) == place_) & (epochs == entry.epoch))
        value = int(entry.address)
        records["backend"][mine] = (value >> 64, value & _LOWER)
        records["backend_version"][mine] = entry.address.version
        there[mine] = True
    return there


def _slots(records: SharedRecords, vip: VipEntry) -> NDArray[np.uint32]:
    ports = records["source_port"], records["destination_port"]
    if vip.key.address.version == 6:
        return slot_of(flow_hash6(records["source"], *ports, vip.hash_source))
    return slot_of(flow_hash(records["source"][:, 1], *ports, vip.hash_source))


def _accepts(key: VipKey, version: int, address: int, port: int, protocol: int) -> bool:
    shift = key.address.max_prefixlen - (key.prefix_length or 0)
    return (
        key.address.version == version
        and int(key.address) >> shift == address >> shift
        and port in key.ports
        and protocol in key.protocol.numbers
    )


def _number(halves: NDArray[np.uint64]) -> int:
    return int(halves[0]) << 64 | int(halves[1])


def _address(record: np.void) -> IPAddress:
    number = _number(record["backend"])
    return ip_address(number.to_bytes(4 if record["backend_version"] == 4 else 16, "big"))
