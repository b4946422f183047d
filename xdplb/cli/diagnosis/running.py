"""What the daemon says, where one runs: is it ready, are its backends reachable, do encapsulated packets fit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from xdplb.cli.client import Client
from xdplb.cli.failures import DaemonDownError
from xdplb.model.errors import XdplbError
from xdplb.net.links import link

from .finding import Finding, Level, fail, ok, warn

__all__ = ["attached_interfaces", "examine_backends", "examine_daemon", "ipip_room"]

IPIP_BYTES = 20
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
        key = f"{vip['address']}:{vip['port']}"
        backends = client.get(f"/v1/vips/{key}:{vip['protocol']}/backends").json()["backends"]
        yield from examine_backends(f"{key}/{vip['protocol']}", backends)


def attached_interfaces(client: Client) -> list[str]:
    """Return the NICs the daemon is on, none where it does not answer."""
    try:
        return [nic["interface"] for nic in client.get("/v1/status").json()["attachments"]]
    except XdplbError:
        return []


def examine_backends(vip: str, backends: list[dict[str, Any]]) -> Iterator[Finding]:
    """Yield a finding for each backend whose next hop is unknown, and for each NIC too small for IPIP."""
    unknown = [backend for backend in backends if backend["status"]["mac"] is None]
    for backend in unknown:
        yield fail(
            f"backend {backend['address']} of {vip}",
            backend["status"]["reason"] or "its next hop is not known",
            f"is the host up, and is there a route? ip route get {backend['address']}",
        )
    if backends and not unknown:
        yield ok(f"backends of {vip}", f"the next hops of all {len(backends)} are known")
    tunnelled = {backend["status"]["interface"] for backend in backends if backend["forward"] == "ipip"} - {None}
    for interface in sorted(tunnelled):
        yield ipip_room(interface, link(interface).mtu)


def ipip_room(interface: str, mtu: int) -> Finding:
    """Judge whether a full-size packet of a client fits a NIC once the outer header is on it."""
    check = f"{interface} MTU for IPIP"
    if mtu >= FULL_SIZE + IPIP_BYTES:
        return ok(check, f"{mtu}: full-size packets fit with their outer header")
    return warn(
        check,
        f"{mtu}: packets over {mtu - IPIP_BYTES} bytes do not fit with their outer header and are dropped (too_big)",
        f"ip link set {interface} mtu {FULL_SIZE + IPIP_BYTES} and the same on the way to the backends, or have the "
        f"backends ask clients for less: ip route change default via GATEWAY advmss {mtu - IPIP_BYTES - 40}",
    )
