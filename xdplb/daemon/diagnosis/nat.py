# SPDX-License-Identifier: Apache-2.0
"""What NAT needs of the host: that it forwards packets, and that replies of backends keep coming back through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any

from xdplb.model.vip import Protocol, VipKey
from xdplb.net.route_facts import takes_for_forged

from .finding import Finding, fail, ok, warn

__all__ = ["examine_nat", "examine_replies"]

_MANY = 100
_PROC = Path("/proc/sys/net")
_FIX = {4: "sysctl -w net.ipv4.ip_forward=1", 6: "sysctl -w net.ipv6.conf.all.forwarding=1"}


def examine_nat(
    backends: Mapping[str, Sequence[Mapping[str, Any]]],
    nics: Sequence[str],
    proc: Path = _PROC,
    is_dropped: Callable[[IPv4Address, str], bool] = takes_for_forged,
) -> Iterator[Finding]:
    """Yield what is missing for the replies of NAT backends on these NICs, if there are such backends, by VIP."""
    reached = {vip: nat for vip, own in backends.items() if (nat := [each for each in own if each["forward"] == "nat"])}
    versions = sorted({ip_address(backend["address"]).version for own in reached.values() for backend in own})
    faults = [*_not_forwarding(nics, versions, proc), *_dropped(reached, is_dropped)]
    if 4 in versions:  # of IPv6, the kernel has no such setting
        faults += _redirecting(nics, proc)
    yield from faults
    if reached and not faults:
        yield ok("nat", "the host forwards the replies of NAT backends")


def examine_replies(backends: Mapping[str, Sequence[Mapping[str, Any]]], stats: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield the NAT backends that get packets of TCP and have never answered by way of this balancer.

    Replies that are left to the host are counted together, so nothing is known of any backend if there are some.
    """
    if stats.get("passes", {}).get("nat_reply"):
        return
    for vip in stats.get("vips", ()):
        nat = {each["address"] for each in backends.get(vip["vip"], ()) if each["forward"] == "nat"}
        if VipKey.parse(vip["vip"]).protocol is Protocol.UDP:  # which need not be answered
            continue
        for each in vip["backends"]:
            if each["backend"] in nat and each["packets"] >= _MANY and not each.get("replies"):
                yield warn(
                    "nat",
                    f"backend {each['backend']} of VIP {vip['vip']} has got {each['packets']} packets, and none of its"
                    " answers has come by this balancer: do they go past it?",
                    "let its route to clients lead through this balancer: on the backend, xdplb backend-host show"
                    f" {VipKey.parse(vip['vip']).addresses_text} --forward nat --via BALANCER tells. Nothing is wrong"
                    " if its answers come by another balancer",
                )


def _not_forwarding(nics: Sequence[str], versions: Sequence[int], proc: Path) -> Iterator[Finding]:
    for nic in nics:
        for version in versions:
            if _read(proc / f"ipv{version}" / "conf" / nic / "forwarding") == "0":
                name = f"net.ipv{version}.conf.{nic}.forwarding"
                yield fail("nat", f"{name} is 0: replies of NAT backends do not reach their clients", _FIX[version])


def _dropped(
    reached: Mapping[str, Sequence[Mapping[str, Any]]], is_dropped: Callable[[IPv4Address, str], bool]
) -> Iterator[Finding]:
    """Yield a finding for each VIP and NIC of its backends where the host drops the replies that are left to it."""
    ways = {
        (VipKey.parse(vip).address, backend["status"]["interface"]) for vip, own in reached.items() for backend in own
    }
    for address, nic in sorted(ways, key=str):
        if nic is None or not isinstance(address, IPv4Address) or not is_dropped(address, nic):
            continue
        yield warn(
            "nat",
            f"the host takes packets from {address} that come in by {nic} for forged: a reply is lost while the next"
            " hop to its client is not known, or where it goes out by a NIC that xdplb is not on",
            f"sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.{nic}.rp_filter=0;"
            f" if {address} is an address of this host, also net.ipv4.conf.{nic}.accept_local=1",
        )


def _redirecting(nics: Sequence[str], proc: Path) -> Iterator[Finding]:
    """Yield a finding for each NIC by which the host tells backends of shorter ways; either setting is enough."""
    for nic in nics:
        names = [f"net.ipv4.conf.{each}.send_redirects" for each in ("all", nic)]
        on = [name for name in names if _read(proc.joinpath(*name.split(".")[1:])) == "1"]
        if on:
            yield warn(
                "nat",
                f"{' and '.join(on)} {'is' if len(on) == 1 else 'are'} 1: if a backend sends a client anything else,"
                " such as an answer to a ping, the host tells it a way to that client past the balancer, and its"
                " replies to that client take it",
                "sysctl -w " + " ".join(f"{name}=0" for name in names),
            )


def _read(path: Path) -> str:
    """Return the setting, "" where there is none."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
