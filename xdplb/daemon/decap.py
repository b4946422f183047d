# SPDX-License-Identifier: Apache-2.0
"""Unwrap IPIP and GUE in XDP on a backend's host, where the kernel has no tunnel modules."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from xdplb.dataplane import bpffs
from xdplb.dataplane.links import attachments
from xdplb.dataplane.pins import DECAP
from xdplb.dataplane.single import decap_down, decap_up
from xdplb.model.address import IPAddress
from xdplb.model.errors import PlatformError
from xdplb.net import links

from .privileges import require_privileges

__all__ = ["DecapStarted", "HostDecap", "preview_start", "preview_stop", "start", "stop"]


class HostDecap:
    """Decapsulation on the NICs of this host, pinned in `pin_dir`: the `Decap` that `xdplb.net.backend_host` uses."""

    def __init__(self, pin_dir: Path) -> None:
        self._pin_dir = pin_dir

    def require(self) -> None:
        """Raise PlatformError unless this process may attach, `pin_dir` is on a bpffs and the host has an address."""
        require_privileges("attaching to a NIC")
        bpffs.require(self._pin_dir)
        _host_addresses()

    def up(self, interface: str) -> None:
        """Unwrap on this NIC what is sent to any address of this host's NICs."""
        decap_up(interface, self._pin_dir, _host_addresses())

    def down(self, interface: str) -> None:
        """Stop unwrapping; no error if it does not."""
        decap_down(interface, self._pin_dir)

    def is_up(self, interface: str) -> bool:
        """Return whether it unwraps on this NIC."""
        return any(found.interface == interface for found in attachments(self._pin_dir / DECAP))


@dataclass(frozen=True, slots=True)
class DecapStarted:
    """How the program is attached (native or skb), whether it was `already`, and why not in native mode, if wanted."""

    mode: str
    already: bool
    note: str


def start(interface: str, pin_dir: Path, *, addresses: Collection[IPAddress], mode: str) -> DecapStarted:
    """Unwrap on this NIC what is sent to `addresses`, or to any address of this host's NICs if none is given.

    Raises PlatformError, and ConflictError if another program is attached.
    """
    require_privileges("attaching to a NIC")
    already = HostDecap(pin_dir).is_up(interface)
    attached = decap_up(interface, pin_dir, frozenset(addresses) or _host_addresses(), mode=mode)
    return DecapStarted(attached.mode, already, attached.note)


def preview_start(interface: str, pin_dir: Path) -> list[str]:
    """Return what `start` would change, a sentence each."""
    require_privileges("attaching to a NIC")
    return [] if HostDecap(pin_dir).is_up(interface) else [f"IPIP and GUE are unwrapped on {interface}"]


def stop(interface: str | None, pin_dir: Path) -> list[str]:
    """Detach from this NIC, None for all; return what was removed, a phrase each. With the last NIC, all is."""
    require_privileges("detaching from a NIC")
    return decap_down(interface, pin_dir)


def preview_stop(interface: str | None, pin_dir: Path) -> list[str]:
    """Return what `stop` would change, a sentence each."""
    require_privileges("detaching from a NIC")
    up = sorted(found.interface for found in attachments(pin_dir / DECAP))
    return [f"IPIP and GUE are no longer unwrapped on {name}" for name in up if interface in {None, name}]


def _host_addresses() -> frozenset[IPAddress]:
    """Return the addresses of this host's NICs. Those on lo are VIPs, which no outer header is addressed to."""
    found = links.host_addresses()
    if not found:
        raise PlatformError("this host's NICs have no IP address", hint="ip address add ADDRESS/PREFIX dev IFACE")
    return found
