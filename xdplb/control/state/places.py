# SPDX-License-Identifier: Apache-2.0
"""Where the VIPs and backends of a desired state are: what an edit looks up instead of walking through all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from xdplb.control.state.differing import differing
from xdplb.model.address import IPAddress
from xdplb.model.vip import Vip, VipKey

__all__ = ["Placed", "Places"]

_Prefix = tuple[int, int]
"""The version of IP, and how many bits of an address lie behind the prefix."""


class Placed(Protocol):
    """A VIP with its backends, by address."""

    @property
    def vip(self) -> Vip:
        """The VIP's settings."""
        ...

    @property
    def backends(self) -> Mapping[IPAddress, object]:
        """Its backends."""
        ...


@dataclass(frozen=True, slots=True)
class Places:
    """The keys of VIPs by name and by prefix, and how many VIPs have each address as a backend. Never changed."""

    names: Mapping[str, VipKey] = field(default_factory=dict)
    _prefixes: Mapping[_Prefix, Mapping[int, tuple[VipKey, ...]]] = field(default_factory=dict)
    backends: Mapping[IPAddress, int] = field(default_factory=dict)

    @classmethod
    def of(cls, vips: Iterable[Placed]) -> Places:
        """Return the places of these VIPs and their backends."""
        names: dict[str, VipKey] = {}
        prefixes: dict[_Prefix, dict[int, tuple[VipKey, ...]]] = {}
        backends: Counter[IPAddress] = Counter()
        for each in vips:
            key, name = each.vip.key, each.vip.name
            if name is not None:
                names[name] = key
            prefix, number = _place(key)
            same = prefixes.setdefault(prefix, {})
            same[number] = (*same.get(number, ()), key)
            backends.update(each.backends.keys())
        return cls(names, prefixes, dict(backends))

    def after(self, old: Placed | None, new: Placed | None) -> Places:
        """Return the places after `old` became `new`: None for a VIP that is not there, before or after."""
        return Places(self._names(old, new), self._keys(old, new), self._addresses(old, new))

    def vips_of(self, address: IPAddress) -> Iterator[VipKey]:
        """Yield the VIPs that have this address."""
        for (version, shift), keys in self._prefixes.items():
            if version == address.version:
                yield from keys.get(int(address) >> shift, ())

    def vips_on(self, key: VipKey) -> tuple[VipKey, ...]:
        """Return the VIPs of exactly the same address or prefix as this one."""
        prefix, number = _place(key)
        return self._prefixes.get(prefix, {}).get(number, ())

    def backend_of(self, key: VipKey) -> IPAddress | None:
        """Return an address of the VIP that is a backend's, if there is one."""
        if key.is_one_address:
            return key.address if key.address in self.backends else None
        return next(filter(key.has, self.backends), None)

    def _names(self, old: Placed | None, new: Placed | None) -> Mapping[str, VipKey]:
        before, after = None if old is None else old.vip.name, None if new is None else new.vip.name
        if before == after:
            return self.names
        names = dict(self.names)
        if before is not None:
            del names[before]
        if new is not None and after is not None:
            names[after] = new.vip.key
        return names

    def _keys(self, old: Placed | None, new: Placed | None) -> Mapping[_Prefix, Mapping[int, tuple[VipKey, ...]]]:
        if (old is None) == (new is None):
            return self._prefixes
        changed = old or new
        assert changed is not None
        key = changed.vip.key
        prefix, number = _place(key)
        keys = dict(self._prefixes.get(prefix, {}))
        others = tuple([other for other in keys.pop(number, ()) if other != key])
        if same := others if new is None else (*others, key):
            keys[number] = same
        prefixes = {other: each for other, each in self._prefixes.items() if other != prefix}
        return {**prefixes, prefix: keys} if keys else prefixes

    def _addresses(self, old: Placed | None, new: Placed | None) -> Mapping[IPAddress, int]:
        difference = differing({} if old is None else old.backends, {} if new is None else new.backends)
        if not difference.gone and not difference.new:
            return self.backends
        backends = dict(self.backends)
        for address in difference.gone:
            if backends[address] == 1:
                del backends[address]
            else:
                backends[address] -= 1
        for address in difference.new:
            backends[address] = backends.get(address, 0) + 1
        return backends


def _place(key: VipKey) -> tuple[_Prefix, int]:
    shift = key.address.max_prefixlen - (key.prefix_length or 0)
    return (key.address.version, shift), int(key.address) >> shift
