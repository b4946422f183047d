# SPDX-License-Identifier: Apache-2.0
"""A lab with the VIP in both address families: what differs between them, and helpers for tests of both."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from tests.waiting import until
from xdplb.net.lab import ADDRESSES, ADDRESSES6, VIP, VIP6

from .balancer import PORT, Balancer

__all__ = ["BOTH", "Family", "add_vip", "answers", "fetch", "prepare", "remove_vips"]

SERVICE = str(Path(__file__).with_name("mirror_service.py"))


@dataclass(frozen=True)
class Family:
    """The lab from the point of view of one IP version."""

    version: int
    vip: IPv4Address | IPv6Address
    addresses: dict[str, IPv4Address] | dict[str, IPv6Address]

    @property
    def host(self) -> str:
        """The VIP's address as it is written in a URL or a VIP's key."""
        return f"[{self.vip}]" if self.version == 6 else str(self.vip)

    def key(self, port: int = PORT, protocol: str = "tcp") -> str:
        """Return the name of a VIP of this family's address."""
        return f"{self.host}:{port}/{protocol}"


BOTH = [Family(4, VIP, ADDRESSES), Family(6, VIP6, ADDRESSES6)]


def prepare(balancer: Balancer, host: str, forward: str) -> None:
    """Set a host up as a backend of the VIPs of both families, and start its service."""
    for family in BOTH:
        balancer.backend_host(host, "setup", str(family.vip), "--forward", forward, "--interface", "eth0")
    balancer.services[host] = balancer.lab.popen(host, [sys.executable, SERVICE, host, str(PORT)])
    for address in ("127.0.0.1", "[::1]"):
        asked = ["curl", "-sf", "-o", "/dev/null", f"http://{address}:{PORT}/1"]
        until(lambda asked=asked: balancer.lab.run(host, asked, check=False).returncode == 0)  # type: ignore[misc]


def add_vip(balancer: Balancer, family: Family, hosts: Sequence[str], forward: str, *, key: str | None = None) -> None:
    """Add the family's VIP with these backends, and wait until they all serve."""
    name = key or family.key()
    balancer.cli("vip", "add", name)
    for host in hosts:
        balancer.cli("backend", "add", name, str(family.addresses[host]), "--forward", forward)
    shares = [("backend", "show", name, str(family.addresses[host])) for host in hosts]
    until(lambda: all(balancer.ask(*share)["status"]["share"] > 0 for share in shares))


def remove_vips(balancer: Balancer) -> None:
    """Remove all VIPs."""
    for vip in balancer.ask("stats")["vips"]:
        balancer.cli("vip", "rm", vip["vip"])


def answers(balancer: Balancer, reason: str) -> int:
    """Return how many packets the balancer has answered for this reason: `echo` or `too_big`."""
    count: int = balancer.ask("stats")["answers"][reason]
    return count


def fetch(balancer: Balancer, family: Family, path: str, *options: str) -> tuple[str, bytes]:
    """Send a request from the client; return the backend's name and the body. An incomplete answer fails the test."""
    folder = balancer.lab.folder
    argv = ["curl", "-sSf", "--max-time", "20", "-H", "Expect:", "-D", str(folder / "head"), "-o", str(folder / "body")]
    balancer.lab.run("client", [*argv, *options, f"http://{family.host}:{PORT}/{path}"], timeout=60)
    head = (folder / "head").read_text()
    (name,) = [line.split()[1] for line in head.splitlines() if line.startswith("X-Backend")]
    return name, (folder / "body").read_bytes()
