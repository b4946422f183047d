# SPDX-License-Identifier: Apache-2.0
"""What NAT needs of a backend's host: that its answers to clients leave by the balancer. It needs no VIP's address."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_network

from xdplb.model.address import IPAddress, IPNetwork
from xdplb.model.errors import InvalidError

from . import links
from .backend_needs import Need, loose_filter
from .host_route import HostRoute, NextHops, foreign_routes, next_hops, on_link
from .host_settings import COMPLETE, Checksums, Sysctl
from .setup_log import HostSetup
from .undo_log import VipHost

__all__ = ["check_nat", "impossible", "nat_needs", "past_the_balancer"]

_EVERYWHERE = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


def check_nat(vip: VipHost, how: HostSetup) -> None:
    """Raise InvalidError if a host cannot be set up like this for a VIP, whatever the host is."""
    if not isinstance(vip, IPAddress):
        raise InvalidError(
            f"{vip} has many addresses, and NAT backends serve VIPs of one address",
            hint="give one address, or another --forward",
        )
    if not how.via:
        raise InvalidError(
            "with nat, answers leave by the balancer, and no address of it is given",
            hint="give --via, such as --via 10.0.0.2; once for each balancer, or once for one that moves by VRRP",
        )
    for given in (*how.via, *how.clients):
        if given.version != vip.version:
            raise InvalidError(
                f"{given} is IPv{given.version}, and VIP {vip} is IPv{vip.version}", hint="nat does not mix families"
            )
    for gateway in how.via:
        if gateway.is_link_local and how.interface is None:
            raise InvalidError(f"{gateway} is an address of one link", hint="name its NIC with --interface")


def impossible(how: HostSetup) -> Iterator[str]:
    """Yield a sentence for each thing that keeps `setup` from having answers leave by the balancers."""
    for gateway in how.via:
        if on_link(gateway, how.interface) is None:
            yield f"{gateway} is not on a network of this host: give the balancer's address on the backends' network"
    for network in how.clients:
        for route in foreign_routes(network, _gateways(how)):
            if not route.gateways:
                yield (
                    f"clients in {route.network} are on a network of this host ({route.nic}), which answers them"
                    " directly, past the balancer, and they do not recognise the answers: use dr for these"
                )


def past_the_balancer(vip: VipHost, how: HostSetup) -> Iterator[str]:
    """Yield a sentence for each other route of this host by which answers to clients leave past the balancers.

    The host's own networks are none of them if clients may be anywhere: it must reach the balancers somehow.
    """
    for network in _clients(vip, how):
        for route in foreign_routes(network, _gateways(how)):
            if route.gateways:
                yield (
                    f"answers to clients in {route.network} leave by {route.gateways}, past the balancer, and these"
                    " clients do not recognise them: remove that route, or name the clients' networks with --clients"
                )


def nat_needs(vip: VipHost, how: HostSetup) -> list[Need]:
    """Return what is needed, in the order to do it, for the balancers that are on the host's networks."""
    found_on = ((gateway, on_link(gateway, how.interface)) for gateway in how.via)
    hops = tuple((gateway, nic) for gateway, nic in found_on if nic is not None)
    nics = sorted({nic for _, nic in hops})
    entrances = [how.interface] if how.interface else nics
    found: list[Need] = []
    for name in sorted({*entrances, *nics}):
        if links.link(name).driver == "veth":
            why = "since a balancer in XDP on the same machine cannot complete them, and clients drop the answers"
            found.append(Need(Checksums(name), COMPLETE.__eq__, COMPLETE, why))
    found += _no_redirects(vip.version, nics)
    if vip.version == 4:
        for entrance in entrances:
            found += [need for nic in nics for need in loose_filter(entrance, nic)]
    return [*found, *(_by_balancer(network, hops) for network in _clients(vip, how) if hops)]


def _no_redirects(version: int, nics: Sequence[str]) -> list[Need]:
    """Have the host believe no router that tells it a shorter way, which is one past the balancer."""
    why = "so that no router tells this host a way to clients that is past the balancer"
    scopes = ["all", *nics] if version == 4 else nics
    return [Need(Sysctl(scope, "accept_redirects", version), "0".__eq__, "0", why) for scope in scopes]


def _by_balancer(network: IPNetwork, hops: NextHops) -> Need:
    route = HostRoute.to_change(network)
    gateways = {str(gateway) for gateway, _ in hops}
    why = "so that answers to clients leave by the balancer"
    return Need(route, lambda value: next_hops(value) == gateways, route.through(hops), why)


def _clients(vip: VipHost, how: HostSetup) -> Sequence[IPNetwork]:
    return how.clients or [_EVERYWHERE[vip.version]]


def _gateways(how: HostSetup) -> set[str]:
    return {str(gateway) for gateway in how.via}
