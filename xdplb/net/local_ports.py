# SPDX-License-Identifier: Apache-2.0
"""The ports that the kernel gives to outgoing connections: ip_local_port_range without ip_local_reserved_ports."""

from __future__ import annotations

from pathlib import Path

__all__ = ["ephemeral_ports"]

_IPV4 = Path("/proc/sys/net/ipv4")
"""The settings of the caller's network namespace. They are those of IPv6 too."""
_KERNELS_DEFAULT = (32768, 60999)


def ephemeral_ports(settings: Path = _IPV4) -> tuple[range, ...]:
    """Return the ports that connections of this host leave from by default, as ranges in order."""
    try:
        first, last = map(int, (settings / "ip_local_port_range").read_text(encoding="ascii").split())
        reserved = (settings / "ip_local_reserved_ports").read_text(encoding="ascii").strip()
    except OSError:
        (first, last), reserved = _KERNELS_DEFAULT, ""
    found: list[range] = []
    for part in filter(None, reserved.split(",")):  # the kernel prints them in order
        low, _, high = part.partition("-")
        if first < int(low):
            found.append(range(first, min(int(low), last + 1)))
        first = max(first, int(high or low) + 1)
    return tuple(part for part in (*found, range(first, last + 1)) if part)
