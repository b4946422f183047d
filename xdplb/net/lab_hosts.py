# SPDX-License-Identifier: Apache-2.0
"""The hosts of a lab: network namespaces of their own, with processes in them. All of it goes when the lab does."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from pyroute2 import IPRoute

from . import links, netns
from .lab_home import LabHome, reap

__all__ = ["Hosts", "forward_packets"]

T = TypeVar("T")

_XDP_FLAGS_DRV_MODE = 1 << 2
_STOP_SECONDS = 5

_VETH = "type veth peer name {peer} netns {netns}"
_BRIDGE = "type bridge forward_delay 0 mcast_snooping 0"


class Hosts:
    """Hosts without a topology: a subclass builds one in `_build`. They are there while the block runs.

    `port_program` is the descriptor of an XDP program that passes everything. A veth accepts frames from XDP only if
    its other end has a program. Without one the lab works for everything but XDP.
    """

    def __init__(self, *, port_program: int | None = None) -> None:
        self._port_program = port_program
        self._processes: list[subprocess.Popen[Any]] = []
        self._kept = False
        self._home: LabHome | None = None

    def __enter__(self) -> Self:
        reap()
        self._home = LabHome()
        try:
            self._build()
        except BaseException:
            self._home.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._kept:
            self._stop_processes()
            self.home.remove()

    @property
    def home(self) -> LabHome:
        """The lab's folder; only while it is up."""
        if self._home is None:
            raise RuntimeError("the lab is not up")
        return self._home

    @property
    def folder(self) -> Path:
        """A folder for the lab's files, removed with it."""
        return self.home.folder

    @property
    def pin_dir(self) -> Path:
        """A folder for pins, in the lab's own bpffs."""
        return self.home.bpffs / "xdplb"

    def keep(self) -> None:
        """Leave the lab up, with the processes started to outlive its owner. A `reap` that names it removes it."""
        self._kept = True
        self.home.keep()

    def namespace(self, host: str) -> str:
        """Return the name of a host's network namespace."""
        return self.home.prefix() + host

    def run(
        self, host: str, argv: Sequence[str], *, check: bool = True, timeout: float = 30, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a host and return its output. Raises CalledProcessError unless `check` is False."""
        line = netns.command(self.namespace(host), argv, dies_with_parent=True)
        return subprocess.run(line, check=check, capture_output=True, text=True, timeout=timeout, **options)

    def popen(
        self, host: str, argv: Sequence[str], *, dies_with_parent: bool = True, **options: Any
    ) -> subprocess.Popen[Any]:
        """Start a command on a host; it is stopped with the lab. Options are those of subprocess.Popen.

        With `dies_with_parent` it is also killed when the thread that started it ends.
        """
        line = netns.command(self.namespace(host), argv, dies_with_parent=dies_with_parent)
        process = subprocess.Popen(line, **options)
        self._processes.append(process)
        return process

    def inside(self, host: str, function: Callable[[], T]) -> T:
        """Run `function` in a host's network namespace, in its own thread, and return its result."""
        return netns.inside(self.namespace(host), function)

    def configure(self, host: str, *lines: str) -> None:
        """Run lines with `ip -batch` on a host, such as `link set eth0 down`."""
        netns.configure(self.namespace(host), lines)

    def attach(self, host: str, interface: str) -> None:
        """Put the port program on a host's interface, in native mode."""
        program = self._port_program
        if program is None:
            raise RuntimeError("the lab has no port program")
        self.inside(host, lambda: _attach(interface, program))

    def _build(self) -> None:
        """Make the namespaces, connect them, and give them addresses."""
        raise NotImplementedError

    def _create(self, hosts: Iterable[str]) -> None:
        for host in hosts:
            netns.create(self.namespace(host))
            self.inside(host, _fixed_addresses)

    def _veth(self, host: str, peer: str) -> str:
        return _VETH.format(peer=peer, netns=self.namespace(host))

    def _bridge(self, host: str, name: str, ports: Sequence[str]) -> None:
        joined = [f"link set {port} master {name} up" for port in ports]
        self.configure(host, f"link add {name} {_BRIDGE}", *joined, f"link set {name} up")

    def _join(self, host: str, nic: str, *addresses: str) -> None:
        """Set a NIC up with an IPv4 and an IPv6 address."""
        lines = [f"address add {address}/{64 if ':' in address else 24} dev {nic}" for address in addresses]
        self.configure(host, f"link set {nic} up", *lines)

    def _stop_processes(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for stream in filter(None, (process.stdin, process.stdout, process.stderr)):
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def _fixed_addresses() -> None:
    """Have only the IPv6 addresses that are configured, without waiting for DAD, and none from router announcements."""
    for scope in ("all", "default"):
        for setting in ("accept_dad", "accept_ra"):
            Path(f"/proc/sys/net/ipv6/conf/{scope}/{setting}").write_text("0")


def forward_packets() -> None:
    """Make the namespace that this runs in a router, of both families, that tells nobody of a shorter way."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1")
    for scope in ("all", "default"):
        Path(f"/proc/sys/net/ipv4/conf/{scope}/rp_filter").write_text("0")
    for nic in Path("/proc/sys/net/ipv4/conf").iterdir():
        (nic / "send_redirects").write_text("0")


def _attach(name: str, program: int) -> None:
    xdp = {"attrs": [("IFLA_XDP_FD", program), ("IFLA_XDP_FLAGS", _XDP_FLAGS_DRV_MODE)]}
    with IPRoute() as requests:
        requests.link("set", index=links.link(name).ifindex, xdp=xdp)
