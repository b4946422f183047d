# SPDX-License-Identifier: Apache-2.0
"""The settings of a backend's host that a VIP needs. Each can be read and written, and has a key for the undo log.

A setting's value is text. `from_key` makes the setting again from its `key`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from errno import EROFS
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Protocol

from xdplb.model.address import IPAddress, IPNetwork
from xdplb.model.errors import PlatformError

from . import ethtool, links
from .host_route import HostRoute
from .ip_command import ip
from .tunnel_settings import Decap, DecapSetting, GuePort, LinkUp, TunnelMode

__all__ = [
    "ABSENT",
    "COMPLETE",
    "PRESENT",
    "Checksums",
    "DefaultRoute",
    "LocalPrefix",
    "Loopback",
    "Setting",
    "Sysctl",
    "from_key",
]

PRESENT, ABSENT = "present", "absent"
COMPLETE, LEFT = "complete", "left"


class Setting(Protocol):
    """Something on the host that has a value."""

    @property
    def key(self) -> str:
        """What identifies it, also in the undo log."""
        ...

    def read(self) -> str:
        """Return its value."""
        ...

    def write(self, value: str) -> None:
        """Set its value. Raises PlatformError."""
        ...

    def sentence(self, value: str) -> str:
        """Return a sentence that says it has this value."""
        ...


@dataclass(frozen=True, slots=True)
class Sysctl:
    """The sysctl net.ipv4.conf.<interface>.<name> of this network namespace, or that of net.ipv6."""

    interface: str
    name: str
    version: int = 4

    @property
    def key(self) -> str:
        """Such as `sysctl eth0 arp_ignore`."""
        return f"{'sysctl' if self.version == 4 else 'sysctl6'} {self.interface} {self.name}"

    def read(self) -> str:
        """Return the number as text."""
        try:
            return self._path.read_text().strip()
        except OSError as error:
            raise PlatformError(f"{self._path} cannot be read: {error.strerror}") from error

    def write(self, value: str) -> None:
        """Write the number."""
        try:
            self._path.write_text(value)
        except OSError as error:
            raise PlatformError(f"{self._path} cannot be written: {error.strerror}", hint=_hint(error)) from error

    def sentence(self, value: str) -> str:
        """Name it and its value as sysctl does."""
        return f"net.ipv{self.version}.conf.{self.interface}.{self.name} is {value}"

    @property
    def _path(self) -> Path:
        return Path(f"/proc/sys/net/ipv{self.version}/conf") / self.interface / self.name


def _hint(error: OSError) -> str:
    """Return what to do about a sysctl that cannot be written."""
    if error.errno == EROFS:
        return "in a container, /proc/sys/net is read-only unless it is started otherwise: do this on the host itself"
    return "this needs root"


@dataclass(frozen=True, slots=True)
class Loopback:
    """Whether a VIP's address is on lo.

    An IPv6 address is added as deprecated: it answers, but this host does not use it for connections of its own.
    """

    address: IPAddress

    @property
    def key(self) -> str:
        """Such as `loopback 203.0.113.10`."""
        return f"loopback {self.address}"

    def read(self) -> str:
        """Return PRESENT or ABSENT."""
        return PRESENT if "lo" in links.holders(self.address) else ABSENT

    def write(self, value: str) -> None:
        """Add it or remove it."""
        lifetime = ["preferred_lft", "0"] if value == PRESENT and self.address.version == 6 else []
        verb = "add" if value == PRESENT else "del"
        ip("address", verb, self._text, "dev", "lo", *lifetime, version=self.address.version)

    def sentence(self, value: str) -> str:
        """Say whether it is on lo."""
        return f"{self._text} is {'' if value == PRESENT else 'not '}on lo"

    @property
    def _text(self) -> str:
        return f"{self.address}/{self.address.max_prefixlen}"


@dataclass(frozen=True, slots=True)
class LocalPrefix:
    """Whether all addresses of a prefix belong to this host, by a route of type local."""

    network: IPNetwork

    @property
    def key(self) -> str:
        """Such as `local-prefix 203.0.113.0/24`."""
        return f"local-prefix {self.network}"

    def read(self) -> str:
        """Return PRESENT or ABSENT."""
        found = self._ip("show", "table", "local", "exact", str(self.network))
        return PRESENT if found.split()[:2] == ["local", str(self.network)] else ABSENT

    def write(self, value: str) -> None:
        """Add it or remove it."""
        self._ip("add" if value == PRESENT else "del", "local", str(self.network), "dev", "lo", "table", "local")

    def sentence(self, value: str) -> str:
        """Say whether they belong to it."""
        return f"the addresses of {self.network} are {'' if value == PRESENT else 'not '}this host's"

    def _ip(self, *arguments: str) -> str:
        return ip("route", *arguments, version=self.network.version)


@dataclass(frozen=True, slots=True)
class DefaultRoute:
    """The default route in a family's main table, as iproute2 prints it; `ip` accepts the same words."""

    version: int = 4

    def read(self) -> str:
        """Return the preferred one, empty if there is none. `advmss` is moved to the end, to compare two values."""
        shown = ip("-oneline", "route", "show", "default", version=self.version)
        words = next(iter(shown.splitlines()), "").split()
        if "advmss" in words:
            at = words.index("advmss")
            words = words[:at] + words[at + 2 :] + words[at : at + 2]
        return " ".join(words)

    @property
    def key(self) -> str:
        """One for each family."""
        return "default-route" if self.version == 4 else "default-route6"

    def write(self, value: str) -> None:
        """Change it in place."""
        ip("route", "change", *value.split(), version=self.version)

    def sentence(self, value: str) -> str:
        """Quote it."""
        return f"the default route{' of IPv6' if self.version == 6 else ''} is `{value}`"


@dataclass(frozen=True, slots=True)
class Checksums:
    """Whether this host computes the checksums of what it sends by a NIC, or leaves them to the NIC."""

    interface: str

    @property
    def key(self) -> str:
        """Such as `checksums eth0`."""
        return f"checksums {self.interface}"

    def read(self) -> str:
        """Return COMPLETE or LEFT."""
        try:
            return LEFT if ethtool.leaves_checksums(self.interface) else COMPLETE
        except OSError as error:
            raise PlatformError(f"{self.interface} does not tell its checksums: {error.strerror}") from error

    def write(self, value: str) -> None:
        """Have the host compute them, or the NIC."""
        try:
            (ethtool.finish_checksums if value == COMPLETE else ethtool.leave_checksums)(self.interface)
        except OSError as error:
            raise PlatformError(
                f"{self.interface} keeps its checksums as they are: {error.strerror}", hint="this needs root"
            ) from error

    def sentence(self, value: str) -> str:
        """Say which it is."""
        if value == COMPLETE:
            return f"this host computes the checksums of what it sends by {self.interface}"
        return f"this host leaves the checksums of what it sends to {self.interface}"


_MAKERS: dict[str, Callable[..., Setting]] = {
    "sysctl": Sysctl,
    "sysctl6": lambda interface, name: Sysctl(interface, name, 6),
    "loopback": lambda address: Loopback(ip_address(address)),
    "local-prefix": lambda network: LocalPrefix(ip_network(network)),
    "default-route": DefaultRoute,
    "default-route6": lambda: DefaultRoute(6),
    "route": lambda network, metric: HostRoute(ip_network(network), int(metric)),
    "checksums": Checksums,
    "link": LinkUp,
    "tunnel-mode": TunnelMode,
    "gue": lambda version: GuePort(int(version)),
}


def from_key(key: str, decap: Decap) -> Setting:
    """Return the setting that `key` names."""
    kind, *words = key.split()
    if kind == "decap":
        return DecapSetting(words[0], decap)
    if kind not in _MAKERS:
        raise PlatformError(f"the undo log names a setting that this version does not know: {key}")
    return _MAKERS[kind](*words)
