# SPDX-License-Identifier: Apache-2.0
"""A map in which each key names the backend that it belongs to, such as its QUIC server ID. A copy is in memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet

import numpy as np

from .maps import BpfMap

__all__ = ["OwnedKeys"]


class OwnedKeys:
    """Reads and writes one such map, of which `current` returns the present one, None where there is none."""

    def __init__(self, current: Callable[[], BpfMap | None]) -> None:
        self._current = current
        self._owners: dict[bytes, int] = {}
        self._keys: defaultdict[int, set[bytes]] = defaultdict(set)
        self.read()

    def read(self) -> None:
        """Take over what the map has now."""
        self._owners = self._found()
        self._keys.clear()
        for key, number in self._owners.items():
            self._keys[number].add(key)

    @property
    def owners(self) -> Mapping[bytes, int]:
        """The backend that each key belongs to, by its id."""
        return self._owners

    def keys_of(self, backend_id: int) -> AbstractSet[bytes]:
        """Return the keys of this backend."""
        return self._keys.get(backend_id, frozenset())

    @property
    def of(self) -> Mapping[int, Collection[bytes]]:
        """The keys of each backend that has some, by its id."""
        return {number: keys for number, keys in self._keys.items() if keys}

    def has(self, backend_id: int) -> bool:
        """Whether this backend has any."""
        return bool(self._keys.get(backend_id))

    def give(self, backend_id: int, keys: Collection[bytes]) -> None:
        """Let this backend have these keys and no others. One that another backend had is its own from now on."""
        for key in keys:
            if self._owners.get(key) != backend_id:
                self._write(key, backend_id)
        for key in self._keys.get(backend_id, frozenset()).difference(keys):
            self._present().delete(key)
            del self._owners[key]
            self._keys[backend_id].discard(key)

    def restore(self) -> bool:
        """Put right what another process has changed; return whether there was anything."""
        found = self._found()
        if found == self._owners:
            return False
        for key in found.keys() - self._owners.keys():
            self._present().delete(key)
        for key, number in self._owners.items() - found.items():
            self._present().update(key, number)
        return True

    def _write(self, key: bytes, backend_id: int) -> None:
        self._present().update(key, backend_id)
        if (before := self._owners.get(key)) is not None:
            self._keys[before].discard(key)
        self._owners[key] = backend_id
        self._keys[backend_id].add(key)

    def _present(self) -> BpfMap:
        current = self._current()
        assert current is not None, "a key is written only with the feature that needs the map"
        return current

    def _found(self) -> dict[bytes, int]:
        current = self._current()
        if current is None:
            return {}
        keys, values = current.read_all()
        numbers = values.view(np.uint32).reshape(-1).tolist()
        return {key.tobytes(): number for key, number in zip(keys, numbers, strict=True)}
