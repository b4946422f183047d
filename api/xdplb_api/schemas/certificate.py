# SPDX-License-Identifier: Apache-2.0
"""Certificates of drains in responses."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from pydantic import Field

from xdplb.control.state.certificate import Certificate, KnownBy, Outcome

from .base import ResponseBody

__all__ = ["CertificateOut", "EndedByOut"]


class EndedByOut(ResponseBody):
    """How connections ended by themselves; the sum is `ended`."""

    closed: int = Field(description="The client's FIN, followed by silence.")
    reset: int = Field(description="The client's RST.")
    idle: int = Field(description="Silent for the VIP's `idle_timeout_seconds`.")
    unanswered: int = Field(description="Only SYNs, which no packet followed for 10 seconds.")
    redialled: int = Field(description="Its client began a new connection with the same ports, which went elsewhere.")


class CertificateOut(ResponseBody):
    """What came of the connections of a drained backend. `seen` is the sum of `ended` to `left`.

    The counts are null where connections cannot be counted: see `known_by`.
    """

    outcome: Outcome = Field(
        description="`draining`: it goes on; `drained`: none is left; `timed_out`: some are left at the deadline, and "
        "kept; `cut`: the deadline ended those; `cancelled`: it was undrained, put into maintenance or removed before."
    )
    started: datetime = Field(description="When the drain started, UTC.")
    until: datetime = Field(description="When it was over; while it goes on, of when the counts are. UTC.")
    seconds: float = Field(description="From `started` to `until`.", examples=[42.5])
    known_by: KnownBy = Field(
        description="`records`: each connection had a record; `records_since`: those that sent a packet since the start"
        " have one; `packet_counter`: with QUIC, only the time of the last packet is known; `slots`: UDP flows"
        " went to other backends at the start."
    )
    seen: int | None = Field(description="Connections that were there at the start, as far as they were seen.")
    ended: int | None = Field(description="Of these, those that ended by themselves.")
    ended_by: EndedByOut | None = Field(description="How they ended.")
    handed_over: int | None = Field(description="UDP flows that went on with another backend.")
    cut: int | None = Field(description="Those open at the deadline that cut them.")
    broken: int | None = Field(description="Those open when the backend failed or could not be reached any more.")
    lost: int | None = Field(description="Those whose records were evicted from a full flow table.")
    left: int | None = Field(description="Those still open.")
    silent_at_most: int | None = Field(
        description="How many more may be open, since they sent nothing and were not seen; null if that is not known."
    )
    why: str = Field(description="How that is known, a sentence.")
    last_packet: datetime | None = Field(description="With QUIC, when the backend got its last packet, UTC; else null.")
    restarts: int = Field(description="How often the daemon was started anew during the drain.")

    @classmethod
    def of(cls, certificate: Certificate) -> Self:
        """Return the body for a certificate."""
        times = {name: getattr(certificate, name) for name in ("started", "until", "last_packet")}
        return cls.model_validate({**certificate.data(), **times})
