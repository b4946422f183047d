"""What a VIP needs of the host of a backend, by how its packets come there."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from xdplb.model.vip import Forward

from . import links
from .host_settings import PRESENT, DefaultRoute, LocalPrefix, Loopback, Setting, Sysctl
from .tunnel_settings import ANY_MODE, UP, Decap, DecapSetting, GuePort, LinkUp, TunnelMode, load_modules
from .undo_record import VipHost

__all__ = ["Need", "Way", "load_tunnels", "needs"]

_TUNNELS = {
    (4, 4): ("tunl0", "ipip"),
    (6, 4): ("sit0", "sit"),
    (4, 6): ("ip6tnl0", "ip6_tunnel"),
    (6, 6): ("ip6tnl0", "ip6_tunnel"),
}
"""The kernel's device and module for packets of one version in another."""
_GUE_MODULES = {4: "fou", 6: "fou6"}
_OUTER_BYTES = {4: 20, 6: 40}
_UDP_BYTES = 8
_TCP_BYTES = 20
_LOOSE = "2"
_QUIET_ARP = ("1", "2", "8")  # 3 keeps quiet for addresses of host scope only


@dataclass(frozen=True, slots=True)
class Way:
    """How packets for a VIP come: by this NIC, and where they are wrapped, to an address of version `outer`."""

    vip: VipHost
    forward: Forward
    interface: str
    outer: int

    @property
    def device(self) -> str:
        """The kernel's device that unwraps them."""
        return _TUNNELS[self.vip.version, self.outer][0]

    @property
    def modules(self) -> list[str]:
        """The kernel's modules that unwrap them; none for DR."""
        if self.forward is Forward.DR:
            return []
        gue = [_GUE_MODULES[self.outer]] if self.forward is Forward.GUE else []
        return [_TUNNELS[self.vip.version, self.outer][1], *gue]

    @property
    def overhead(self) -> int:
        """How many bytes they are longer on the way."""
        return _OUTER_BYTES[self.outer] + (_UDP_BYTES if self.forward is Forward.GUE else 0)


@dataclass(frozen=True, slots=True)
class Need:
    """A setting, whether a value of it will do, what to make it otherwise, and why."""

    setting: Setting
    good: Callable[[str], bool]
    value: str
    why: str


def load_tunnels(way: Way) -> None:
    """Ask for the kernel's modules that unwrap what comes this way."""
    if way.forward is not Forward.DR and (way.device not in links.names() or way.forward is Forward.GUE):
        load_modules(way.modules)


def needs(way: Way, decap: Decap) -> list[Need]:
    """Return what is needed, in the order to do it: silent before it has the address."""
    found: list[Need] = _silence() if way.vip.version == 4 else []
    entrance = way.interface
    if way.forward is not Forward.DR:
        unwrapping = _unwrapping(way, decap)
        if not any(isinstance(need.setting, DecapSetting) for need in unwrapping):
            entrance = way.device
        found += [*unwrapping, *_small_segments(way)]
    if way.vip.version == 4:
        found += _loose_filter(entrance)
    return [*found, _presence(way.vip)]


def _silence() -> list[Need]:
    """For IPv6 nothing is needed: the kernel answers neighbour discovery for addresses of the NIC it comes in by."""
    return [
        Need(Sysctl("all", "arp_ignore"), _QUIET_ARP.__contains__, "1", "so that no NIC answers ARP for the VIP"),
        Need(Sysctl("all", "arp_announce"), "2".__eq__, "2", "so that no NIC asks by ARP in the VIP's name"),
    ]


def _unwrapping(way: Way, decap: Decap) -> list[Need]:
    """Have the kernel unwrap, or xdplb where it lacks something."""
    port = GuePort(way.outer)
    is_gue = way.forward is Forward.GUE
    if way.device not in links.names() or (is_gue and not port.is_possible):
        why = f"to unwrap {way.forward.upper()}, since this kernel lacks a module: {' or '.join(way.modules)}"
        return [Need(DecapSetting(way.interface, decap), UP.__eq__, UP, why)]
    found = [Need(LinkUp(way.device), UP.__eq__, UP, f"to unwrap IPv{way.vip.version} in IPv{way.outer}")]
    if way.outer == 6 and way.vip.version == 4:
        mode = TunnelMode(way.device)
        found.append(Need(mode, (ANY_MODE, "ipip6").__contains__, ANY_MODE, "to take IPv4 inside too"))
    if is_gue:
        found.append(Need(port, UP.__eq__, UP, "to unwrap GUE"))
    return found


def _small_segments(way: Way) -> list[Need]:
    """Have clients send segments that still fit once they are wrapped.

    The route is the one place that needs neither a firewall nor the service's help. It concerns all TCP connections
    by that route, which only get slightly smaller segments. A route that a router announces is the router's to change.
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


def _loose_filter(entrance: str) -> list[Need]:
    route = re.search(r" dev (\S+)", DefaultRoute().read())
    if route is None or route[1] == entrance:
        return []
    why = f"since clients' packets come in by {entrance} and answers leave by another NIC"
    return [Need(Sysctl(entrance, "rp_filter"), lambda _: not _strict(entrance), _LOOSE, why)]


def _strict(interface: str) -> bool:
    """Return whether packets are dropped here for coming in by another NIC than answers leave by.

    The kernel takes the greater of `all` and the interface's own value, and 2 is looser than 1.
    """
    return max(int(Sysctl(scope, "rp_filter").read()) for scope in ("all", interface)) == 1


def _presence(vip: VipHost) -> Need:
    setting = Loopback(vip) if isinstance(vip, IPv4Address | IPv6Address) else LocalPrefix(vip)
    return Need(setting, PRESENT.__eq__, PRESENT, "so that this host takes packets for the VIP")
