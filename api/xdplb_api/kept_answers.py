# SPDX-License-Identifier: Apache-2.0
"""Answers that are kept for a while, so that a request which is repeated gets the same one."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["KEEP_SECONDS", "LARGEST_ANSWER", "MOST_KEYS", "KeptAnswer", "KeptAnswers", "Reused", "Running"]

KEEP_SECONDS = 3600.0
MOST_KEYS = 1000
LARGEST_ANSWER = 1 << 20
_MOST_BYTES = 4 << 20


class Running(Exception):  # noqa: N818 - it is no error, but a state
    """The first request with this key is still being worked on."""


class Reused(Exception):  # noqa: N818
    """Another request had this key before."""


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer as it was sent."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


@dataclass(slots=True)
class _Entry:
    fingerprint: bytes
    since: float
    answer: KeptAnswer | None = None


class KeptAnswers:
    """Answers by who asked and the key that they gave: for an hour, at most 1000, and 4 MiB of bodies.

    If there are more, the oldest one goes of who has the most: nobody can make room among those of others. Those of
    requests that are being worked on stay. `clock` returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[str, OrderedDict[str, _Entry]] = {}
        self._count, self._bytes = 0, 0

    def begin(self, whose: str, key: str, fingerprint: bytes) -> KeptAnswer | None:
        """Return the answer that this request got before; None if it is the first, which `keep` or `forget` ends.

        Raises Running or Reused.
        """
        self._expire(whose)
        entry = self._kept[whose].get(key) if whose in self._kept else None
        if entry is None:
            self._kept.setdefault(whose, OrderedDict())[key] = _Entry(fingerprint, self._clock())
            self._count += 1
            self._make_room()
            return None
        if entry.fingerprint != fingerprint:
            raise Reused
        if entry.answer is None:
            raise Running
        return entry.answer

    def keep(self, whose: str, key: str, answer: KeptAnswer) -> None:
        """Keep the answer to the request that began with this key."""
        if len(answer.body) > LARGEST_ANSWER:
            self.forget(whose, key)
            return
        self._kept[whose][key].answer = answer
        self._bytes += len(answer.body)
        self._make_room()

    def forget(self, whose: str, key: str) -> None:
        """Let the key be used again."""
        entry = self._kept[whose].pop(key)
        self._count -= 1
        self._bytes -= 0 if entry.answer is None else len(entry.answer.body)
        if not self._kept[whose]:
            del self._kept[whose]

    def _expire(self, whose: str) -> None:
        """Forget the old answers of one; those of others make room when it is needed."""
        now = self._clock()
        for key, entry in list(self._kept.get(whose, {}).items()):
            if now - entry.since < KEEP_SECONDS:
                return
            if entry.answer is not None:
                self.forget(whose, key)

    def _make_room(self) -> None:
        while self._count > MOST_KEYS or self._bytes > _MOST_BYTES:
            oldest = self._oldest()
            if oldest is None:
                return
            self.forget(*oldest)

    def _oldest(self) -> tuple[str, str] | None:
        """Return the oldest answer of who has the most."""
        for whose in sorted(self._kept, key=lambda whose: len(self._kept[whose]), reverse=True):
            for key, entry in self._kept[whose].items():
                if entry.answer is not None:
                    return whose, key
        return None
