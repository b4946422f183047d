# SPDX-License-Identifier: Apache-2.0
"""What a probe is for: the check, where it goes, how its socket is made, and who watches its steps."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from xdplb.model.address import with_port
from xdplb.model.health import HealthCheck

__all__ = ["Aim", "Prepare", "Step", "Steps"]

Prepare = Callable[[socket.socket], None]
"""Sets options of a probe's new socket, before it is bound and connected. May raise OSError."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a probe: its name, the seconds from the beginning of the probe to its end, and what came of it."""

    name: str
    seconds: float
    text: str


@dataclass(slots=True)
class Steps:
    """The steps of one probe that somebody watches, in their order."""

    done: list[Step] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Aim:
    """What to probe, and how.

    `host` is the IPv4 or IPv6 address that the socket connects to. `prepare` is for what takes another way than the
    host's routes: it marks the socket. `name` is what the backend is called in what the probe says, as in the header
    Host: an address, with a port where the protocol has one; "" for that of `host` and `port`. `steps`, if given, notes
    the steps of the one probe that this aim is for.
    """

    check: HealthCheck
    host: str
    port: int
    prepare: Prepare | None = None
    name: str = ""
    steps: Steps | None = None

    @property
    def called(self) -> str:
        """The address and port of the backend, as it is called in requests."""
        return self.name or with_port(self.host, self.port)
