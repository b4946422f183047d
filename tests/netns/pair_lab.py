# SPDX-License-Identifier: Apache-2.0
"""A lab with two balancers, lb1 and lb2, on one segment, each with folders of its own as a host has.

    client ── router ── switch ──┬── lb1   10.0.0.2
                                 ├── lb2   10.0.0.3
                                 ├── dr1   10.0.0.11
                                 └── dr2   10.0.0.12

The network of the VIPs, 203.0.113.0/24 and 2001:db8:f::/64, is on the segment: the router asks there who has a VIP.
These four have folders of their own, so commands and configurations are those that users have.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from xdplb.net.lab import ADDRESSES, Lab

from .balancer import READY_SECONDS, Balancer
from .own_folders import OwnFolders

__all__ = ["LB1", "LB2", "PairBalancer", "PairLab"]

LB1, LB2 = "balancer", "balancer2"
NAMES = {LB1: "lb1", LB2: "lb2", "dr1": "dr1", "dr2": "dr2"}
ADDRESS, ADDRESS6 = {LB1: "10.0.0.2", LB2: "10.0.0.3"}, {LB1: "2001:db8::2", LB2: "2001:db8::3"}


class PairLab(OwnFolders, Lab):
    """The topology above."""

    NAMES = NAMES

    def cut_off(self, host: str) -> None:
        """Take a balancer's cable out of the switch, without its NIC noticing."""
        self.configure("switch", f"link set {host} nomaster")

    def join(self, host: str) -> None:
        """Put it back. A NIC takes only what is sent to it; a veth would also take what the switch floods."""
        self.configure("switch", f"link set {host} master ports", f"link set {host} type bridge_slave flood off")

    def part(self, *hosts: str) -> None:
        """Keep these hosts of the switch from each other, but not from the others."""
        self.configure("switch", *(f"link set {host} type bridge_slave isolated on" for host in hosts))

    def unite(self) -> None:
        """End that."""
        self.configure("switch", *(f"link set {host} type bridge_slave isolated off" for host in NAMES))

    def _build(self) -> None:
        super()._build()
        self._create([LB2])
        self._wire("switch", {LB2: LB2})
        self.configure("switch", f"link set {LB2} up")
        for host in (LB1, LB2):
            self.join(host)
        self._join(LB2, "eth0", ADDRESS[LB2], ADDRESS6[LB2])
        self.configure(LB2, f"route add default via {ADDRESSES['router']}", "route add ::/0 via fe80::1 dev eth0")
        self.attach("switch", LB2)
        # The router has the VIPs' networks on the segment, as with a second address on that NIC.
        self.configure(
            "router", "route replace 203.0.113.0/24 dev segment", "route replace 2001:db8:f::/64 dev segment"
        )
        for host in NAMES:
            self._hold(host)


class PairBalancer(Balancer):
    """lb1 or lb2: the operator's hands on it."""

    def __init__(self, lab: PairLab, host: str) -> None:
        super().__init__(lab, host)
        self.name = NAMES[host]
        self.socket = Path("/run/xdplb/api.sock")

    def sh(self, lines: str, *, check: bool = True) -> str:
        """Run lines of shell on this balancer, as somebody types them in a clone; return what they print."""
        told = self.lab.run(self.host, ["sh", "-ec", lines], check=False, timeout=READY_SECONDS)
        assert not check or told.returncode == 0, f"{self.name}: {lines}\n{told.stdout}{told.stderr}"
        return told.stdout

    def write(self, path: str, text: str) -> None:
        """Write a file, whole and in one step."""
        line = 'mkdir -p "$(dirname "$1")" && cat >"$1.new" && mv "$1.new" "$1"'
        self.lab.run(self.host, ["sh", "-ec", line, "write", path], input=text)

    def has(self, address: str) -> bool:
        """Return whether this balancer has an address on one of its NICs."""
        return bool(self.lab.run(self.host, ["ip", "-o", "address", "show", "to", address]).stdout)

    def says(self, value: int) -> bool:
        """Return whether it tells keepalived this."""
        return self.sh("cat /run/xdplb/vrrp") == f"{value}\n"

    def moves_slots(self) -> bool:
        """Return whether a slot of a VIP moves to another backend, or will when its connections have ended."""
        vips = json.loads(self.sh("xdplb vip ls -o json"))["vips"]
        return any(vip["status"]["slots"]["moving"] or vip["status"]["slots"]["pinned"] for vip in vips)

    def sent(self) -> int:
        """Return how many packets this balancer has sent to backends."""
        return sum(vip["packets"] for vip in self.ask("stats")["vips"])

    def start(self, *options: str, nics: Sequence[str] = ("eth0",)) -> None:
        """Start the service again, and wait until it is ready."""
        assert (options, nics) == ((), ("eth0",)), "the unit file says how it is started"
        self.sh("systemctl start xdplb && xdplb status --wait")

    def kill(self) -> None:
        """Kill the daemon with -9."""
        self.sh("systemctl kill --signal=SIGKILL xdplb")

    def kill_keepalived(self) -> None:
        """Kill all of keepalived with -9: it takes nothing back."""
        self.sh("systemctl kill --signal=SIGKILL keepalived")

    def log(self) -> str:
        """Return what the services have said."""
        return self.sh("cat /run/*.log")
