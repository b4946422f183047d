# SPDX-License-Identifier: Apache-2.0
"""The store that the balancers of a cluster share, as each of them sees it.

It holds a *head*, which says what the state is (its generation, its lineage, its digest), and *entries* by path, such
as `vips/203.0.113.10:443:tcp`. All are JSON objects, and this room knows nothing of what they mean. Whoever changes
entries writes a new head with them, in one step, and only if the head is still the one that he has seen. So a state is
known by its head, and readers only ever see states that somebody wrote as a whole.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = [
    "ABSENT",
    "LEASE_SECONDS",
    "Away",
    "Back",
    "Change",
    "Delta",
    "Json",
    "Nodes",
    "Repository",
    "Seen",
    "Version",
    "Whole",
]

Json = Mapping[str, Any]

LEASE_SECONDS = 10
"""How long after its last sign of life a node counts as gone, with all that it has published."""


@dataclass(frozen=True, slots=True)
class Version:
    """Which head it is: the store's revision that wrote it, and its text. Versions are only compared for equality.

    The revision alone does not tell: a store that was restored counts again from where it was.
    """

    revision: int
    text: str


ABSENT = Version(0, "")
"""There is no head: the store is empty."""


@dataclass(frozen=True, slots=True)
class Change:
    """What to write in one step: the new head, entries to put, and paths to delete, which need not be there."""

    head: Json
    puts: Mapping[str, Json] = field(default_factory=dict)
    deletes: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Whole:
    """All that the store holds at one moment; `head` None if it is empty, whatever entries there may be.

    `unreadable` are entries that are no JSON objects, by path, each with what is wrong. `why` says what made it
    necessary to read everything again; empty for the first one.
    """

    version: Version
    head: Json | None
    entries: Mapping[str, Json]
    unreadable: Mapping[str, str] = field(default_factory=dict)
    why: str = ""


@dataclass(frozen=True, slots=True)
class Delta:
    """What has changed since the head that was seen before. Both may be empty: a head may be written anew as it is."""

    version: Version
    head: Json
    puts: Mapping[str, Json]
    deletes: frozenset[str]
    unreadable: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Away:
    """The store cannot be reached, or does not answer as it should. `reason` is a sentence, which may change."""

    reason: str


@dataclass(frozen=True, slots=True)
class Back:
    """The store answers again, and what was seen before is still so. Otherwise a Delta or a Whole follows."""


@dataclass(frozen=True, slots=True)
class Nodes:
    """What all nodes publish now: by node, and of each by the name that it was published under."""

    nodes: Mapping[str, Mapping[str, Json]]


Seen = Whole | Delta | Away | Back | Nodes


class Repository(Protocol):
    """A balancer's way to the store. All methods belong to the event loop that opened it, and none blocks that.

    Raises StoreAwayError if the store cannot be reached or does not answer in time, and StoreRefusedError if it does
    not do what is asked: no right to it, no room left, too large. Both say it in a sentence that a user can act on.
    """

    async def read(self) -> Whole:
        """Return all that the store holds, as it is at one moment."""
        ...

    async def commit(self, expected: Version, change: Change) -> Version:
        """Write a change if the head is still `expected`; return the version that it makes.

        `ABSENT` writes only into a store without a head. Raises HeadMovedError if the head is another one, and
        StoreDoubtError if it is not known whether the change was written: whoever watches will see it.
        """
        ...

    def watch(self) -> AsyncGenerator[Seen]:
        """Yield first a Whole and the Nodes, then each change as it comes, for ever. One at a time.

        Deltas follow each other without a gap. Where that is not possible, a Whole says so: the store has forgotten
        too much, was emptied, or was restored from a backup. It goes on by itself when the store was away. Close it
        (`aclose`) when it is not wanted any more.
        """
        ...

    def publish(self, name: str, value: Json | None) -> None:
        """Have this node's entry `name` be `value` from now on, for as long as the node lives; None withdraws it.

        It returns at once. The entry is written soon, and again whenever the store has lost it; of several values
        within a short time only the last is written.
        """
        ...

    async def nodes(self) -> Mapping[str, Mapping[str, Json]]:
        """Return what all nodes publish, as `Nodes` has it."""
        ...

    async def close(self) -> None:
        """Withdraw what this node publishes, if that can be done in a moment, and end."""
        ...
