# SPDX-License-Identifier: Apache-2.0
"""What NAT needs of the host: that it forwards packets, since a backend's replies come back through it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from .finding import Finding, fail, ok, warn

__all__ = ["examine_nat"]

_PROC = Path("/proc/sys/net")
_STRICT = "1"
_FIX = {4: "sysctl -w net.ipv4.ip_forward=1", 6: "sysctl -w net.ipv6.conf.all.forwarding=1"}


def examine_nat(
    backends: Mapping[str, Sequence[Mapping[str, Any]]], nics: Sequence[str], proc: Path = _PROC
) -> Iterator[Finding]:
    """Yield what is missing for the replies of NAT backends on these NICs, if there are such backends, by VIP."""
    reached = {
        ip_address(backend["address"]).version
        for own in backends.values()
        for backend in own
        if backend["forward"] == "nat"
    }
    faults = [fault for nic in nics for version in sorted(reached) for fault in _faults_of(nic, version, proc)]
    yield from faults
    if reached and not faults:
        yield ok("nat", "the host forwards the replies of NAT backends")


def _faults_of(nic: str, version: int, proc: Path) -> Iterator[Finding]:
    name = f"net.ipv{version}.conf.{nic}.forwarding"
    if _read(proc / f"ipv{version}" / "conf" / nic / "forwarding") == "0":
        yield fail("nat", f"{name} is 0: replies of NAT backends do not reach their clients", _FIX[version])
    if version == 4 and _STRICT in {_read(proc / "ipv4" / "conf" / where / "rp_filter") for where in ("all", nic)}:
        yield warn(
            "nat",
            f"net.ipv4.conf.{nic}.rp_filter is strict: a reply is lost while the next hop to its client is not known",
            f"sysctl -w net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.{nic}.rp_filter=2",
        )


def _read(path: Path) -> str:
    """Return the setting, "" where there is none."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
