"""A lab of network namespaces: a client, a router, a balancer and backends, all on one machine.

    client ── router ──┬── switch ──┬── balancer (eth0) ── side (by the balancer's eth1)
     198.51.100.2      │            ├── dr1   10.0.0.11
                       │            └── dr2   10.0.0.12
                       ├── ipip1  10.0.1.11
                       └── ipip2  10.0.1.12

Every host's NIC is called eth0. The VIPs (203.0.113.0/24) are routed to the balancer, which is 10.0.0.2. Each host also
has an IPv6 address: 10.0.1.11 is 2001:db8:1::11, the VIPs are in 2001:db8:f::/64. The router is fe80::1 on its NICs.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from pyroute2 import IPRoute

from . import ethtool, links, netns
from .lab_home import LabHome, kept_labs, reap

__all__ = ["ADDRESSES", "ADDRESSES6", "VIP", "VIP6", "Lab", "kept_labs", "reap"]

T = TypeVar("T")

VIP = IPv4Address("203.0.113.10")
VIP6 = IPv6Address("2001:db8:f::10")

ADDRESSES = {
    host: IPv4Address(address)
    for host, address in {
        "client": "198.51.100.2",
        "router": "10.0.0.1",
        "balancer": "10.0.0.2",
        "dr1": "10.0.0.11",
        "dr2": "10.0.0.12",
        "ipip1": "10.0.1.11",
        "ipip2": "10.0.1.12",
        "side": "10.0.2.11",
    }.items()
}

ADDRESSES6 = {
    host: IPv6Address(address)
    for host, address in {
        "client": "2001:db8:c::2",
        "router": "2001:db8::1",
        "balancer": "2001:db8::2",
        "dr1": "2001:db8::11",
        "dr2": "2001:db8::12",
        "ipip1": "2001:db8:1::11",
        "ipip2": "2001:db8:1::12",
        "side": "2001:db8:2::11",
    }.items()
}

_XDP_FLAGS_DRV_MODE = 1 << 2
_STOP_SECONDS = 5

_VETH = "type veth peer name {peer} netns {netns}"
_BRIDGE = "type bridge forward_delay 0 mcast_snooping 0"


class Lab:
    """The topology above. It is created on entering the block and removed on leaving it, with all that runs in it.

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
        for host in (*ADDRESSES, "switch"):
            netns.create(self.namespace(host))
            self.inside(host, _fixed_addresses)
        self._wire("router", {"client": "client", "segment": "switch", "ipip1": "ipip1", "ipip2": "ipip2"})
        self._wire("switch", {"balancer": "balancer", "dr1": "dr1", "dr2": "dr2"})
        self.configure("balancer", f"link add eth1 {self._veth('side', 'eth0')}")
        self.configure("router", f"link add side {self._veth('side', 'eth1')}")
        self._bridge("switch", "ports", ["router", "balancer", "dr1", "dr2"])
        self._bridge("router", "tunnels", ["ipip1", "ipip2"])
        self._address()
        self.inside("router", _forward)
        self.inside("client", lambda: ethtool.finish_checksums("eth0"))
        if self._port_program is not None:
            self.attach("switch", "balancer")
            self.attach("side", "eth0")

    def _veth(self, host: str, peer: str) -> str:
        return _VETH.format(peer=peer, netns=self.namespace(host))

    def _wire(self, centre: str, ports: dict[str, str]) -> None:
        """Connect ports of `centre` with hosts' eth0; a port to the switch ends there in one named after `centre`."""
        peers = {port: centre if host == "switch" else "eth0" for port, host in ports.items()}
        self.configure(centre, *(f"link add {port} {self._veth(host, peers[port])}" for port, host in ports.items()))

    def _bridge(self, host: str, name: str, ports: Sequence[str]) -> None:
        joined = [f"link set {port} master {name} up" for port in ports]
        self.configure(host, f"link add {name} {_BRIDGE}", *joined, f"link set {name} up")

    def _address(self) -> None:
        router = {"client": "198.51.100.1", "segment": "10.0.0.1", "tunnels": "10.0.1.1", "side": "10.0.3.1"}
        router6 = {"client": "2001:db8:c::1", "segment": "2001:db8::1", "tunnels": "2001:db8:1::1"}
        router6["side"] = "2001:db8:3::1"
        for nic, address in router.items():
            self._join("router", nic, address, router6[nic])
            self.configure("router", f"address add fe80::1/64 dev {nic} nodad")
        for host in ("client", "balancer", "dr1", "dr2", "ipip1", "ipip2", "side"):
            self._join(host, "eth0", str(ADDRESSES[host]), str(ADDRESSES6[host]))
        self._join("balancer", "eth1", "10.0.2.1", "2001:db8:2::1")
        self._join("side", "eth1", "10.0.3.11", "2001:db8:3::11")
        self.configure("router", f"route add 203.0.113.0/24 via {ADDRESSES['balancer']}")
        self.configure("router", f"route add 2001:db8:f::/64 via {ADDRESSES6['balancer']}")
        gateways = {"client": "client", "balancer": "segment", "dr1": "segment", "dr2": "segment"}
        gateways |= {"ipip1": "tunnels", "ipip2": "tunnels", "side": "side"}
        for host, nic in gateways.items():
            egress = "eth1" if host == "side" else "eth0"
            self.configure(host, f"route add default via {router[nic]}")
            self.configure(host, f"route add ::/0 via fe80::1 dev {egress}")

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


def _forward() -> None:
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1")
    for scope in ("all", "default"):
        Path(f"/proc/sys/net/ipv4/conf/{scope}/rp_filter").write_text("0")


def _attach(name: str, program: int) -> None:
    xdp = {"attrs": [("IFLA_XDP_FD", program), ("IFLA_XDP_FLAGS", _XDP_FLAGS_DRV_MODE)]}
    with IPRoute() as requests:
        requests.link("set", index=links.link(name).ifindex, xdp=xdp)
