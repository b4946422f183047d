# SPDX-License-Identifier: Apache-2.0
"""How the descriptors that this process may open are divided: the checks, the maps and netlink come before the API.

Of the limit, half is for the probes of checks and a quarter for all else that the balancer itself opens (maps,
programs, netlink, the state). The API gets the last quarter, up to its own cap, so that no number of connections takes
the others'.
"""

from __future__ import annotations

import contextlib
import resource
from dataclasses import dataclass, replace

from xdplb_api.limits import Limits
from xdplb_api.metrics_app import METRICS_LIMITS

__all__ = ["Budget", "budget", "raise_limit"]

_OF_CHECKS = 2
_MOST_PROBES = 16384
_OF_API = 4
_REFUSED = 24
"""Descriptors for connections that are being refused, or have been accepted just now."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What the parts of the daemon may open: sockets of probes at a time, and what the API takes on.

    `note` is a sentence for users, empty if the API gets as many connections as was asked for; `most_connections` are
    as many as it could have.
    """

    probes: int
    api: Limits
    note: str
    most_connections: int


def budget(descriptors: int, wanted: Limits, metrics: int = 0) -> Budget:
    """Return how so many descriptors are divided if the API is to have the limits `wanted`.

    `metrics` is in how many places metrics are served beside it.
    """
    probes = max(1, min(_MOST_PROBES, descriptors // _OF_CHECKS))
    of_metrics = METRICS_LIMITS.connections + metrics if metrics else 0
    room = max(1, descriptors // _OF_API - _REFUSED - of_metrics)
    if room >= wanted.connections:
        return Budget(probes, wanted, "", room)
    note = (
        f"the API takes {room} connections at a time instead of {wanted.connections}, and up to {probes} checks run at"
        f" a time: this process may only open {descriptors} files; raise LimitNOFILE= of the service, or ulimit -n"
    )
    return Budget(probes, replace(wanted, connections=room), note, room)


def raise_limit() -> int:
    """Raise the number of files that this process may open to what it is allowed, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return hard
    return soft
