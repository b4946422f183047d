# SPDX-License-Identifier: Apache-2.0
"""An event as it is kept: what it can be found by, and its JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from xdplb.control.events import Event
from xdplb.model.moment import moment_of_ns, moment_text

__all__ = ["KeptEvent", "kept_event_of"]

_LONGEST_MESSAGE = 4000
_LONGEST_TEXT = 2000
_MOST_SUBJECTS = 2000

_LONGEST_BODY = 64 << 10
_SHORTER = (20, 5, 1)
"""How many items of lists are kept of a longer one: a change of a whole configuration may have thousands."""


@dataclass(frozen=True, slots=True)
class KeptEvent:
    """An event that happened at `at`, in ns since 1970 by the wall clock.

    `vip`, `backend` and `actor` are what it is found by, None if it is about none. `about` are all VIPs and backends of
    an event that is about several. `body` is its JSON object, in ASCII.
    """

    at: int
    kind: str
    level: int
    vip: str | None
    backend: str | None
    actor: str | None
    about: tuple[tuple[str, str | None], ...]
    body: str

    def text(self) -> str:
        """Return it as JSON, from which `of_text` makes it again."""
        return json.dumps(asdict(self))

    @classmethod
    def of_text(cls, text: str) -> KeptEvent:
        """Return the event that `text` was made from."""
        given = json.loads(text)
        return cls(**{**given, "about": tuple((vip, backend) for vip, backend in given["about"])})


def kept_event_of(event: Event, at: int) -> KeptEvent:
    """Return what is kept of an event that happened at `at`, in ns since 1970."""
    data = {name: _bounded(value) for name, value in event.data().items()}
    vip, backend, actor = (_text(getattr(event, name, None)) for name in ("vip", "backend", "actor"))
    body = {
        "time": moment_text(moment_of_ns(at), "microseconds"),
        "kind": event.KIND,
        "level": event.level.word,
        "vip": vip,
        "backend": backend,
        "actor": data.get("actor"),
        "message": _cut(event.line(), _LONGEST_MESSAGE),
        "data": {name: value for name, value in data.items() if name not in {"vip", "backend", "actor"}},
    }
    about = tuple(event.subjects()[:_MOST_SUBJECTS])
    return KeptEvent(at, event.KIND, int(event.level), vip, backend, actor, about, _json(body))


def _json(body: dict[str, object]) -> str:
    """Return the JSON of an event; if it is too long, only the first of each list in it."""
    text = json.dumps(body, separators=(",", ":"))
    for most in _SHORTER:
        if len(text) <= _LONGEST_BODY:
            break
        text = json.dumps({**body, "data": {**_first(body["data"], most), "is_cut": True}}, separators=(",", ":"))
    return text


def _first(value: Any, most: int) -> Any:
    """Return a JSON value with the first `most` items of each list in it."""
    if isinstance(value, dict):
        return {name: _first(each, most) for name, each in value.items()}
    return [_first(each, most) for each in value[:most]] if isinstance(value, list) else value


def _text(value: object) -> str | None:
    return None if value is None else _cut(str(value), _LONGEST_TEXT)


def _bounded(value: object) -> object:
    """Return a JSON value with its texts cut, and in Unicode that can be sent: their length is others' choice."""
    if isinstance(value, str):
        return _cut(value, _LONGEST_TEXT)
    if isinstance(value, dict):
        return {name: _bounded(each) for name, each in value.items()}
    return [_bounded(each) for each in value] if isinstance(value, list) else value


def _cut(text: str, most: int) -> str:
    whole = text if len(text) <= most else f"{text[:most]}… ({len(text) - most} characters more)"
    return whole.encode("utf-8", "replace").decode()
