# SPDX-License-Identifier: Apache-2.0
"""What a VIP's backends come to: how many serve, how many must, and the VIP's status in a word. Pure.

Who counts: a backend that takes new connections and is healthy, primary or a backup that is in use. One that is used
although it is not healthy, since the VIP fails open, does not count. A percent is of the primary backends that the
operator wants to serve: what is drained, in maintenance or has weight 0 on purpose is not missed.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum

from xdplb.model.backend import AdminState, Backend, BackendRole
from xdplb.model.min_serving import MinServing

__all__ = ["OperatingStatus", "VipStanding", "is_asked", "needed_of", "standing_of"]


class OperatingStatus(StrEnum):
    """The status of a VIP: all of its backends serve that are asked to, some do, none does, or it has no backend.

    FAILING_OPEN: backends that are not healthy get new connections, as the VIP's policy says. While a NIC that was
    asked for carries no packets, it is DEGRADED at best: packets may be lost on their way in.
    """

    ONLINE = "ONLINE"
    DEGRADED = "DEGRADED"
    FAILING_OPEN = "FAILING_OPEN"
    OFFLINE = "OFFLINE"
    NO_BACKEND = "NO_BACKEND"


@dataclass(frozen=True, slots=True)
class VipStanding:
    """How many backends of a VIP serve and are healthy, how many must (`needed`, at least 1), and its status."""

    serving: int
    needed: int
    status: OperatingStatus

    @property
    def min_serving_met(self) -> bool:
        """Whether as many serve as must."""
        return self.serving >= self.needed


def is_asked(backend: Backend) -> bool:
    """Return whether the operator wants this backend to serve all the time."""
    return backend.role is BackendRole.PRIMARY and backend.admin_state is AdminState.READY and backend.weight > 0


def needed_of(min_serving: MinServing, asked: int) -> int:
    """Return how many backends of a VIP must serve, if so many are asked to: at least 1."""
    return max(1, min_serving.needed(asked))


def standing_of(
    backends: int, asked: AbstractSet[int], out: AbstractSet[int], *, unfit: int, needed: int, nics_carry: bool = True
) -> VipStanding:
    """Return the standing of a VIP with so many backends, of which those with the ids `out` take no new connections.

    `asked` are the ids of those that the operator wants to serve, `unfit` the number of those that serve and are not
    healthy. The cost does not grow with the backends but for what a comparison of sets takes.
    """
    serving = backends - len(out) - unfit
    if not backends:
        status = OperatingStatus.NO_BACKEND
    elif unfit:
        status = OperatingStatus.FAILING_OPEN
    elif not serving:
        status = OperatingStatus.OFFLINE
    elif nics_carry and asked.isdisjoint(out):
        status = OperatingStatus.ONLINE
    else:
        status = OperatingStatus.DEGRADED
    return VipStanding(serving, needed, status)
