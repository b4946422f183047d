# SPDX-License-Identifier: Apache-2.0
"""What a VIP needs of a backend's host. It depends on how the VIP's packets arrive there."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from xdplb.model.vip import Forward

from . import links
from .host_settings import PRESENT, DefaultRoute, LocalPrefix, Loopback, Setting, Sysctl
from .tunnel_settings import ANY_MODE, UP, Decap, DecapSetting, GuePort, LinkUp, TunnelMode, load_modules
from .undo_log import VipHost

__all__ = ["Need", "Way", "load_tunnels", "loose_filter", "needs"]

_TUNNELS = {
    (4, 4): ("tunl0", "ipip"),
    (6, 4): ("sit0", "sit"),
    (4, 6): ("ip6tnl0", "ip6_tunnel"),
    (6, 6): ("ip6tnl0", "ip6_tunnel"),
}
"""The kernel's device and module that unwrap, by the versions of the inner and the outer packet."""
_GUE_MODULES = {4: "fou", 6: "fou6"}
_OUTER_BYTES = {4: 20, 6: 40}
_UDP_BYTES = 8
_TCP_BYTES = 20
_LOOSE = "2"
_QUIET_ARP = ("1", "2", "8")  # not 3: it is silent only for addresses of host scope


@dataclass(frozen=True, slots=True)
class Way:
    """How packets for a VIP arrive: on this NIC and, if they are wrapped, in an outer header of IP version `outer`."""

    vip: VipHost
    forward: Forward
    interface: str
    outer: int

    @property
    def device(self) -> str:
        """The kernel's tunnel device that unwraps them."""
        return _TUNNELS[self.vip.version, self.outer][0]

    @property
    def modules(self) -> list[str]:
        """The kernel modules that unwrap them; none for DR."""
        if self.forward is Forward.DR:
            return []
        gue = [_GUE_MODULES[self.outer]] if self.forward is Forward.GUE else []
        return [_TUNNELS[self.vip.version, self.outer][1], *gue]

    @property
    def overhead(self) -> int:
        """How many bytes the outer headers add."""
        return _OUTER_BYTES[self.outer] + (_UDP_BYTES if self.forward is Forward.GUE else 0)


@dataclass(frozen=True, slots=True)
class Need:
    """A setting, which of its values are good, the value to set if the present one is not, and why."""

    setting: Setting
    good: Callable[[str], bool]
    value: str
    why: str


def load_tunnels(way: Way) -> None:
    """Load the kernel modules that unwrap these packets, if there are such modules."""
    if way.forward is not Forward.DR and (way.device not in links.names() or way.forward is Forward.GUE):
        load_modules(way.modules)


def needs(way: Way, decap: Decap) -> list[Need]:
    """Return what is needed, in the order to do it: ARP is silenced before the host gets the address."""
    found: list[Need] = _silence() if way.vip.version == 4 else []
    entrance = way.interface  # where the kernel sees the inner packets come in
    if way.forward is not Forward.DR:
        unwrapping = _unwrapping(way, decap)
        if not any(isinstance(need.setting, DecapSetting) for need in unwrapping):
            entrance = way.device
        found += [*unwrapping, *_small_segments(way)]
    if way.vip.version == 4:
        route = re.search(r" dev (\S+)", DefaultRoute().read())
        if route is not None:
            found += loose_filter(entrance, route[1])
    return [*found, _presence(way.vip)]


def _silence() -> list[Need]:
    """Silence ARP. IPv6 needs nothing: the kernel answers neighbour discovery only for addresses of the asked NIC."""
    return [
        Need(Sysctl("all", "arp_ignore"), _QUIET_ARP.__contains__, "1", "so that no NIC answers ARP for the VIP"),
        Need(Sysctl("all", "arp_announce"), "2".__eq__, "2", "so that no ARP request has the VIP as its sender"),
    ]


def _unwrapping(way: Way, decap: Decap) -> list[Need]:
    """Have the kernel unwrap, or xdplb's own program if the kernel lacks a module."""
    port = GuePort(way.outer)
    is_gue = way.forward is Forward.GUE
    if way.device not in links.names() or (is_gue and not port.is_possible):
        why = f"to unwrap {way.forward.upper()}, since this kernel lacks a module: {' or '.join(way.modules)}"
        return [Need(DecapSetting(way.interface, decap), UP.__eq__, UP, why)]
    found = [Need(LinkUp(way.device), UP.__eq__, UP, f"to unwrap IPv{way.vip.version} in IPv{way.outer}")]
    if way.outer == 6 and way.vip.version == 4:
        mode = TunnelMode(way.device)
        found.append(Need(mode, (ANY_MODE, "ipip6").__contains__, ANY_MODE, "so that it accepts IPv4 inside too"))
    if is_gue:
        found.append(Need(port, UP.__eq__, UP, "to unwrap GUE"))
    return found


def _small_segments(way: Way) -> list[Need]:
    """Have clients send segments that still fit the NIC after encapsulation, by the MSS in this host's answers.

    The MSS is set on the default route: that needs neither a firewall nor a change of the service. All TCP connections
    by that route then use slightly smaller segments. A route announced by a router (`ra`) is not touched: the router
    would set it again.
    """
    version = way.vip.version
    largest = links.link(way.interface).mtu - _OUTER_BYTES[version] - _TCP_BYTES - way.overhead
    route = DefaultRoute(version)
    text = route.read()
    if not text or any(word in text.split() for word in ("nexthop", "nhid", "ra")):
        return []
    wanted = f"{re.sub(r' advmss [0-9]+', '', text)} advmss {largest}"

    def fits(value: str) -> bool:
        found = re.search(r" advmss (\d+)", value)
        return found is not None and int(found[1]) <= largest

    return [Need(route, fits, wanted, f"so that uploads of full segments fit {way.interface} after encapsulation")]


def loose_filter(entrance: str, exit_nic: str) -> list[Need]:
    """Return what lets packets in by a NIC whose answers leave by another one; nothing if it is the same."""
    if exit_nic == entrance:
        return []
    why = f"since clients' packets come in by {entrance} and the answers go out by another NIC"
    return [Need(Sysctl(entrance, "rp_filter"), lambda _: not _strict(entrance), _LOOSE, why)]


def _strict(interface: str) -> bool:
    """Return whether the kernel drops packets here because their answers would go out by another NIC.

    It uses the greater of the values of `all` and of the interface: 1 is strict, 2 is loose.
    """
    return max(int(Sysctl(scope, "rp_filter").read()) for scope in ("all", interface)) == 1


def _presence(vip: VipHost) -> Need:
    setting = Loopback(vip) if isinstance(vip, IPv4Address | IPv6Address) else LocalPrefix(vip)
    return Need(setting, PRESENT.__eq__, PRESENT, "so that this host accepts packets for the VIP")
