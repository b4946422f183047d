# SPDX-License-Identifier: Apache-2.0
"""Reads and writes the backends in the kernel: their entries, their loads, their QUIC server IDs and NAT ports."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from . import backend_codec, layout
from .maps import BpfMap
from .mirror import Mirror
from .nat_index import NatIndex
from .owned_keys import OwnedKeys
from .pinned_maps import Maps
from .plane import BackendEntry

__all__ = ["BackendMaps", "quic_key"]


def quic_key(vip_id: int, server_id: bytes) -> bytes:
    """Return the key of a server ID of a VIP's backend, as the `quic_servers` map has it."""
    key = np.zeros(1, layout.QUIC_KEY)
    key["server_id"], key["vip"] = int.from_bytes(server_id, "little"), vip_id
    return key.tobytes()


class BackendMaps:
    """Reads and writes the backends. What it wrote is also in memory, so that nothing is read to write."""

    def __init__(self, maps: Maps) -> None:
        self._maps = maps
        self._values = Mirror(maps.backends, layout.BACKEND)
        self._loads = Mirror(maps.backend_loads, layout.BACKEND_LOAD, theirs=("flows",))
        self._doubts = Mirror(maps.backend_doubts, layout.BACKEND_DOUBT, theirs=("empty_at",))
        self._servers = OwnedKeys(lambda: maps.quic_servers)
        self._nat = OwnedKeys(lambda: maps.nat_backends)
        self._direct = OwnedKeys(lambda: maps.nat_direct)
        self._nat_index = NatIndex(lambda: maps.nat_index)
        self._nat_index.fill(self._nat.owners)
        self.ids: list[int] = []
        """Those there are, in order."""
        self._find()

    @property
    def answers_directly(self) -> bool:
        """Whether there are networks that NAT backends answer as they are."""
        return bool(self._direct.owners)

    def values(self) -> NDArray[np.void]:
        """Return the whole map of backends, by id, as it was written."""
        return self._values.held

    def read(self) -> dict[int, BackendEntry]:
        """Return the backends that the maps have now, by id, in order."""
        self._values.read()
        self._loads.read()
        self._doubts.read()
        self._servers.read()
        self._nat.read()
        self._direct.read()
        self._nat_index.fill(self._nat.owners)
        self._find()
        held = self._values.held, self._loads.held, self._doubts.held
        return backend_codec.decode_all(*held, self._servers.of, self._nat.of, direct=self._direct.of)

    def write(self, backends: Sequence[BackendEntry]) -> None:
        """Write these. Counters and load of a new (id, epoch) are zeroed first."""
        ids = np.array([backend.id for backend in backends], np.uint32)
        values = backend_codec.encode(backends)
        held = self._values.held[ids]
        is_fresh = (held["epoch"] != values["epoch"]) | (held["forward"] == 0)
        _zero(self._maps.backend_stats, ids[is_fresh])
        if self._maps.handshake_stats is not None:
            _zero(self._maps.handshake_stats, ids[is_fresh])
        _zero(self._maps.second_stats, ids[is_fresh])
        # What may not be sent to must not be chosen: what comes up says so last here, what goes down first.
        usable = values["flags"] & layout.BACKEND_USABLE
        takes = _takes(values)
        self._write_loads(ids, backends, usable & held["flags"], is_fresh)
        self._write_doubts(ids, backends, takes & _takes(held), is_fresh)
        self._values.write(ids, values)
        self._write_loads(ids, backends, usable, np.zeros_like(is_fresh))
        self._write_doubts(ids, backends, takes, np.zeros_like(is_fresh))
        self._write_keys(backends)
        if (held["forward"] == 0).any():
            self.ids = sorted({*self.ids, *ids.tolist()})

    def clear(self, ids: Sequence[int]) -> None:
        """Empty these."""
        for number in ids:
            self._servers.give(number, ())
            self._give_nat(number, ())
            self._direct.give(number, ())
        keys = np.array(ids, np.uint32)
        self._values.write(keys, np.zeros(len(ids), layout.BACKEND))
        self._loads.write(keys, np.zeros(len(ids), layout.BACKEND_LOAD))
        self._doubts.write(keys, np.zeros(len(ids), layout.BACKEND_DOUBT))
        self.ids = sorted(set(self.ids).difference(ids))

    def write_loads(self, flows: Mapping[int, int]) -> None:
        """Set how many flows each of these has."""
        ids = np.array(list(flows), np.uint32)
        loads = self._loads.held[ids]
        loads["flows"] = list(flows.values())
        self._loads.write(ids, loads)

    def write_suspects(self, ids: Collection[int]) -> None:
        """Make these suspect, and no others. An older xdplb may have left nothing of the others."""
        doubts = self._doubts.held.copy()
        doubts["suspect"] = 0
        doubts["suspect"][list(ids)] = 1
        doubts["takes"] = _takes(self._values.held) & ~doubts["suspect"]
        self._put_doubts(np.arange(len(doubts), dtype=np.uint32), doubts)

    def verify(self) -> Iterator[tuple[str, bool]]:
        """Compare some at each step; say of which map they are and whether they had to be written again."""
        yield from (("backends", changed) for changed in self._values.verify())
        yield from (("backend_loads", changed) for changed in self._loads.verify())
        yield from (("backend_doubts", changed) for changed in self._doubts.verify())
        yield "quic_servers", self._servers.restore()
        yield "nat_backends", self._nat.restore()
        yield "nat_direct", self._direct.restore()
        yield "nat_index", self._nat_index.restore()

    def _find(self) -> None:
        """Note which there are."""
        self.ids = np.flatnonzero(self._values.held["forward"]).tolist()

    def _write_doubts(
        self,
        ids: NDArray[np.uint32],
        backends: Sequence[BackendEntry],
        takes: NDArray[np.uint16],
        is_fresh: NDArray[np.bool_],
    ) -> None:
        """Write what is said against each. One that is not fresh stays as suspect as it is."""
        doubts = self._doubts.held[ids]
        rates = [backend.max_new_flows for backend in backends]
        doubts["rate"] = rates
        doubts["flow_cost"] = [layout.bucket_cost(rate) for rate in rates]
        doubts["suspect"][is_fresh] = 0
        doubts["takes"] = takes & ~doubts["suspect"]
        self._put_doubts(ids, doubts)

    def _put_doubts(self, ids: NDArray[np.uint32], doubts: NDArray[np.void]) -> None:
        """Write those that differ: packets charge their buckets meanwhile, and a charge in between is lost."""
        differs = self._doubts.differs(ids, doubts)
        if not differs.any():
            return
        changed, written = ids[differs], doubts[differs]
        limited = np.flatnonzero(written["flow_cost"])
        if len(limited):
            found = self._maps.backend_doubts.read_some(changed[limited].tolist())
            written["empty_at"][limited] = found.view(layout.BACKEND_DOUBT).reshape(-1)["empty_at"]
        self._doubts.write(changed, written)

    def _write_loads(
        self,
        ids: NDArray[np.uint32],
        backends: Sequence[BackendEntry],
        usable: NDArray[np.integer],
        is_fresh: NDArray[np.bool_],
    ) -> None:
        """Write the loads that differ, and only those: packets count flows meanwhile."""
        wanted = np.zeros(len(ids), layout.BACKEND_LOAD)
        wanted["weight"] = [backend.weight for backend in backends]
        wanted["usable"] = usable
        wanted["server_id_bytes"] = [len(backend.quic_server_id or b"") for backend in backends]
        differs = is_fresh | self._loads.differs(ids, wanted)
        if differs.any():
            kept = np.flatnonzero(differs & ~is_fresh)
            found = self._maps.backend_loads.read_some(ids[kept].tolist())
            wanted["flows"][kept] = found.view(layout.BACKEND_LOAD).reshape(-1)["flows"]
            self._loads.write(ids[differs], wanted[differs])

    def _write_keys(self, backends: Sequence[BackendEntry]) -> None:
        """Give each its server ID and its NAT ports, and remove those that it had."""
        for backend in backends:
            server_id = backend.quic_server_id
            if server_id is not None or self._servers.has(backend.id):
                self._servers.give(backend.id, () if server_id is None else [quic_key(backend.vip_id, server_id)])
            if backend.nat is not None or self._nat.has(backend.id) or self._direct.has(backend.id):
                self._give_nat(backend.id, backend_codec.nat_keys(backend))
                self._direct.give(backend.id, backend_codec.nat_direct_keys(backend))

    def _give_nat(self, backend_id: int, keys: Collection[bytes]) -> None:
        """Let this backend have these NAT ports and no others. What the index has, the map has too at any moment."""
        self._nat_index.drop(self._nat.keys_of(backend_id) - set(keys))
        self._nat.give(backend_id, keys)
        self._nat_index.put(keys, backend_id)


def _takes(values: NDArray[np.void]) -> NDArray[np.uint16]:
    """Return for each value of the `backends` map 1 if the backend takes new connections, else 0."""
    asked = layout.BACKEND_USABLE | layout.BACKEND_NOTHING_NEW
    takes: NDArray[np.uint16] = (values["flags"] & asked == layout.BACKEND_USABLE).astype(np.uint16)
    return takes


def _zero(counters: BpfMap, keys: NDArray[np.uint32]) -> None:
    counters.update_batch(keys, np.zeros((len(keys), counters.value_bytes), np.uint8))
