# SPDX-License-Identifier: Apache-2.0
"""The interface of a source of health: what it is told to check, and what it tells."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from xdplb.control.events import Events
from xdplb.control.health.probes.aim import Steps
from xdplb.control.health.probes.result import AgentWord, OnResult
from xdplb.control.health.standing import Standing
from xdplb.control.health.tally import CheckTally
from xdplb.control.plan.sources import Source
from xdplb.model.address import IPAddress
from xdplb.model.backend import Health, KnownHealth
from xdplb.model.check_type import CheckType
from xdplb.model.durations import Taken
from xdplb.model.health import HealthCheck
from xdplb.model.vip import Forward

__all__ = [
    "CheckTarget",
    "CheckTargets",
    "HealthSource",
    "OnDoubt",
    "OnFlip",
    "OnSaid",
    "OnSilence",
    "Probing",
    "SourceOf",
    "VipWay",
]

OnFlip = Callable[[Sequence[int], Health, str], None]
"""Called in the event loop with the ids of the targets, their new health and the reason as a sentence.

A host that dies is a backend of a thousand VIPs: those that flip by one result are in one call. The health may be the
one that they have, with another reason.
"""

OnSilence = Callable[[IPAddress, bool], None]
"""Called in the event loop when a check of this address failed and nothing came back from it.

The second argument says whether the check had not failed right before.
"""

OnDoubt = Callable[[Iterable[int]], None]
"""Called in the event loop with the ids of the targets of a check that has begun to fail, or has passed again.

It comes with the first failure, before there are enough of them for a flip.
"""
OnSaid = Callable[[Collection[int], AgentWord], None]
"""Called in the event loop with the ids of the targets of a check, and what it said beside passed and failed."""

SourceOf = Callable[[IPAddress, int | None], Source]
"""Returns where a check of this address must leave from, asked before each probe.

With the id of a backend, the probe is to take the way of its VIP's packets.
"""


@dataclass(frozen=True, slots=True)
class VipWay:
    """The way of a VIP's packets to a backend: to which of its addresses, and how they are forwarded."""

    address: IPAddress
    forward: Forward


@dataclass(frozen=True, slots=True)
class CheckTarget:
    """What to check. `epoch` distinguishes backends that had the same id one after the other.

    `way` is how probes reach it by the VIP's own address, None if they go to the backend's address.
    """

    epoch: int
    address: IPAddress
    port: int
    check: HealthCheck
    way: VipWay | None = None


CheckTargets = Mapping[int, tuple[CheckTarget, ...]]
"""What to check of each backend, by its id: one target for each check of its VIP, and at least one."""


class Probing(Protocol):
    """A probe that has begun."""

    def cut(self) -> None:
        """End it at once, without a result if it has none yet."""
        ...


class HealthSource(Protocol):
    """The source of health: `Checker`, or a fake in tests."""

    @property
    def runs_commands(self) -> bool:
        """Whether exec checks can be run."""
        ...

    async def start(
        self,
        on_flip: OnFlip,
        events: Events,
        on_silence: OnSilence | None = None,
        source_of: SourceOf | None = None,
        on_doubt: OnDoubt | None = None,
        *,
        on_said: OnSaid | None = None,
    ) -> None:
        """Start checking the watched targets."""
        ...

    async def stop(self) -> None:
        """End all checks."""
        ...

    def watch(self, targets: CheckTargets, known: Mapping[int, KnownHealth]) -> None:
        """Replace the set of targets, by backend id. `known` is their health, now and as `on_flip` changes it."""
        ...

    def change(self, gone: Iterable[int], targets: CheckTargets, known: Mapping[int, KnownHealth]) -> None:
        """Check no more the backends with the ids `gone`, and check `targets`, by backend id, beside all others."""
        ...

    def recheck(self, backend_ids: Iterable[int]) -> None:
        """Check those of these backends again at once whose last check failed: the way to them has changed."""
        ...

    def hurry(self, backend_ids: Iterable[int]) -> None:
        """Check these backends now, unless they are being checked: something looks wrong with them."""
        ...

    def tallies_of(self, backend_id: int) -> tuple[CheckTally, ...]:
        """Return the tallies of this backend's checks, in their order; none if it is not watched."""
        ...

    def tallies(self) -> Mapping[int, tuple[CheckTally, ...]]:
        """Return the tallies of all checks, by backend id. It may be called in any thread."""
        ...

    def latencies(self) -> Mapping[CheckType, Taken]:
        """Return how long checks of each type took since the start. It may be called in any thread."""
        ...

    def targets_of(self, backend_id: int) -> tuple[CheckTarget, ...]:
        """Return what is checked of this backend, in the order of its checks; nothing if it is not watched."""
        ...

    def probe(self, backend_id: int, target: CheckTarget, steps: Steps, on_result: OnResult) -> Probing | None:
        """Probe a target of a backend now, beside its checks: their tallies do not change, and `steps` is filled.

        `on_result` is called once, at once and with None returned if the probe is over already.
        """
        ...

    def standing(self) -> Standing:
        """Return whether the checks are run in time. It may be called in any thread."""
        ...
