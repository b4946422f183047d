"""The data plane in the kernel, used through its pinned maps. bcc made the program; nothing here needs it."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from . import backend_codec, flow_records, layout, vip_index
from .limits import check_backends, check_table, check_vips
from .links import attachments
from .maps import BpfMap
from .pins import Maps, new_inner
from .plane import (
    Attachment,
    BackendCounters,
    BackendEntry,
    Capacity,
    Counters,
    FlowRecords,
    Slots,
    VipCounters,
    VipEntry,
)
from .platform_errors import explained
from .reasons import REASONS
from .source import vip_groups

__all__ = ["BccPlane"]

FEW = 16  # up to one key in this many is read by itself, above that a batch of all is faster


class BccPlane:
    """The DataPlane over maps that are open. It is their only writer; closing it takes nothing from the kernel."""

    def __init__(self, maps: Maps) -> None:
        self._maps = maps
        self._groups = vip_groups(maps.capacity)
        self._vip_ids = sorted(self.read_vips())
        self._backend_ids = sorted(self.read_backends())

    @property
    def capacity(self) -> Capacity:
        """How much the maps hold."""
        return self._maps.capacity

    @property
    def maps(self) -> Maps:
        """The maps themselves, for tests and benchmarks that look behind this class."""
        return self._maps

    @explained("look at the NICs")
    def attachments(self) -> Sequence[Attachment]:
        """Return the NICs the program is on now."""
        return attachments(self._maps.pin_dir)

    @explained("read the VIPs")
    def read_vips(self) -> Mapping[int, VipEntry]:
        """Return the VIPs the packets see, by id."""
        index = _read_inner(self._maps.vip_index, 0)
        return vip_index.parse(np.frombuffer(index or b"", layout.vip_index(self._groups))) if index else {}

    @explained("write the VIPs")
    def write_vips(self, vips: Sequence[VipEntry]) -> None:
        """Swap the whole index."""
        check_vips(self.capacity, vips)
        _swap_inner(self._maps.vip_index, 0, "vip_index", vip_index.build(vips, self._groups))
        self._vip_ids = sorted(vip.id for vip in vips)

    @explained("read a VIP's table")
    def read_table(self, vip_id: int) -> Slots | None:
        """Return a copy of a VIP's table, None where it has none."""
        value = _read_inner(self._maps.vip_tables, vip_id)
        if value is None:
            return None
        slots: Slots = np.frombuffer(value, np.uint32, count=layout.TABLE_SIZE).copy()
        return slots

    @explained("write a VIP's table")
    def write_table(self, vip_id: int, slots: Slots) -> None:
        """Swap a VIP's whole table."""
        check_table(self.capacity, vip_id, slots)
        table = np.zeros(1, layout.VIP_TABLE)
        table["slots"][0] = slots
        _swap_inner(self._maps.vip_tables, vip_id, "vip_table", table)

    @explained("delete a VIP's table")
    def delete_table(self, vip_id: int) -> None:
        """Take a VIP's table away; no error where it has none."""
        self._maps.vip_tables.delete(vip_id)

    @explained("read the backends")
    def read_backends(self) -> Mapping[int, BackendEntry]:
        """Return the backends in the maps, by id; those never written are left out."""
        values = self._backend_values()
        return {
            int(index): backend_codec.decode(int(index), values[index]) for index in np.flatnonzero(values["address"])
        }

    @explained("write the backends")
    def write_backends(self, backends: Sequence[BackendEntry]) -> None:
        """Write these entries. Counters of a new (id, epoch) are zeroed first."""
        ids = [backend.id for backend in backends]
        check_backends(self.capacity, ids)
        if not backends:
            return
        values = backend_codec.encode(backends)
        held = self._backend_values()[ids]
        fresh = (held["epoch"] != values["epoch"]) | (held["address"] == 0)
        _zero(self._maps.backend_stats, np.array(ids)[fresh])
        self._maps.backends.update_batch(np.array(ids, np.uint32), values)
        self._backend_ids = sorted({*self._backend_ids, *ids})

    @explained("clear backends")
    def clear_backends(self, ids: Sequence[int]) -> None:
        """Empty these entries."""
        check_backends(self.capacity, ids)
        self._maps.backends.update_batch(np.array(ids, np.uint32), np.zeros(len(ids), layout.BACKEND))
        self._backend_ids = sorted(set(self._backend_ids).difference(ids))

    @explained("reset counters")
    def reset_vip_counters(self, vip_ids: Sequence[int]) -> None:
        """Start the counters of these VIP ids at zero."""
        _zero(self._maps.vip_stats, np.array(vip_ids, np.uint32))

    @explained("read the counters")
    def counters(self) -> Counters:
        """Read the counters of the VIPs and backends that there are, and of all reasons."""
        vips = _sums(self._maps.vip_stats, self._vip_ids)
        backends = _sums(self._maps.backend_stats, self._backend_ids)
        reasons = _sums(self._maps.reason_stats, [reason.number for reason in REASONS])
        return Counters(
            vips={vip_id: VipCounters(*fields) for vip_id, fields in vips.items()},
            backends={backend_id: BackendCounters(*fields[:3]) for backend_id, fields in backends.items()},
            reasons={reason.name: reasons[reason.number][0] for reason in REASONS},
        )

    @explained("read the flow table")
    def scan_flows(self) -> FlowRecords:
        """Read the whole flow table."""
        keys, values = self._maps.flows.read_all()
        return flow_records.from_raw(keys, values, time.monotonic_ns())

    @explained("count the flow table")
    def flow_count(self) -> int:
        """Return how many records the flow table holds: the kernel keeps no count, so they are read."""
        return len(self._maps.flows.read_all()[0])

    @explained("delete flow records")
    def delete_flows(self, records: FlowRecords) -> None:
        """Delete these records; no error for those already gone."""
        self._maps.flows.delete_batch(records.key)

    def _backend_values(self) -> NDArray[np.void]:
        return self._maps.backends.read_all()[1].view(layout.BACKEND).reshape(-1)


def _read_inner(outer: BpfMap, key: int) -> bytes | None:
    """Return the one value of the inner map at `key`. A map of maps hands out ids, and one may be gone by then."""
    found = outer.lookup(key)
    if found is None:
        return None
    with BpfMap.by_id(int.from_bytes(found, "little")) as inner:
        return inner.read(0)


def _swap_inner(outer: BpfMap, key: int, name: str, value: NDArray[np.void]) -> None:
    """Put a new inner map at `key`. The kernel waits until no packet uses the old one, then frees it."""
    with new_inner(name, value.nbytes) as inner:
        inner.update(0, value)
        outer.update(key, inner.fd)


def _zero(counters: BpfMap, keys: NDArray[np.integer]) -> None:
    counters.update_batch(keys.astype(np.uint32), np.zeros((len(keys), counters.value_bytes), np.uint8))


def _sums(counters: BpfMap, keys: Collection[int]) -> dict[int, list[int]]:
    """Return, for each key, its 64-bit fields summed over the CPUs."""
    if not keys:
        return {}
    if len(keys) * FEW < counters.info.max_entries:
        raw = b"".join(counters.read(key) for key in keys)
        values = np.frombuffer(raw, np.uint8).reshape(len(keys), counters.value_bytes)
    else:
        values = counters.read_all()[1][list(keys)]
    fields = counters.info.value_size // 8
    sums = values.view(np.uint64).reshape(len(keys), -1, fields).sum(axis=1, dtype=np.uint64)
    return dict(zip(keys, sums.tolist(), strict=True))
