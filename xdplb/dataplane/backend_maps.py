"""Reads and writes the backends in the kernel: their entries, their loads, and their QUIC server IDs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from . import backend_codec, layout
from .maps import BpfMap
from .pinned_maps import Maps
from .plane import BackendEntry

__all__ = ["BackendMaps", "quic_key"]

_FEW = 16
"""Up to one id in this many is read by itself, above that all of them in a batch."""


def quic_key(vip_id: int, server_id: bytes) -> bytes:
    """Return the key of a server ID of a VIP's backend, as the `quic_servers` map has it."""
    key = np.zeros(1, layout.QUIC_KEY)
    key["server_id"], key["vip"] = int.from_bytes(server_id, "little"), vip_id
    return key.tobytes()


class BackendMaps:
    """Reads and writes the backends."""

    def __init__(self, maps: Maps) -> None:
        self._maps = maps
        self.ids = np.flatnonzero(self.values()["forward"]).tolist()
        """Those there are, in order."""

    def values(self) -> NDArray[np.void]:
        """Return the whole map of backends, by id."""
        return _whole(self._maps.backends, layout.BACKEND)

    def read(self) -> dict[int, BackendEntry]:
        """Return the backends, by id, in order."""
        values, loads, servers = self.values(), self._loads(), self._servers()
        return {
            number: backend_codec.decode(
                number,
                values[number : number + 1],
                int(loads["weight"][number]),
                _server_id(servers.get(number), int(loads["server_id_bytes"][number])),
            )
            for number in np.flatnonzero(values["forward"]).tolist()
        }

    def write(self, backends: Sequence[BackendEntry]) -> None:
        """Write these. Counters and load of a new (id, epoch) are zeroed first."""
        ids = np.array([backend.id for backend in backends], np.uint32)
        values = backend_codec.encode(backends)
        held, loads = _some(self._maps.backends, ids, layout.BACKEND), self._loads_of(ids)
        is_fresh = (held["epoch"] != values["epoch"]) | (held["forward"] == 0)
        _zero(self._maps.backend_stats, ids[is_fresh])
        # A scheduler must not choose what may not be sent to: what comes up says so last here, what goes down first.
        usable = values["flags"] & layout.BACKEND_USABLE
        self._write_loads(ids, backends, usable & held["flags"], is_fresh)
        self._maps.backends.update_batch(ids, values)
        self._write_loads(ids, backends, usable, np.zeros_like(is_fresh))
        if loads["server_id_bytes"].any() or any(backend.quic_server_id for backend in backends):
            self._write_servers(backends)
        self.ids = sorted({*self.ids, *ids.tolist()})

    def clear(self, ids: Sequence[int]) -> None:
        """Empty these."""
        self._forget_servers(ids)
        keys = np.array(ids, np.uint32)
        self._maps.backends.update_batch(keys, np.zeros(len(ids), layout.BACKEND))
        self._maps.backend_loads.update_batch(keys, np.zeros(len(ids), layout.BACKEND_LOAD))
        self.ids = sorted(set(self.ids).difference(ids))

    def write_loads(self, flows: Mapping[int, int]) -> None:
        """Set how many flows each of these has."""
        ids = np.array(list(flows), np.uint32)
        loads = self._loads()[ids]
        loads["flows"] = list(flows.values())
        self._maps.backend_loads.update_batch(ids, loads)

    def _write_loads(
        self,
        ids: NDArray[np.uint32],
        backends: Sequence[BackendEntry],
        usable: NDArray[np.integer],
        is_fresh: NDArray[np.bool_],
    ) -> None:
        """Write the loads that differ, and only those: packets count flows meanwhile."""
        held = self._loads_of(ids)
        loads = held.copy()
        loads["flows"][is_fresh] = 0
        loads["weight"] = [backend.weight for backend in backends]
        loads["usable"] = usable
        loads["server_id_bytes"] = [len(backend.quic_server_id or b"") for backend in backends]
        changed = loads != held
        self._maps.backend_loads.update_batch(ids[changed], loads[changed])

    def _write_servers(self, backends: Sequence[BackendEntry]) -> None:
        """Give each its server ID and remove the one it had, unless another backend has that by now."""
        servers = self._servers()
        for backend in backends:
            wanted = None if backend.quic_server_id is None else quic_key(backend.vip_id, backend.quic_server_id)
            if wanted is not None:
                self._maps.quic_servers.update(wanted, backend.id)
            held = servers.get(backend.id)
            if held is not None and held != wanted:
                self._forget_server(held, backend.id)

    def _forget_servers(self, ids: Sequence[int]) -> None:
        servers = self._servers()
        for number in ids:
            if number in servers:
                self._forget_server(servers[number], number)

    def _forget_server(self, key: bytes, backend_id: int) -> None:
        found = self._maps.quic_servers.lookup(key)
        if found is not None and int.from_bytes(found, "little") == backend_id:
            self._maps.quic_servers.delete(key)

    def _servers(self) -> dict[int, bytes]:
        """Return the keys in the map of server IDs, by backend."""
        keys, values = self._maps.quic_servers.read_all()
        numbers = values.view(np.uint32).reshape(-1).tolist()
        return {number: key.tobytes() for number, key in zip(numbers, keys, strict=True)}

    def _loads_of(self, ids: NDArray[np.uint32]) -> NDArray[np.void]:
        return _some(self._maps.backend_loads, ids, layout.BACKEND_LOAD)

    def _loads(self) -> NDArray[np.void]:
        return _whole(self._maps.backend_loads, layout.BACKEND_LOAD)


def _whole(array: BpfMap, dtype: np.dtype[np.void]) -> NDArray[np.void]:
    return array.read_all()[1].view(dtype).reshape(-1)


def _some(array: BpfMap, ids: NDArray[np.uint32], dtype: np.dtype[np.void]) -> NDArray[np.void]:
    """Return the values of these ids: few of them one by one, since a whole map takes milliseconds."""
    if len(ids) * _FEW > array.info.max_entries:
        return _whole(array, dtype)[ids]
    return np.frombuffer(bytearray(b"".join(array.read(number) for number in ids.tolist())), dtype)


def _zero(counters: BpfMap, keys: NDArray[np.uint32]) -> None:
    counters.update_batch(keys, np.zeros((len(keys), counters.value_bytes), np.uint8))


def _server_id(key: bytes | None, length: int) -> bytes | None:
    return None if key is None or not length else key[:length]
