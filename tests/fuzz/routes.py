# SPDX-License-Identifier: Apache-2.0
"""Routes for the replies of NAT backends: a network namespace in which the kernel has those that the model is told of.

Some clients are behind a next hop that is known, some behind one that is not, some by the NIC that replies come in by,
some by one that xdplb is not on, and some are reached by no route at all.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path

from tests.fuzz.profiles import INGRESS, OTHER_NIC
from xdplb.model.address import IPNetwork
from xdplb.model.next_hop import ClientWay, NextHop
from xdplb.net.client_routes import merged

__all__ = ["ROUTES", "WAYS", "Namespace"]

CLONE_NEWNET = 0x40000000
STRANGE_NIC = 4
LOOPBACK_MAC, OUT_MAC, STRANGE_MAC = bytes(6), b"\x02\0\0\0\3\2", b"\x02\0\0\0\3\4"
GATEWAY_MAC = b"\x02\0\0\0\4\1"
OUT_MTU = 1300
LOOPBACK_MTU = 65536


def _hop(ifindex: int, source_mac: bytes, mtu: int, mac: bytes = GATEWAY_MAC) -> NextHop:
    return NextHop(mac, source_mac, "", ifindex, mtu, ip_address("10.99.0.1"))


KNOWN, UNKNOWN = _hop(OTHER_NIC, OUT_MAC, OUT_MTU), _hop(OTHER_NIC, OUT_MAC, OUT_MTU, b"")
BACK, STRANGE = _hop(INGRESS, LOOPBACK_MAC, LOOPBACK_MTU), _hop(STRANGE_NIC, STRANGE_MAC, 1500)

ROUTES: Mapping[IPNetwork, NextHop | None] = {
    ip_network("0.0.0.0/0"): KNOWN,
    ip_network("::/0"): KNOWN,
    ip_network("10.0.0.0/8"): None,
    ip_network("127.0.0.0/8"): None,
    ip_network("203.0.113.0/24"): None,
    ip_network("198.51.100.8/29"): None,
    ip_network("198.51.100.24/29"): None,
    ip_network("192.0.2.0/28"): KNOWN,
    ip_network("192.0.2.16/28"): UNKNOWN,
    ip_network("198.51.100.0/29"): KNOWN,
    ip_network("198.51.100.8/30"): UNKNOWN,
    ip_network("198.51.100.12/32"): BACK,
    ip_network("198.51.100.16/29"): STRANGE,
    ip_network("2001:db8:c::/46"): KNOWN,
    ip_network("2001:db8:c:8::/62"): UNKNOWN,
    ip_network("2001:db8:c:c::/128"): BACK,
    ip_network("2001:db8:c:10::/61"): STRANGE,
}
"""What the kernel answers, None where it forwards nothing. Of two that hold an address, the longer prefix wins."""

_OTHERS = [network for network, hop in ROUTES.items() if hop is not KNOWN]
WAYS: Mapping[int, ClientWay] = {
    version: ClientWay(KNOWN, merged([each for each in _OTHERS if each.version == version], version))
    for version in (4, 6)
}
"""The ways that most clients are on: they say the same."""

SETUP = f"""
link set lo up
link add name out index {OTHER_NIC} address {OUT_MAC.hex(":")} mtu {OUT_MTU} type veth peer name far index 12
link add name strange index {STRANGE_NIC} address {STRANGE_MAC.hex(":")} type veth peer name away index 14
link set out up
link set far up
link set strange up
link set away up
address add 10.99.0.1/24 dev out
address add 10.99.1.1/24 dev strange
address add 2001:db8:99::1/64 dev out nodad
address add 2001:db8:9a::1/64 dev strange nodad
neighbor add 10.99.0.2 lladdr {GATEWAY_MAC.hex(":")} nud permanent dev out
neighbor add 10.99.1.2 lladdr {GATEWAY_MAC.hex(":")} nud permanent dev strange
neighbor add 2001:db8:99::2 lladdr {GATEWAY_MAC.hex(":")} nud permanent dev out
neighbor add 2001:db8:9a::2 lladdr {GATEWAY_MAC.hex(":")} nud permanent dev strange
neighbor add 198.51.100.12 lladdr {GATEWAY_MAC.hex(":")} nud permanent dev lo
neighbor add 2001:db8:c:c:: lladdr {GATEWAY_MAC.hex(":")} nud permanent dev lo
route add default via 10.99.0.2
route add throw 10.0.0.0/8
route add throw 203.0.113.0/24
route add throw 198.51.100.8/29
route add throw 198.51.100.24/29
route add default via 2001:db8:99::2
route add 192.0.2.0/28 via 10.99.0.2
route add 192.0.2.16/28 via 10.99.0.3
route add 198.51.100.0/29 via 10.99.0.2
route add 198.51.100.8/30 via 10.99.0.3
route add 198.51.100.12/32 dev lo
route add 198.51.100.16/29 via 10.99.1.2
route add 2001:db8:c::/46 via 2001:db8:99::2
route add 2001:db8:c:8::/62 via 2001:db8:99::3
route add 2001:db8:c:c::/128 dev lo
route add 2001:db8:c:10::/61 via 2001:db8:9a::2
"""

_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A network namespace of this process's own with these routes, which goes with the process."""

    def __init__(self) -> None:
        with _back_here():
            _call("unshare", CLONE_NEWNET)
            self._fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            for family in ("ipv4", "ipv6"):
                for place in ("all", "default", "lo"):
                    Path(f"/proc/sys/net/{family}/conf/{place}/forwarding").write_text("1")
            subprocess.run(["ip", "-batch", "-"], input=SETUP, text=True, check=True)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Let this thread be in it."""
        with _back_here():
            _call("setns", self._fd, CLONE_NEWNET)
            yield


@contextmanager
def _back_here() -> Iterator[None]:
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        _call("setns", here, CLONE_NEWNET)
        os.close(here)


def _call(name: str, *arguments: int) -> None:
    if getattr(_libc, name)(*arguments):
        raise OSError(ctypes.get_errno(), f"{name} failed")
