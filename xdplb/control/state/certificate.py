# SPDX-License-Identifier: Apache-2.0
"""What came of a drain, as data: the certificate that is shown, told and kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

__all__ = ["NOTHING_SEEN", "Certificate", "Counted", "KnownBy", "Outcome", "as_json", "from_json"]


class Outcome(StrEnum):
    """How a drain ended, or that it goes on.

    `timed_out`: connections were left at the deadline, and are still kept. `cut`: the deadline ended those that were
    left. `cancelled`: somebody undrained the backend, put it into maintenance or removed it before the drain was over.
    """

    DRAINING = "draining"
    DRAINED = "drained"
    TIMED_OUT = "timed_out"
    CUT = "cut"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes of the drain."""
        return self in {Outcome.DRAINED, Outcome.CUT, Outcome.CANCELLED}


class KnownBy(StrEnum):
    """How a certificate knows its numbers.

    `records`: each connection had a record when the drain began. `records_since`: those have one that have sent a
    packet since it began. `packet_counter`: connections go by their QUIC connection ID and have no records; what is
    known is when the last packet came. `slots`: UDP flows went to other backends with their slots when it began.
    """

    RECORDS = "records"
    RECORDS_SINCE = "records_since"
    PACKET_COUNTER = "packet_counter"
    SLOTS = "slots"


@dataclass(frozen=True, slots=True)
class Counted:
    """How many of the connections that were seen came to which end; all of them together were seen.

    `closed`, `reset`: the client's FIN, followed by silence, or its RST. `idle`: silent for the VIP's idle timeout.
    `unanswered`: only SYNs, which no packet followed. `redialled`: its client began a new connection with the same
    ports, which went to another backend. `handed_over`: a UDP flow that goes on with another backend. `broken`: its
    backend could not be used any more while it was open. `cut`: open at the deadline that cut it. `lost`: its record
    was evicted from a full table. `left`: open.
    """

    closed: int = 0
    reset: int = 0
    idle: int = 0
    unanswered: int = 0
    redialled: int = 0
    handed_over: int = 0
    broken: int = 0
    cut: int = 0
    lost: int = 0
    left: int = 0

    @property
    def seen(self) -> int:
        """All of them."""
        return self.ended + self.handed_over + self.broken + self.cut + self.lost + self.left

    @property
    def ended(self) -> int:
        """Those that ended by themselves."""
        return self.closed + self.reset + self.idle + self.unanswered + self.redialled

    def plus(self, other: Counted) -> Counted:
        """Return the sum of both."""
        return Counted(*(getattr(self, name) + getattr(other, name) for name in _NAMES))


_NAMES = tuple(each.name for each in fields(Counted))

NOTHING_SEEN = Counted()


@dataclass(frozen=True, slots=True)
class Certificate:
    """What is known of a drain that began at `started`, as of `until`. Times are those of `xdplb.control.clock`.

    `counted` is None where connections cannot be counted. `silent_at_most` is the most connections that can be open and
    were not seen since they sent nothing, None if that is not known; `why` is a sentence about both. `last_packet` is
    when the backend got one last, of a QUIC VIP. `restarts` is how often the daemon began anew meanwhile. `forgotten`
    are those counted whose records are gone. `packets_before` and `made_before` are the backend's counters when it
    began, `lost_records` is how many records of all VIPs were evicted since.
    """

    outcome: Outcome
    started: datetime
    until: datetime
    known_by: KnownBy
    counted: Counted | None
    silent_at_most: int | None
    why: str
    last_packet: datetime | None = None
    restarts: int = 0
    forgotten: Counted = NOTHING_SEEN
    packets_before: int = 0
    made_before: int = 0
    lost_records: int = 0

    @property
    def seconds(self) -> float:
        """How long it has taken."""
        return (self.until - self.started).total_seconds()

    def moved(self, ahead: timedelta) -> Certificate:
        """Return it with all its times moved."""
        last = None if self.last_packet is None else self.last_packet + ahead
        return replace(self, started=self.started + ahead, until=self.until + ahead, last_packet=last)

    def data(self) -> dict[str, object]:
        """Return it as a JSON object, for people and programs."""
        counted = self.counted
        ends = ("closed", "reset", "idle", "unanswered", "redialled")
        numbers = ("seen", "ended", "handed_over", "cut", "broken", "lost", "left")
        return {
            "outcome": self.outcome.value,
            "seconds": round(self.seconds, 3),
            "known_by": self.known_by.value,
            **{name: None if counted is None else getattr(counted, name) for name in numbers},
            "ended_by": None if counted is None else {name: getattr(counted, name) for name in ends},
            "silent_at_most": self.silent_at_most,
            "why": self.why,
            "restarts": self.restarts,
        }


def as_json(certificate: Certificate) -> str:
    """Return all but its times as JSON, for the store."""
    told = asdict(certificate)
    for name in ("started", "until", "last_packet"):
        del told[name]
    return json.dumps(told, sort_keys=True, separators=(",", ":"))


def from_json(text: str, times: tuple[float, float, float | None]) -> Certificate:
    """Return the certificate in a text that `as_json` made, with its times: started, until and last packet."""
    told: Mapping[str, Any] = json.loads(text)
    started, until, last = (None if time is None else datetime.fromtimestamp(time, UTC) for time in times)
    assert started is not None
    assert until is not None
    kinds: dict[str, Any] = {
        "outcome": Outcome(told["outcome"]),
        "known_by": KnownBy(told["known_by"]),
        "counted": None if told["counted"] is None else Counted(**told["counted"]),
        "forgotten": Counted(**told["forgotten"]),
    }
    return Certificate(**{**told, **kinds}, started=started, until=until, last_packet=last)
