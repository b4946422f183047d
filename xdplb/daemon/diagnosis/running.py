# SPDX-License-Identifier: Apache-2.0
"""What a running daemon says: is it ready, are its backends reachable, do encapsulated packets fit the NICs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from xdplb.model.errors import XdplbError
from xdplb.net.links import link

from .finding import Finding, Level, fail, ok, warn
from .nat import examine_nat, examine_replies
from .peers import examine_peers
from .place import Place
from .store import examine_store

__all__ = ["AskDaemon", "Running", "ask_or_say", "examine_backends", "examine_daemon", "tunnel_room"]

OUTER_BYTES = {4: 20, 6: 40}
UDP_BYTES = 8
FULL_SIZE = 1500


@dataclass(frozen=True, slots=True)
class Running:
    """Answers of the API: the status, the backends of each VIP by its key, where the daemon runs, nodes, counters."""

    status: Mapping[str, Any]
    backends: Mapping[str, Sequence[Mapping[str, Any]]]
    place: Place | None = None
    nodes: Sequence[Mapping[str, Any]] = ()
    stats: Mapping[str, Any] = field(default_factory=dict)

    @property
    def node(self) -> Mapping[str, Any] | None:
        """What the daemon says of itself as one balancer among others; None if it is an older one."""
        return next((node for node in self.nodes if node["this_node"]), None)

    @property
    def interfaces(self) -> list[str]:
        """The NICs that the daemon was told to balance on, and others that its program is on."""
        return [nic["interface"] for nic in self._nics]

    def note(self, interface: str) -> str:
        """Return why a NIC is in skb mode although native mode was wanted; "" if it is not, or not known here."""
        return next((str(nic["note"]) for nic in self._nics if nic["interface"] == interface), "")

    @property
    def _nics(self) -> Sequence[Mapping[str, Any]]:
        nics: Sequence[Mapping[str, Any]] = self.status["nics"]
        return nics


AskDaemon = Callable[[], Running | None]
"""Return what the daemon says, None if none runs. Raises XdplbError for an answer that is of no use."""


_SILENT = {"timed-out", "daemon-down"}
"""The codes of errors that mean that no daemon answers where one was expected."""


def ask_or_say(ask: AskDaemon) -> tuple[Running | None, Finding | None]:
    """Return what the daemon says, or the finding that it gave no useful answer."""
    try:
        return ask(), None
    except XdplbError as error:
        level = Level.FAIL if error.code in _SILENT else Level.WARN
        return None, Finding(level, "daemon", error.detail, error.hint)


def examine_daemon(running: Running | None, *, nics_here: bool = True) -> Iterator[Finding]:
    """Yield what the daemon says of itself and of its backends. It is not a failure if none runs.

    `nics_here`: its NICs can be looked at in this thread.
    """
    if running is None:
        yield ok("daemon", "not running, so backends were not checked")
        return
    if running.status["ready"]:
        where = f", state in {running.place.state_dir}, pins in {running.place.pin_dir}" if running.place else ""
        yield ok("daemon", f"ready, generation {running.status['generation']}{where}")
    for reason in running.status["not_ready"]:
        yield fail("daemon", reason, "for more, run xdplb status and read the daemon's log")
    for warning in running.status.get("warnings", ()):  # an older daemon has none
        yield warn("VIPs on own addresses", warning, "docs/own-addresses.md")
    for note in running.status.get("notes", ()):
        yield warn("daemon", note, "docs/service.md, When the API is flooded, and docs/access.md")
    for drift in running.status.get("drift", ()):
        if drift["kind"] == "dns":
            yield warn(f"DNS name {drift['what']}", drift["reason"], "docs/dns.md, When something is wrong")
    yield from examine_peers(running.nodes, running.status.get("drift", ()))
    yield from examine_store(running.status)
    for key, backends in running.backends.items():
        yield from examine_backends(key, backends, nics_here=nics_here)
    if nics_here:
        yield from examine_nat(running.backends, running.interfaces)
    yield from examine_replies(running.backends, running.stats)


def examine_backends(vip: str, backends: Sequence[Mapping[str, Any]], *, nics_here: bool = True) -> Iterator[Finding]:
    """Yield a finding for each backend whose next hop is unknown, and for each NIC that sends tunnelled packets."""
    unknown = [backend for backend in backends if backend["status"]["mac"] is None]
    for backend in unknown:
        yield fail(
            f"backend {backend['address']} of {vip}",
            backend["status"]["reason"] or "its next hop is not known",
            f"is the host up, and is there a route to it? ip route get {backend['address']}",
        )
    if backends and not unknown:
        yield ok(f"backends of {vip}", f"the next hops of all {len(backends)} are known")
    longest: dict[str, int] = {}
    for backend in backends:
        interface, overhead = backend["status"]["interface"], _overhead(backend)
        if interface is not None and overhead:
            longest[interface] = max(overhead, longest.get(interface, 0))
    for interface, overhead in sorted(longest.items()) if nics_here else []:
        yield tunnel_room(interface, link(interface).mtu, overhead)


def _overhead(backend: Mapping[str, Any]) -> int:
    """Return how many bytes the outer headers add to packets for a backend."""
    if backend["forward"] in {"dr", "nat"}:
        return 0
    outer = OUTER_BYTES[ip_address(backend["address"]).version]
    return outer + UDP_BYTES if backend["forward"] == "gue" else outer


def tunnel_room(interface: str, mtu: int, overhead: int) -> Finding:
    """Check whether a full-size packet of a client still fits a NIC with `overhead` bytes of outer headers."""
    check = f"{interface} MTU for tunnels"
    if mtu >= FULL_SIZE + overhead:
        return ok(check, f"{mtu}: full-size packets fit with their outer headers")
    return warn(
        check,
        f"{mtu}: packets over {mtu - overhead} bytes do not fit with their outer headers; senders are told by ICMP",
        f"ip link set {interface} mtu {FULL_SIZE + overhead}, and the same on all links to the backends; or have the "
        "backends ask clients for smaller segments: xdplb backend-host setup does that",
    )
