"""What the daemon says, where one runs: is it ready, are its backends reachable, do encapsulated packets fit."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

from xdplb.cli.client import Client, vip_path
from xdplb.cli.failures import DaemonDownError
from xdplb.cli.vip import vip_text
from xdplb.model.errors import XdplbError
from xdplb.net.links import link

from .finding import Finding, Level, fail, ok, warn

__all__ = ["attached_interfaces", "examine_backends", "examine_daemon", "tunnel_room"]

OUTER_BYTES = {4: 20, 6: 40}
UDP_BYTES = 8
FULL_SIZE = 1500


def examine_daemon(client: Client) -> Iterator[Finding]:
    """Yield what the daemon says of itself and of its backends; that none runs is no fault."""
    try:
        status = client.get("/v1/status").json()
    except DaemonDownError:
        yield ok("daemon", "not running, so backends were not looked at")
        return
    except XdplbError as error:
        yield Finding(Level.WARN, "daemon", error.detail, error.hint)
        return
    if status["ready"]:
        yield ok("daemon", f"ready, generation {status['generation']}")
    for reason in status["not_ready"]:
        yield fail("daemon", reason, "xdplb status, and its log, say more")
    for vip in status["vips"]:
        key = vip_text(vip)
        yield from examine_backends(key, client.get(vip_path(key, "backends")).json()["backends"])


def attached_interfaces(client: Client) -> list[str]:
    """Return the NICs the daemon is on, none where it does not answer."""
    try:
        return [nic["interface"] for nic in client.get("/v1/status").json()["attachments"]]
    except XdplbError:
        return []


def examine_backends(vip: str, backends: list[dict[str, Any]]) -> Iterator[Finding]:
    """Yield a finding for each backend whose next hop is unknown, and for each NIC too small for what is wrapped."""
    unknown = [backend for backend in backends if backend["status"]["mac"] is None]
    for backend in unknown:
        yield fail(
            f"backend {backend['address']} of {vip}",
            backend["status"]["reason"] or "its next hop is not known",
            f"is the host up, and is there a route? ip route get {backend['address']}",
        )
    if backends and not unknown:
        yield ok(f"backends of {vip}", f"the next hops of all {len(backends)} are known")
    longest: dict[str, int] = {}
    for backend in backends:
        interface, overhead = backend["status"]["interface"], _overhead(backend)
        if interface is not None and overhead:
            longest[interface] = max(overhead, longest.get(interface, 0))
    for interface, overhead in sorted(longest.items()):
        yield tunnel_room(interface, link(interface).mtu, overhead)


def _overhead(backend: dict[str, Any]) -> int:
    """Return how many bytes longer packets for a backend are on their way to it."""
    if backend["forward"] == "dr":
        return 0
    outer = OUTER_BYTES[ip_address(backend["address"]).version]
    return outer + UDP_BYTES if backend["forward"] == "gue" else outer


def tunnel_room(interface: str, mtu: int, overhead: int) -> Finding:
    """Judge whether a full-size packet of a client fits a NIC once it is wrapped, which takes `overhead` bytes."""
    check = f"{interface} MTU for tunnels"
    if mtu >= FULL_SIZE + overhead:
        return ok(check, f"{mtu}: full-size packets fit with their outer headers")
    return warn(
        check,
        f"{mtu}: packets over {mtu - overhead} bytes do not fit with their outer headers; senders are told so, by ICMP",
        f"ip link set {interface} mtu {FULL_SIZE + overhead} and the same on the way to the backends, or have the "
        "backends ask clients for less: xdplb backend-host setup does",
    )
