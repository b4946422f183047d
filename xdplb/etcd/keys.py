# SPDX-License-Identifier: Apache-2.0
"""Reading and writing keys: what the other parts of a repository do with the gateway."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdplb.model.errors import StoreAwayError

from .faults import GatewayError, Meaning
from .gateway import Fields, Gateway
from .wire import KeyValue, Ops, end_of, key_values_of, number, range_of

__all__ = ["Answer", "Keys", "is_forgotten"]

_PAGE = 200
"""Keys in an answer: what takes apart a longer one holds up the other threads of the daemon."""
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a step: whether its comparisons held, the store's revision, and what was read in it."""

    done: bool
    revision: int
    read: Sequence[KeyValue | None]


class Keys:
    """The keys of a store."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def one(self, key: str, revision: int = 0) -> tuple[KeyValue | None, int]:
        """Return what is at a key, None if nothing is, and the store's revision; or what was there at a revision."""
        answer = await self._gateway.ask("/v3/kv/range", range_of(key, revision=str(revision)))
        found = key_values_of(answer)
        return found[0] if found else None, number(answer["header"], "revision")

    async def under(self, prefix: str, revision: int = 0) -> tuple[list[KeyValue], int]:
        """Return all keys that begin with `prefix`, as they are at one revision (0: the newest), and that revision.

        Raises GatewayError if it is a revision that the store has forgotten.
        """
        for _ in range(_TRIES):
            try:
                return await self._pages(prefix, revision)
            except GatewayError:
                if revision:
                    raise
        raise StoreAwayError("the store forgets faster than it can be read", hint="have it compacted less often")

    async def _pages(self, prefix: str, revision: int) -> tuple[list[KeyValue], int]:
        start, end, found = prefix, end_of(prefix), list[KeyValue]()
        while True:
            wanted = range_of(start, end, limit=str(_PAGE), revision=str(revision))
            answer = await self._gateway.ask("/v3/kv/range", wanted)
            revision = revision or number(answer["header"], "revision")
            page = key_values_of(answer)
            found += page
            if not answer.get("more") or not page:
                return found, revision
            start = page[-1].key + "\0"

    async def step(self, compare: Ops, success: Ops, read_else: Sequence[str] = ()) -> Answer:
        """Do all of `success` if all of `compare` holds, else read these keys. It must be safe to do it twice."""
        failure = [{"request_range": range_of(key)} for key in read_else]
        body = {"compare": list(compare), "success": list(success), "failure": failure}
        answer = await self._gateway.ask("/v3/kv/txn", body, acts=True)
        return Answer(bool(answer.get("succeeded")), number(answer["header"], "revision"), _read(answer))


def _read(answer: Fields) -> list[KeyValue | None]:
    if answer.get("succeeded"):
        return []
    ranges = [response.get("response_range", {}) for response in answer.get("responses") or ()]
    return [next(iter(key_values_of(found)), None) for found in ranges]


def is_forgotten(error: GatewayError) -> bool:
    """Return whether it is about a revision that the store does not have, or not any more."""
    return error.meaning in {Meaning.COMPACTED, Meaning.AHEAD}
