# SPDX-License-Identifier: Apache-2.0
"""What unwraps packets on a backend's host: the kernel's tunnel devices, its GUE port, or xdplb's own program."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from . import links
from .ip_command import ip, succeeds

__all__ = ["ANY_MODE", "DOWN", "UP", "Decap", "DecapSetting", "GuePort", "LinkUp", "TunnelMode", "load_modules"]

UP, DOWN = "up", "down"
ANY_MODE = "any"
GUE_PORT = 6080


class Decap(Protocol):
    """What unwraps on a NIC if the kernel has no tunnel for it."""

    def require(self) -> None:
        """Raise PlatformError, with a hint, if this host lacks what `up` needs."""
        ...

    def up(self, interface: str) -> None:
        """Start unwrapping on this NIC; no error if it does already."""
        ...

    def down(self, interface: str) -> None:
        """Stop unwrapping on this NIC; no error if it does not."""
        ...

    def is_up(self, interface: str) -> bool:
        """Return whether it unwraps on this NIC."""
        ...


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
        ip("link", "set", self.name, value)

    def sentence(self, value: str) -> str:
        """Say whether it is up."""
        return f"{self.name} is {value}"


@dataclass(frozen=True, slots=True)
class TunnelMode:
    """What an IPv6 tunnel accepts inside: `ip6ip6` (IPv6), `ipip6` (IPv4) or `any`."""

    name: str

    @property
    def key(self) -> str:
        """Such as `tunnel-mode ip6tnl0`."""
        return f"tunnel-mode {self.name}"

    def read(self) -> str:
        """Return the mode, as iproute2 calls it."""
        shown = json.loads(ip("-json", "-details", "link", "show", "dev", self.name))
        return str(shown[0]["linkinfo"]["info_data"]["proto"])

    def write(self, value: str) -> None:
        """Change it in place; for `ip6tnl0` only this command can."""
        ip("tunnel", "change", self.name, "mode", value, version=6)

    def sentence(self, value: str) -> str:
        """Say which mode it has."""
        return f"{self.name} has mode {value}"


@dataclass(frozen=True, slots=True)
class GuePort:
    """Whether the kernel unwraps GUE over IP version `version`."""

    version: int

    @property
    def key(self) -> str:
        """Such as `gue 4`."""
        return f"gue {self.version}"

    def read(self) -> str:
        """Return UP or DOWN."""
        shown = ip("fou", "show", version=self.version).splitlines()
        wanted = [f"port {GUE_PORT} gue", *(["-6"] if self.version == 6 else [])]
        return UP if any(line.split() == " ".join(wanted).split() for line in shown) else DOWN

    def write(self, value: str) -> None:
        """Open or close the port."""
        verb = ("add", "port", str(GUE_PORT), "gue") if value == UP else ("del", "port", str(GUE_PORT))
        ip("fou", *verb, version=self.version)

    def sentence(self, value: str) -> str:
        """Say whether it unwraps."""
        return f"the kernel {'unwraps' if value == UP else 'does not unwrap'} GUE over IPv{self.version}"

    @property
    def is_possible(self) -> bool:
        """Whether this kernel supports it."""
        module = Path("/sys/module/fou" if self.version == 4 else "/sys/module/fou6")
        return module.exists() or (self.version == 4 and succeeds("fou", "show"))


@dataclass(frozen=True, slots=True)
class DecapSetting:
    """Whether xdplb's own program unwraps on a NIC."""

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
        """Say whether it unwraps."""
        return f"xdplb {'unwraps' if value == UP else 'does not unwrap'} IPIP and GUE on {self.interface}"


def load_modules(names: Iterable[str]) -> None:
    """Try to load kernel modules. No error without them or without modprobe: then xdplb's own program is used."""
    for name in names:
        try:
            subprocess.run(["modprobe", "--quiet", name], capture_output=True, check=False)  # noqa: S607
        except FileNotFoundError:
            return
