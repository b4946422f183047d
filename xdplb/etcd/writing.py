# SPDX-License-Identifier: Apache-2.0
"""Writing changes: in one step, or in parts if they are too large for that.

The parts are put first, each by itself. Then the head names them, in one step, and with that all of the change is so:
who reads a head that names parts applies them. Later the parts become entries, step by step, and the head no longer
names them. All these steps are guarded by the head, and each may be done twice, by any balancer.

Who is asked for a change while others make theirs one after the other might always be too late: they know the newest
head at once, and he hears of it. After some tries he takes the turn, for which the others wait a moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence

from xdplb.cluster.repository import ABSENT, Change, Version
from xdplb.model.errors import HeadMovedError, StoreRefusedError, XdplbError

from .contents import STAGED, Part, core_of, head_of, staged_in, version_of
from .faults import GatewayError
from .keys import Keys
from .layout import Layout, json_of
from .wire import KeyValue, Ops, delete, end_of, is_absent, is_at, is_of_revision, is_present, object_in, put

__all__ = ["Writer", "parts_under"]

_MOST_OPS = 100
"""Entries in one step: etcd takes 128 operations."""
_MOST_BYTES = 256 << 10
"""In one step, or in one part. etcd takes 1.5 MiB, but what takes apart as much at once holds up other threads."""
_LARGEST = 1_400_000
"""The largest entry, in bytes: etcd takes 1.5 MiB with all that is around it."""

_LOST_FOR_TURN = 3
_TURN_SECONDS = 2.0
"""For so long the others wait for the one whose turn it is; it takes him some milliseconds if he is there."""
_TURN_POLL_SECONDS = 0.02

_Op = tuple[str, bytes | None]


class Writer:
    """Writes changes as a node."""

    def __init__(self, keys: Keys, layout: Layout, node: str) -> None:
        self._keys, self._layout, self._node = keys, layout, node
        self._lost = 0
        """How often in a row another balancer was first."""
        self._has_turn = False

    async def write(self, expected: Version, change: Change) -> Version:
        """Write a change if the head is `expected`; return the new version. See `Repository.commit`."""
        if STAGED in change.head:
            raise ValueError(f"a head has no field {STAGED!r} of its own")
        try:
            version = await self._write(expected, change)
        except HeadMovedError:
            self._lost += 1
            if self._lost >= _LOST_FOR_TURN and not self._has_turn:
                await self._take_turn()
            raise
        self._lost, self._has_turn = 0, False
        return version

    async def _write(self, expected: Version, change: Change) -> Version:
        ops = [*((path, None) for path in change.deletes if path not in change.puts), *_texts(change.puts)]
        expected = await self.fold(expected)
        batches = list(_batches(ops))
        name = str(uuid.uuid4())
        if len(batches) < 2:
            return await self._write_head(expected, json_of(change.head), self._entries(ops), name)
        staged = f"{self._node}:{name}"
        await self._stage(staged, batches)
        # Another balancer of this name would have removed the first part with the others.
        is_staged = is_present(_part_key(self._layout.staged(staged), 0))
        return await self._write_head(expected, json_of({**change.head, STAGED: staged}), (), name, is_staged)

    def has_parts(self, version: Version) -> bool:
        """Return whether the head `version` names parts."""
        return version != ABSENT and staged_in(head_of(version.text, self._layout)) is not None

    async def fold(self, version: Version) -> Version:
        """Make entries of the parts that the head `version` names, if any; return the version of the head without them.

        Raises HeadMovedError if the head is another one meanwhile.
        """
        if version == ABSENT:
            return version
        head = head_of(version.text, self._layout)
        change = staged_in(head)
        if change is None:
            return version
        ops = [
            (path, text)
            for part in await parts_under(self._keys, self._layout, change)
            for path, text in (*((path, None) for path in part.deletes), *part.puts.items())
        ]
        for batch in _batches(ops):
            if (other := await self._guarded(version, self._entries(batch))) is not None:
                return self._folded(head, other)
        core = json_of(core_of(head))
        prefix = self._layout.staged(change)
        last = (delete(prefix, end_of(prefix)), put(self._layout.head, core))
        answer = await self._keys.step(self._is(version), last, [self._layout.head])
        if not answer.done:
            return self._folded(head, answer.read[0])
        return Version(answer.revision, core.decode())

    async def _guarded(self, version: Version, ops: Ops) -> KeyValue | None:
        """Do this while the head is `version`; return None, or the head if it is another one."""
        answer = await self._keys.step(self._is(version), ops, [self._layout.head])
        if answer.done:
            return None
        if answer.read[0] is None:
            raise _moved()
        return answer.read[0]

    def _folded(self, head: Mapping[str, object], found: KeyValue | None) -> Version:
        """Return the version of the head that was found, if another balancer has only made entries of the parts."""
        if found is None or object_in(found.value) != core_of(head):
            raise _moved()
        return Version(found.revision, found.value.decode())

    def _is(self, version: Version) -> Ops:
        key = self._layout.head
        return is_absent(key) if version == ABSENT else is_at(key, version.revision, version.text.encode())

    async def _write_head(
        self, expected: Version, head: bytes, entries: Ops, name: str, is_staged: Ops = ()
    ) -> Version:
        """Write a head and entries, once it is nobody else's turn.

        The node's key tells afterwards whether it was this that was written. That matters if the answer is lost: the
        step is done once more then, and finds another head, its own.
        """
        writer, turn = self._layout.writer(self._node), self._layout.turn
        ops = (*entries, put(writer, json_of({"change": name})), put(self._layout.head, head))
        may: Ops = () if self._has_turn else is_absent(turn)
        ops = (*ops, delete(turn)) if self._has_turn else ops
        seen, seen_at = 0, 0.0
        while True:
            answer = await self._keys.step(
                (*self._is(expected), *is_staged, *may), ops, [writer, turn, self._layout.head]
            )
            if answer.done:
                return Version(answer.revision, head.decode())
            written, others, present = answer.read
            if written is not None and written.value == json_of({"change": name}):
                return Version(written.revision, head.decode())
            if others is None or self._has_turn or version_of(present) != expected:
                raise _moved()
            if others.revision != seen:
                seen, seen_at = others.revision, time.monotonic()
            if time.monotonic() - seen_at >= _TURN_SECONDS:  # who has it is gone, or does not want it any more
                await self._keys.step(is_of_revision(turn, seen), [delete(turn)])
            await asyncio.sleep(_TURN_POLL_SECONDS)

    async def _take_turn(self) -> None:
        """Have the others wait with their changes, if nobody has the turn."""
        turn = self._layout.turn
        with contextlib.suppress(XdplbError, GatewayError):  # it is only that it takes longer without
            mine = json_of({"node": self._node, "id": str(uuid.uuid4())})
            answer = await self._keys.step(is_absent(turn), [put(turn, mine)], [turn])
            found = None if answer.done else answer.read[0]
            self._has_turn = answer.done or (found is not None and found.value == mine)

    async def _stage(self, change: str, batches: Iterable[Sequence[_Op]]) -> None:
        """Put the parts of a change, and remove what this node has staged before and no head has named."""
        left = self._layout.staged_by(self._node)
        await self._keys.step((), [delete(left, end_of(left))])
        prefix = self._layout.staged(change)
        for number, batch in enumerate(batches):
            await self._keys.step((), [put(_part_key(prefix, number), _part_text(batch))])

    def _entries(self, ops: Iterable[_Op]) -> Ops:
        named = ((self._layout.entry(path), text) for path, text in ops)
        return [delete(key) if text is None else put(key, text) for key, text in named]


async def parts_under(keys: Keys, layout: Layout, change: str, revision: int = 0) -> list[Part]:
    """Return the parts of a change, in their order, as they were at a revision (0: as they are now).

    Raises GatewayError if the revision is forgotten, and StoreRefusedError if a part is none that xdplb writes.
    """
    found, _ = await keys.under(layout.staged(change), revision)
    return _parts_of(found)


def _parts_of(found: Iterable[KeyValue]) -> list[Part]:
    parts = []
    for one in found:
        told = object_in(one.value) or {}
        puts, deletes = told.get("puts"), told.get("deletes")
        if (
            not isinstance(puts, dict)
            or not isinstance(deletes, list)
            or not all(isinstance(each, str) for each in deletes)
        ):
            raise StoreRefusedError(
                f"{one.key} in the store is no part of a change that xdplb has written",
                hint="remove the head, and the balancers write theirs again",
            )
        parts.append(Part({path: json_of(value) for path, value in puts.items()}, deletes))
    return parts


def _texts(puts: Mapping[str, Mapping[str, object]]) -> Iterator[_Op]:
    for path, value in puts.items():
        text = json_of(value)
        if len(text) > _LARGEST:
            raise StoreRefusedError(
                f"{path} is too large for the store: it is {len(text):,} bytes as JSON, and etcd takes {_LARGEST:,}",
                hint="have the VIP's access list be shorter",
            )
        yield path, text


def _batches(ops: Iterable[_Op]) -> Iterator[list[_Op]]:
    """Yield the operations in lots that fit in one step."""
    batch: list[_Op] = []
    size = 0
    for path, text in ops:
        weight = len(path) + len(text or b"")
        if batch and (len(batch) >= _MOST_OPS or size + weight > _MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((path, text))
        size += weight
    if batch:
        yield batch


def _part_text(batch: Sequence[_Op]) -> bytes:
    deletes = [path for path, text in batch if text is None]
    return json_of({"puts": {path: json.loads(text) for path, text in batch if text is not None}, "deletes": deletes})


def _part_key(prefix: str, number: int) -> str:
    return f"{prefix}{number:04}"


def _moved() -> HeadMovedError:
    return HeadMovedError(
        "another balancer has changed the desired state meanwhile", hint="look at what it is now, and try again"
    )
