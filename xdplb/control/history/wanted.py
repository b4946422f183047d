# SPDX-License-Identifier: Apache-2.0
"""Which events a reader wants, and a page of them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Found", "Page", "Wanted"]


_PARTS = "replace(replace(replace(',' || actor || ',', '(', ','), ')', ','), char(39), '')"
_ENDS = (("','", "','"), ("'='", "','"), ("'='", "':'"), ("'=['", "']:'"))
_ACTOR = f"({' OR '.join(f'instr({_PARTS}, {before} || ? || {after})' for before, after in _ENDS)})"
"""An actor is written `unix(uid=0,pid=17)`: it is found by `unix`, `uid=0`, `0`, and a peer by its address, too. What
is in quotes, such as the subject of a certificate, is found as a whole and by each of its parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which events, and how many at most.

    `vip` and `backend` are as events have them, `kinds` any of these, `level` this serious or more so (smaller).
    `actor` is who did it: its kind, or one of the words that say more, such as `token=ci` or `ci`. `since` and `until`
    are ns since 1970, the first included. `after` is an id: those after it, or with `newest_first` before it.
    """

    vip: str | None = None
    backend: str | None = None
    kinds: tuple[str, ...] = ()
    level: int | None = None
    actor: str | None = None
    since: int | None = None
    until: int | None = None
    after: int | None = None
    newest_first: bool = False
    limit: int = 100

    def conditions(self) -> tuple[str, list[object]]:
        """Return the condition of a query, and the values in it."""
        found: list[tuple[str, list[object]]] = [
            (condition, [value] * condition.count("?"))
            for condition, value in (
                ("id < ?" if self.newest_first else "id > ?", self.after),
                # By the ids, which are as good as the times, or else all of a long time would be sorted for each page.
                ("id >= (SELECT min(id) FROM event INDEXED BY event_at WHERE at >= ?) AND +at >= ?", self.since),
                ("+at < ?", self.until),
                ("level <= ?", self.level),
                (_ACTOR, self.actor),
            )
            if value is not None
        ]
        if self.vip is not None and self.backend is not None:
            both = "(vip = ? AND backend = ? OR id IN (SELECT event FROM about WHERE vip = ? AND backend = ?))"
            found.append((both, [self.vip, self.backend] * 2))
        elif self.vip is not None:
            found.append(("(vip = ? OR id IN (SELECT event FROM about WHERE vip = ?))", [self.vip] * 2))
        elif self.backend is not None:
            found.append(("(backend = ? OR id IN (SELECT event FROM about WHERE backend = ?))", [self.backend] * 2))
        if self.kinds:
            found.append((f"kind IN ({', '.join('?' * len(self.kinds))})", list(self.kinds)))
        return " AND ".join(text for text, _ in found) or "TRUE", [value for _, values in found for value in values]


@dataclass(frozen=True, slots=True)
class Found:
    """An event that was found: its id, and its JSON object, which has the id."""

    id: int
    body: str


@dataclass(frozen=True, slots=True)
class Page:
    """Some events. `more`: there are more like them. `latest` is the id of the last event of all.

    `missed`: events after the id that was asked for are not kept any more.
    """

    events: tuple[Found, ...]
    more: bool
    latest: int
    missed: bool
