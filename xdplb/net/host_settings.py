"""The settings of a backend's host that a VIP needs: each can be read, written, and named in a record for undoing.

A setting's value is text; `key` is enough to make the same setting again (`from_key`).
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Protocol

from xdplb.model.errors import PlatformError

from . import links

__all__ = [
    "ABSENT",
    "DOWN",
    "PRESENT",
    "UP",
    "Decap",
    "DecapSetting",
    "DefaultRoute",
    "LinkUp",
    "Loopback",
    "Setting",
    "Sysctl",
    "from_key",
]

PRESENT, ABSENT = "present", "absent"
UP, DOWN = "up", "down"
_CONF = Path("/proc/sys/net/ipv4/conf")


class Setting(Protocol):
    """Something of the host that has a value."""

    @property
    def key(self) -> str:
        """What tells it from other settings, in a record too."""
        ...

    def read(self) -> str:
        """Return the value it has."""
        ...

    def write(self, value: str) -> None:
        """Give it a value. Raises PlatformError."""
        ...

    def sentence(self, value: str) -> str:
        """Say that it has this value."""
        ...


class Decap(Protocol):
    """Whatever unwraps IPIP on a NIC where the kernel has no tunnel for it."""

    def require(self) -> None:
        """Raise PlatformError, with what to do, where this host lacks what `up` needs."""
        ...

    def up(self, interface: str) -> None:
        """Start to unwrap on this NIC; no error where it does already."""
        ...

    def down(self, interface: str) -> None:
        """Stop; no error where it does not."""
        ...

    def is_up(self, interface: str) -> bool:
        """Return whether it unwraps on this NIC."""
        ...


@dataclass(frozen=True, slots=True)
class Sysctl:
    """One of net.ipv4.conf.<interface>.<name>, of this network namespace."""

    interface: str
    name: str

    @property
    def key(self) -> str:
        """Such as `sysctl eth0 arp_ignore`."""
        return f"sysctl {self.interface} {self.name}"

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
            raise PlatformError(f"{self._path} cannot be written: {error.strerror}", hint="this needs root") from error

    def sentence(self, value: str) -> str:
        """Name it as sysctl does."""
        return f"net.ipv4.conf.{self.interface}.{self.name} is {value}"

    @property
    def _path(self) -> Path:
        return _CONF / self.interface / self.name


@dataclass(frozen=True, slots=True)
class Loopback:
    """Whether a VIP's address is on lo, as a /32."""

    address: IPv4Address

    @property
    def key(self) -> str:
        """Such as `loopback 203.0.113.10`."""
        return f"loopback {self.address}"

    def read(self) -> str:
        """Return PRESENT or ABSENT."""
        return PRESENT if "lo" in links.holders(self.address) else ABSENT

    def write(self, value: str) -> None:
        """Add it or take it away."""
        _ip("address", "add" if value == PRESENT else "del", f"{self.address}/32", "dev", "lo")

    def sentence(self, value: str) -> str:
        """Say whether it is there."""
        return f"{self.address}/32 is {'' if value == PRESENT else 'not '}on lo"


@dataclass(frozen=True, slots=True)
class LinkUp:
    """Whether an interface is up."""

    name: str

    @property
    def key(self) -> str:
        """Such as `link tunl0`."""
        return f"link {self.name}"

    def read(self) -> str:
        """Return UP or DOWN."""
        return UP if links.link(self.name).up else DOWN

    def write(self, value: str) -> None:
        """Set it up or down."""
        _ip("link", "set", self.name, value)

    def sentence(self, value: str) -> str:
        """Say whether it is up."""
        return f"{self.name} is {value}"


@dataclass(frozen=True, slots=True)
class DefaultRoute:
    """The default route of the main table, in iproute2's words, which it takes back as they are."""

    def read(self) -> str:
        """Return the preferred one; empty where there is none."""
        return next(iter(_ip("-oneline", "route", "show", "default").splitlines()), "").strip()

    @property
    def key(self) -> str:
        """There is one."""
        return "default-route"

    def write(self, value: str) -> None:
        """Change it in place."""
        _ip("route", "change", *value.split())

    def sentence(self, value: str) -> str:
        """Show it."""
        return f"the default route is `{value}`"


@dataclass(frozen=True, slots=True)
class DecapSetting:
    """Whether xdplb's own program unwraps IPIP on a NIC."""

    interface: str
    decap: Decap

    @property
    def key(self) -> str:
        """Such as `decap eth0`."""
        return f"decap {self.interface}"

    def read(self) -> str:
        """Return UP or DOWN."""
        return UP if self.decap.is_up(self.interface) else DOWN

    def write(self, value: str) -> None:
        """Attach or detach the program."""
        if value == UP:
            self.decap.up(self.interface)
        else:
            self.decap.down(self.interface)

    def sentence(self, value: str) -> str:
        """Say whether it does."""
        return f"xdplb {'unwraps' if value == UP else 'does not unwrap'} IPIP on {self.interface}"


def from_key(key: str, decap: Decap) -> Setting:
    """Return the setting that `key` names."""
    match key.split():
        case ["sysctl", interface, name]:
            return Sysctl(interface, name)
        case ["loopback", address]:
            return Loopback(IPv4Address(address))
        case ["link", name]:
            return LinkUp(name)
        case ["decap", interface]:
            return DecapSetting(interface, decap)
        case ["default-route"]:
            return DefaultRoute()
    raise PlatformError(f"the record names a setting that this version does not know: {key}")


def _ip(*arguments: str) -> str:
    command: Sequence[str] = ("ip", "-4", *arguments)
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise PlatformError("there is no `ip` command", hint="apt-get install iproute2") from None
    if result.returncode:
        raise PlatformError(f"`{' '.join(command)}` failed: {result.stderr.strip()}", hint="this needs root")
    return result.stdout
