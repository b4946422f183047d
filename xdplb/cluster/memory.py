# SPDX-License-Identifier: Apache-2.0
"""A store in memory, for tests: several balancers share it, and it can be emptied, restored, and be away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field

from xdplb.model.errors import HeadMovedError, StoreAwayError

from .repository import ABSENT, Away, Back, Change, Delta, Json, Nodes, Seen, Version, Whole

__all__ = ["Kept", "MemoryRepository", "MemoryStore"]


@dataclass(frozen=True, slots=True)
class Kept:
    """What a store held at a moment: to restore it from."""

    version: Version = ABSENT
    head: Json | None = None
    entries: Mapping[str, Json] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)


class MemoryStore:
    """What the repositories of several nodes share. All belong to one event loop."""

    def __init__(self) -> None:
        self.kept = Kept()
        self.published: dict[str, dict[str, Json]] = {}
        self.away = ""
        """Why it does not answer; empty if it does. Set it by `go_away` and `come_back`."""
        self.commits = 0
        """How many changes were written."""
        self._revision = 0
        self._deltas: list[Delta] = []
        self._lineages: list[str] = []
        self._watchers: set[asyncio.Event] = set()

    def go_away(self, reason: str) -> None:
        """Stop answering."""
        self.away = reason
        self._tell()

    def come_back(self) -> None:
        """Answer again."""
        self.away = ""
        self._tell()

    def empty(self) -> None:
        """Forget everything, as an etcd does that was made anew."""
        self._become(Kept(), "the store was emptied")

    def restore(self, kept: Kept) -> None:
        """Hold what was held once, as an etcd does that was restored from a backup."""
        self._become(kept, "the store was restored from a backup")

    def spoil(self, path: str, wrong: str) -> None:
        """Have an entry be no JSON object, as if somebody had written it by hand."""
        entries = {other: value for other, value in self.kept.entries.items() if other != path}
        unreadable = {**self.kept.unreadable, path: wrong}
        self._become(Kept(self.kept.version, self.kept.head, entries, unreadable), "the store was written by hand")

    def require(self) -> None:
        """Raise StoreAwayError if it does not answer."""
        if self.away:
            raise StoreAwayError(self.away)

    def whole(self, why: str = "") -> Whole:
        """Return all that is held."""
        kept = self.kept
        return Whole(kept.version, kept.head, kept.entries, kept.unreadable, why)

    def commit(self, expected: Version, change: Change) -> Version:
        """Write a change if the head is `expected`."""
        self.require()
        kept = self.kept
        if kept.version != expected:
            raise HeadMovedError("another balancer has changed the desired state meanwhile")
        self._revision += 1
        version = Version(self._revision, _text(change.head))
        gone = (kept.entries.keys() | kept.unreadable.keys()) & set(change.deletes) - change.puts.keys()
        puts = {path: json.loads(_text(value)) for path, value in change.puts.items()}
        entries = {path: value for path, value in kept.entries.items() if path not in gone} | puts
        unreadable = {path: why for path, why in kept.unreadable.items() if path not in gone and path not in puts}
        self.kept = Kept(version, json.loads(version.text), entries, unreadable)
        self.commits += 1
        self._deltas.append(Delta(version, json.loads(version.text), puts, frozenset(gone)))
        self._tell()
        return version

    def publish(self, node: str, name: str, value: Json | None) -> None:
        """Have an entry of a node be this."""
        entries = {other: known for other, known in self.published.get(node, {}).items() if other != name}
        if value is not None:
            entries[name] = json.loads(_text(value))
        self.published[node] = entries
        if not entries:
            del self.published[node]
        self._tell()

    def nodes(self) -> dict[str, Mapping[str, Json]]:
        """Return what all nodes publish."""
        return dict(self.published)

    async def watch(self) -> AsyncGenerator[Seen]:
        """Yield what is held, and what changes."""
        turn = asyncio.Event()
        self._watchers.add(turn)
        try:
            lineages, deltas = 0, 0
            away, nodes, first = "", None, True
            while True:
                turn.clear()
                if self.away:
                    if self.away != away:
                        away = self.away
                        yield Away(away)
                else:
                    if first or lineages != len(self._lineages):
                        why = "" if first else self._lineages[-1]
                        lineages, deltas, first, away = len(self._lineages), len(self._deltas), False, ""
                        yield self.whole(why)
                    if away and deltas == len(self._deltas):
                        yield Back()
                    away = ""
                    while deltas < len(self._deltas) and lineages == len(self._lineages):
                        deltas += 1
                        yield self._deltas[deltas - 1]
                    if self.published != nodes:
                        nodes = dict(self.published)
                        yield Nodes(self.nodes())
                if not turn.is_set():
                    await turn.wait()
        finally:
            self._watchers.discard(turn)

    def _become(self, kept: Kept, why: str) -> None:
        self.kept = kept
        self._revision = kept.version.revision
        self._lineages.append(why)
        self._tell()

    def _tell(self) -> None:
        for turn in self._watchers:
            turn.set()


class MemoryRepository:
    """The way of the node `node` to a store in memory."""

    def __init__(self, store: MemoryStore, node: str) -> None:
        self._store, self._node = store, node
        self._own: dict[str, Json] = {}

    async def read(self) -> Whole:
        """Return all that the store holds."""
        await asyncio.sleep(0)
        self._store.require()
        return self._store.whole()

    async def commit(self, expected: Version, change: Change) -> Version:
        """Write a change if the head is still `expected`."""
        await asyncio.sleep(0)
        return self._store.commit(expected, change)

    def watch(self) -> AsyncGenerator[Seen]:
        """Yield a Whole and the Nodes, then each change."""
        return self._store.watch()

    def publish(self, name: str, value: Json | None) -> None:
        """Have this node's entry `name` be `value`."""
        self._own.pop(name, None)
        if value is not None:
            self._own[name] = value
        self._store.publish(self._node, name, value)

    async def nodes(self) -> Mapping[str, Mapping[str, Json]]:
        """Return what all nodes publish."""
        await asyncio.sleep(0)
        self._store.require()
        return self._store.nodes()

    async def close(self) -> None:
        """Withdraw what this node publishes."""
        for name in list(self._own):
            self.publish(name, None)


def _text(value: Json) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
