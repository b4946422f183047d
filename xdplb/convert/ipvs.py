# SPDX-License-Identifier: Apache-2.0
"""The words of IPVS, which keepalived and ipvsadm share, and what they are here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from xdplb.model.vip import Forward, HashKind, Scheduler

from .notes import Notes, Where

__all__ = ["DEFAULT_SCHEDULER", "FALLBACKS", "NEAR", "SAME", "Forwarding", "Said", "forwarding_of", "schedule"]

DEFAULT_SCHEDULER = "wlc"
FALLBACKS = {"sh-fallback", "mh-fallback"}
"""Flags that need no counterpart: a backend that cannot be used is never chosen."""

_PORTS = {"sh-port", "mh-port"}
_NUMBERED = {"flag-1": "mh-fallback", "flag-2": "mh-port"}  # include/uapi/linux/ip_vs.h: SCHED1 and SCHED2 of sh and mh
_GUE_PORT = 6080

SAME = {
    "rr": Scheduler.RR,
    "wrr": Scheduler.WRR,
    "lc": Scheduler.LC,
    "wlc": Scheduler.WLC,
    "sh": Scheduler.SH,
    "mh": Scheduler.MAGLEV,
    "sed": Scheduler.WLC,  # wlc here counts the new connection too, as sed does
    "twos": Scheduler.P2C,
}
NEAR = {
    "nq": (Scheduler.WLC, "wlc, which does not prefer an idle backend to a heavier one"),
    "ovf": (Scheduler.WLC, "wlc, which spreads connections over all backends"),
    "fo": (Scheduler.MAGLEV, "maglev: all backends are used. For one that is used only if others fail, there is none"),
    "dh": (Scheduler.MAGLEV, "maglev, which goes by the client, not by the destination"),
    "lblc": (Scheduler.MAGLEV, "maglev, which goes by the client, not by the destination"),
    "lblcr": (Scheduler.MAGLEV, "maglev, which goes by the client, not by the destination"),
}


class Said(NamedTuple):
    """A word or a line of the file, and where it is."""

    where: Where
    text: str


@dataclass(frozen=True, slots=True)
class Forwarding:
    """How packets reach a backend: a word of IPVS (`dr`, `tun` or `nat`), and of a tunnel its type and port."""

    method: str
    tunnel: str = "ipip"
    port: int | None = None
    checksum: str = "nocsum"


def schedule(name: Said, flags: list[Said], persistence: Said | None, notes: Notes) -> dict[str, object]:
    """Return the fields of a VIP that say how backends are chosen."""
    word = name.text
    scheduler = SAME.get(word)
    if scheduler is None:
        scheduler, instead = NEAR.get(word, (Scheduler.MAGLEV, "maglev; this scheduler is not known"))
        notes.differs(name.where, f"scheduler {word}", f"it is {instead}")
    hashes_ports = _hashes_ports(flags, notes)
    if persistence is not None:
        notes.differs(
            persistence.where,
            persistence.text,
            f"scheduler sh takes the place of {word}: the client's address alone chooses the backend, always the same"
            " one, and there is no timeout",
        )
        return {"scheduler": Scheduler.SH}
    if word in {"sh", "mh"} and hashes_ports:
        return {"scheduler": Scheduler.MAGLEV, "hash": HashKind.FIVE_TUPLE}
    if word == "mh":
        return {"scheduler": scheduler, "hash": HashKind.SOURCE}
    return {"scheduler": scheduler}


def _hashes_ports(flags: list[Said], notes: Notes) -> bool:
    found = False
    for flag in flags:
        meaning = _NUMBERED.get(flag.text, flag.text)
        found = found or meaning in _PORTS
        if meaning not in FALLBACKS | _PORTS:
            notes.left_out(flag.where, flag.text, "there is no such flag of a scheduler")
    return found


def forwarding_of(where: Where, said: str, forwarding: Forwarding, notes: Notes) -> Forward:
    """Return how packets reach a backend here."""
    if forwarding.method == "dr":
        return Forward.DR
    if forwarding.method == "nat":
        return Forward.NAT
    if forwarding.checksum != "nocsum":
        notes.left_out(where, said, f"{forwarding.checksum}: tunnels have no checksums of their own")
    if forwarding.tunnel == "gue":
        if forwarding.port != _GUE_PORT:
            notes.differs(where, said, f"gue goes to UDP port {_GUE_PORT}: let the backends listen there")
        return Forward.GUE
    if forwarding.tunnel != "ipip":
        notes.differs(where, said, f"there are no {forwarding.tunnel} tunnels. It is ipip: set up the backends for it")
    return Forward.IPIP
