# SPDX-License-Identifier: Apache-2.0
"""Three namespaces in a row: generator, balancer and sink, connected by veth pairs.

    generator eth0 ── in0 balancer out0 ── eth0 sink

Each NIC has one queue per CPU, so that CPUs that send at the same time do not share a queue.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from xdplb.dataplane.libbpf import Fd, link_create_xdp
from xdplb.net import netns
from xdplb.net.lab_home import LabHome, reap

__all__ = ["MTU", "Wire", "new_wire"]

MTU = 2000
"""More than a packet of 1500 bytes needs with any outer header."""
XDP_FLAGS_DRV_MODE = 1 << 2
HOSTS = ("generator", "balancer", "sink")

T = TypeVar("T")


class Wire:
    """The namespaces, as long as they exist."""

    def __init__(self, home: LabHome) -> None:
        self._prefix = home.prefix()
        self.pin_dir: Path = home.bpffs
        for host in HOSTS:
            netns.create(self._prefix + host)
            self.inside(host, _no_ipv6)
        self._pair("in0", "generator")
        self._pair("out0", "sink")

    def inside(self, host: str, function: Callable[[], T]) -> T:
        """Run `function` in a host's namespace, in a separate thread, and return its result."""
        return netns.inside(self._prefix + host, function)

    def configure(self, host: str, *lines: str) -> None:
        """Run lines with `ip -batch` on a host."""
        netns.configure(self._prefix + host, lines)

    def ifindex(self, host: str, interface: str) -> int:
        """Return the ifindex of a host's interface."""
        return self.inside(host, lambda: socket.if_nametoindex(interface))

    def attach(self, host: str, interface: str, program: Fd) -> Fd:
        """Put a program on a host's interface, in native mode; it stays while the link is open."""
        ifindex = self.ifindex(host, interface)
        return self.inside(host, lambda: link_create_xdp(program, ifindex, XDP_FLAGS_DRV_MODE))

    def _pair(self, interface: str, host: str) -> None:
        queues = f"numtxqueues {os.cpu_count()} numrxqueues {os.cpu_count()}"
        pair = f"link add {interface} {queues} mtu {MTU} type veth peer name eth0 {queues} mtu {MTU}"
        netns.configure(self._prefix + "balancer", [f"{pair} netns {self._prefix + host}", f"link set {interface} up"])
        netns.configure(self._prefix + host, ["link set eth0 up"])


def _no_ipv6() -> None:
    """Turn IPv6 off, so that the kernel sends no frames of its own and every frame is the generator's."""
    Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")


@contextmanager
def new_wire() -> Iterator[Wire]:
    """Make the namespaces; they end with the process, however it ends."""
    reap()
    home = LabHome()
    try:
        yield Wire(home)
    finally:
        home.remove()
