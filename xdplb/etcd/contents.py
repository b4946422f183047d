# SPDX-License-Identifier: Apache-2.0
"""What lies in etcd becomes what a repository yields, and goes on with what a watch tells: pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xdplb.cluster.repository import ABSENT, Delta, Json, Nodes, Version, Whole
from xdplb.model.errors import StoreRefusedError

from .layout import Layout
from .wire import Event, KeyValue, object_in

__all__ = [
    "STAGED",
    "Contents",
    "Emptied",
    "Part",
    "StagedHead",
    "Step",
    "core_of",
    "head_of",
    "staged_in",
    "version_of",
]

STAGED = "staged"
"""The field of a head that names a change in parts, which is to be applied to the entries: its id."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a change, or all of it: texts to put by path, and paths to delete."""

    puts: Mapping[str, bytes] = field(default_factory=dict)
    deletes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class StagedHead:
    """A head has come whose change lies in parts, which must be read before it means something."""

    version: Version
    change: str


@dataclass(frozen=True, slots=True)
class Emptied:
    """The head was removed."""


Step = Delta | StagedHead | Emptied | Nodes


def head_of(text: str, layout: Layout) -> dict[str, Any]:
    """Return the head in a text. Raises StoreRefusedError if it is none."""
    head = object_in(text.encode())
    if head is None:
        raise StoreRefusedError(
            f"{layout.head} in the store is not what xdplb writes: it is no JSON object",
            hint="remove that key: the balancers write it anew",
        )
    return head


def version_of(head: KeyValue | None) -> Version:
    """Return the version that the head at its key makes, None if there is none."""
    return ABSENT if head is None else Version(head.revision, head.value.decode("utf-8", "replace"))


def core_of(head: Json) -> dict[str, Any]:
    """Return a head as it is once its parts have been applied."""
    return {name: value for name, value in head.items() if name != STAGED}


def staged_in(head: Json) -> str | None:
    """Return the id of the change in parts that a head names, None if it names none."""
    return str(head[STAGED]) if STAGED in head else None


class Contents:
    """What was seen of the store last. `feed` takes what a watch tells, in order."""

    def __init__(self, layout: Layout, found: Iterable[KeyValue], revision: int) -> None:
        self._layout = layout
        self.revision = revision
        """Up to which revision everything has been seen."""
        self.version = ABSENT
        self._head: dict[str, Any] | None = None
        self._texts: dict[str, bytes] = {}
        self._pending: dict[str, bytes | None] = {}
        self._nodes: dict[str, dict[str, Json]] = {}
        for one in found:
            if one.key == layout.head:
                self.version = version_of(one)
            elif (publication := layout.publication_of(one.key)) is not None:
                self._publish(*publication, one.value)
            elif (path := layout.path_of(one.key)) is not None:
                self._texts[path] = one.value
        if self.version is not ABSENT:
            self._head = head_of(self.version.text, layout)

    @property
    def staged(self) -> str | None:
        """The id of the change in parts that the head names, None if there is none."""
        return None if self._head is None else staged_in(self._head)

    def whole(self, parts: Iterable[Part], why: str) -> Whole:
        """Return all of it, after the parts of the staged change. To be called once, before `feed`."""
        texts, self._texts = self._texts, {}
        for part in parts:
            for path in part.deletes:
                texts.pop(path, None)
            texts |= part.puts
        entries, unreadable = _parsed(texts)
        return Whole(self.version, None if self._head is None else core_of(self._head), entries, unreadable, why)

    def nodes(self) -> Nodes:
        """Return what all nodes publish."""
        return Nodes({node: dict(names) for node, names in self._nodes.items()})

    def feed(self, events: Iterable[Event]) -> Iterator[Step]:
        """Yield what these events make of it."""
        nodes_changed = False
        for event in events:
            self.revision = max(self.revision, event.revision)
            if event.key == self._layout.head:
                yield from self._take_head(event)
            elif (publication := self._layout.publication_of(event.key)) is not None:
                self._publish(*publication, event.value)
                nodes_changed = True
            elif (path := self._layout.path_of(event.key)) is not None:
                self._pending[path] = event.value
        if nodes_changed:
            yield self.nodes()

    def _take_head(self, event: Event) -> Iterator[Step]:
        pending, self._pending = self._pending, {}
        if event.value is None:
            self.version, self._head = ABSENT, None
            yield Emptied()
            return
        before, self.version = self._head, Version(event.revision, event.value.decode("utf-8", "replace"))
        self._head = head_of(self.version.text, self._layout)
        if (change := staged_in(self._head)) is not None:
            yield StagedHead(self.version, change)
        elif before is not None and STAGED in before and core_of(before) == self._head:
            yield self._delta({})  # its parts have become entries, which were seen already
        else:
            yield self._delta(pending)

    def delta(self, parts: Iterable[Part]) -> Delta:
        """Return what the parts that a staged head names have changed."""
        pending: dict[str, bytes | None] = {}
        for part in parts:
            pending |= dict.fromkeys(part.deletes)
            pending |= part.puts
        return self._delta(pending)

    def _delta(self, pending: Mapping[str, bytes | None]) -> Delta:
        puts, unreadable = _parsed({path: text for path, text in pending.items() if text is not None})
        gone = frozenset(path for path, text in pending.items() if text is None)
        assert self._head is not None
        return Delta(self.version, core_of(self._head), puts, gone, unreadable)

    def _publish(self, node: str, name: str, text: bytes | None) -> None:
        value = None if text is None else object_in(text)
        if value is not None:
            self._nodes.setdefault(node, {})[name] = value
            return
        known = self._nodes.get(node, {})
        known.pop(name, None)
        if not known:
            self._nodes.pop(node, None)


def _parsed(texts: Mapping[str, bytes]) -> tuple[dict[str, Json], dict[str, str]]:
    """Return the objects in these texts, and what is wrong with the others."""
    entries: dict[str, Json] = {}
    unreadable: dict[str, str] = {}
    for path, text in texts.items():
        value = object_in(text)
        if value is None:
            unreadable[path] = "it is no JSON object"
        else:
            entries[path] = value
    return entries, unreadable
