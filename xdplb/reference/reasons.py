# SPDX-License-Identifier: Apache-2.0
"""Why a packet stops, and what becomes of it."""

from __future__ import annotations

from enum import IntEnum, StrEnum, auto

from xdplb.model.address import IPAddress

__all__ = ["BadPacket", "Reason", "Stop", "Verdict"]


class Verdict(IntEnum):
    """enum xdp_action of the kernel."""

    DROP = 1
    PASS = 2
    TX = 3
    REDIRECT = 4


class Reason(StrEnum):
    """Why a packet was not sent: the names in bpf/lib/reasons.h, which says what each means."""

    PASS_NOT_IP = auto()
    PASS_NOT_UNICAST = auto()
    PASS_NOT_TCP_UDP = auto()
    PASS_NO_VIP = auto()
    PASS_MALFORMED = auto()
    PASS_FRAGMENT = auto()
    PASS_TUNNEL_ERROR = auto()
    PASS_NAT_REPLY = auto()
    PASS_TUNNEL = auto()
    DROP_FRAGMENT = auto()
    DROP_NO_BACKEND = auto()
    DROP_BACKEND_DOWN = auto()
    DROP_TOO_BIG = auto()
    DROP_NO_HEADROOM = auto()
    DROP_DENIED = auto()
    DROP_SOURCE_RATE = auto()
    DROP_VIP_RATE = auto()
    DROP_BAD_LENGTH = auto()
    DROP_BAD_CHECKSUM = auto()
    DROP_TTL = auto()
    DROP_LAND = auto()
    DROP_TCP_FLAGS = auto()
    DROP_EXTENSION = auto()
    DROP_INTERNAL = auto()
    DROP_MARTIAN = auto()
    DROP_SOURCE_ROUTE = auto()
    DROP_SOURCE_MAC = auto()
    DROP_TCP_FRAGMENT = auto()
    DROP_BACKEND_RATE = auto()
    DROP_TUNNEL_SOURCE = auto()
    DROP_ECN = auto()
    ANSWER_ECHO = auto()
    ANSWER_TOO_BIG = auto()
    ANSWER_REJECTED = auto()

    @property
    def verdict(self) -> Verdict:
        """Pass to the host's stack, drop, or send back where it came from."""
        if self.value.startswith("pass_"):
            return Verdict.PASS
        return Verdict.DROP if self.value.startswith("drop_") else Verdict.TX


class Stop(Exception):  # noqa: N818 - nothing is wrong
    """The packet goes no further, for `reason`; `frame` is what it was made into, None if it is as it came in."""

    def __init__(self, reason: Reason, frame: bytes | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.frame = frame


class BadPacket(Exception):  # noqa: N818 - the packet is wrong, not the program
    """The lengths contradict each other, or options or extension headers say what is not followed.

    Dropped for `reason` if `destination` has VIPs; else it is passed to the host.
    """

    def __init__(self, destination: IPAddress, reason: Reason = Reason.DROP_BAD_LENGTH) -> None:
        super().__init__(reason)
        self.destination = destination
        self.reason = reason
