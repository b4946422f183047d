# SPDX-License-Identifier: Apache-2.0
"""The certificate of a drain as a table, and in a line."""

from __future__ import annotations

from xdplb.client.bodies import CertificateOut

from .output import moment, print_fields
from .params import duration_text

__all__ = ["certificate_text", "print_certificate"]

_KNOWN_BY = {
    "records": "each connection had a record",
    "records_since": "those that sent a packet since it began have a record",
    "packet_counter": "the backend's packet counter: QUIC connections have no records",
    "slots": "none stayed: UDP flows went to other backends with their slots",
}
_UNKNOWN = "not known"


def print_certificate(certificate: CertificateOut) -> None:
    """Print it, a number a line."""
    last = certificate["last_packet"]
    print_fields(
        [
            ("outcome", certificate["outcome"]),
            ("started", moment(certificate["started"])),
            ("took", duration_text(round(certificate["seconds"], 1))),
            ("seen at the start", _number(certificate["seen"])),
            ("ended by themselves", _ended(certificate)),
            ("handed over", _number(certificate["handed_over"])),
            ("cut", _number(certificate["cut"])),
            *((name, certificate[name]) for name in ("broken", "lost", "left") if certificate[name]),
            ("silent, not seen", _silent(certificate)),
            ("known by", _KNOWN_BY.get(certificate["known_by"], certificate["known_by"])),
            *([("last packet", moment(last))] if last is not None else []),
            *([("daemon restarts", certificate["restarts"])] if certificate["restarts"] else []),
        ]
    )


def certificate_text(certificate: CertificateOut) -> str:
    """Return it in a line, without what is 0."""
    shown = [certificate["outcome"], f"after {duration_text(round(certificate['seconds'], 1))}"]
    numbers = [
        (certificate["seen"], "seen"),
        (certificate["ended"], "ended by themselves"),
        (certificate["handed_over"], "handed over"),
        (certificate["cut"], "cut"),
        (certificate["broken"], "broken"),
        (certificate["lost"], "lost"),
        (certificate["left"], "left"),
    ]
    shown += [f"{number} {what}" for number, what in numbers if number]
    at_most = certificate["silent_at_most"]
    return f"{', '.join(shown)}; {'an unknown number' if at_most is None else f'at most {at_most}'} not seen"


def _number(number: int | None) -> str:
    return _UNKNOWN if number is None else str(number)


def _ended(certificate: CertificateOut) -> str:
    how = certificate["ended_by"]
    if how is None:
        return _UNKNOWN
    parts = ", ".join(f"{number} {name}" for name, number in how.items() if number)
    return f"{certificate['ended']} ({parts})" if parts else _number(certificate["ended"])


def _silent(certificate: CertificateOut) -> str:
    at_most = certificate["silent_at_most"]
    return f"{_UNKNOWN if at_most is None else f'at most {at_most}'}: {certificate['why']}"
