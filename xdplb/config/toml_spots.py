# SPDX-License-Identifier: Apache-2.0
"""Where the keys and values of a TOML text are. What they are is read by a library, which does not tell that.

The text need not be valid: what comes after the first thing that cannot be told is not looked at.
"""

from __future__ import annotations

import re

from .faults import Spot
from .spots import Duplicate, Lines, Spots, below

__all__ = ["toml_spots"]

_BLANKS = re.compile(r"[ \t]*")
_BETWEEN = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^"\\]|\\[\s\S]|"(?!""))*"{3,5}'
    r"|'''(?:[^']|'(?!''))*'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
)
_PLAIN = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:.+Zz-]+|[^\s,\]}#\[{\"'=]+")
_ESCAPE = re.compile(r'\\(u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|x[0-9A-Fa-f]{2}|[btnfre"\\])')
_ESCAPED = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "e": "\x1b", '"': '"', "\\": "\\"}
_DEEPEST = 100
"""How deep arrays and inline tables may be nested; a config file needs a few levels."""


class _UnclearError(Exception):
    """The text is not valid here."""


def toml_spots(text: str) -> Spots:
    """Return where the keys and values of a TOML text are."""
    return _Scan(text).run()


class _Scan:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._lines = Lines(text)
        self._spots = Spots()
        self._given: dict[str, Spot] = {}  # where keys are that may be given only once
        self._last: dict[str, int] = {}  # the place of the last table so far in each array of tables

    def run(self) -> Spots:
        table = ""
        self._spots.values[""] = self._lines.spot(0)
        try:
            while True:
                self._skip(_BETWEEN)
                if self._at == len(self._text):
                    break
                table = self._header() if self._next("[") else self._pair(table)
        except _UnclearError:
            pass
        return self._spots

    def _header(self) -> str:
        """Go past `[a.b]` or `[[a.b]]`, and return the pointer of the table that begins."""
        start = self._at
        many = self._text.startswith("[[", start)
        self._at += 2 if many else 1
        parts = self._key()
        self._take("]]" if many else "]")
        pointer = ""
        for place, (name, at) in enumerate(parts):
            pointer = below(pointer, name)
            last = place == len(parts) - 1
            self._spots.keys.setdefault(pointer, self._lines.spot(at))
            self._spots.values.setdefault(pointer, self._lines.spot(start))
            if last and many:
                self._last[pointer] = self._last.get(pointer, -1) + 1
            elif last:
                self._name_once(pointer, at)
            if pointer in self._last:
                pointer = below(pointer, self._last[pointer])
                self._spots.values.setdefault(pointer, self._lines.spot(start))
        return pointer

    def _name_once(self, pointer: str, at: int) -> None:
        """Note the key at `pointer`, as a duplicate if it is there already."""
        spot = self._lines.spot(at)
        self._spots.keys.setdefault(pointer, spot)
        first = self._last_header(pointer) or self._given.setdefault(pointer, spot)
        if first is not spot:
            self._spots.duplicates.append(Duplicate(pointer, spot, first))

    def _last_header(self, pointer: str) -> Spot | None:
        """Return where the last table begins of the array of tables at `pointer`, None if there is no such array."""
        return self._spots.values[below(pointer, self._last[pointer])] if pointer in self._last else None

    def _pair(self, table: str, depth: int = 0) -> str:
        """Go past `key = value` in a table, whose pointer is returned."""
        pointer, parts = table, self._key()
        for name, at in parts[:-1]:
            pointer = below(pointer, name)
            self._spots.keys.setdefault(pointer, self._lines.spot(at))
            self._spots.values.setdefault(pointer, self._lines.spot(at))
        name, at = parts[-1]
        pointer = below(pointer, name)
        self._name_once(pointer, at)
        self._take("=")
        self._skip(_BLANKS)
        self._value(pointer, depth)
        return table

    def _key(self) -> list[tuple[str, int]]:
        """Go past a key, and return its parts with their offsets."""
        parts = []
        while True:
            self._skip(_BLANKS)
            at = self._at
            if (bare := _BARE_KEY.match(self._text, at)) is not None:
                name = bare[0]
                self._at = bare.end()
            else:
                name = self._quoted()
            parts.append((name, at))
            self._skip(_BLANKS)
            if not self._next("."):
                return parts
            self._at += 1

    def _quoted(self) -> str:
        given = _STRING.match(self._text, self._at)
        if given is None:
            raise _UnclearError
        self._at = given.end()
        inner = given[0][1:-1]
        return inner if given[0][0] == "'" else _ESCAPE.sub(_unescaped, inner)

    def _value(self, pointer: str, depth: int) -> None:
        self._spots.values.setdefault(pointer, self._lines.spot(self._at))
        if depth > _DEEPEST:
            raise _UnclearError
        if self._next("["):
            self._array(pointer, depth + 1)
        elif self._next("{"):
            self._inline_table(pointer, depth + 1)
        elif (plain := _STRING.match(self._text, self._at) or _PLAIN.match(self._text, self._at)) is not None:
            self._at = plain.end()
        else:
            raise _UnclearError

    def _array(self, pointer: str, depth: int) -> None:
        self._at += 1
        number = 0
        while not self._ends("]"):
            self._value(below(pointer, number), depth)
            number += 1
            self._skip(_BETWEEN)
            if not self._next("]"):
                self._take(",")

    def _inline_table(self, pointer: str, depth: int) -> None:
        self._at += 1
        while not self._ends("}"):
            self._pair(pointer, depth)
            self._skip(_BETWEEN)
            if not self._next("}"):
                self._take(",")

    def _ends(self, bracket: str) -> bool:
        self._skip(_BETWEEN)
        if not self._next(bracket):
            return False
        self._at += 1
        return True

    def _next(self, word: str) -> bool:
        return self._text.startswith(word, self._at)

    def _take(self, word: str) -> None:
        if not self._next(word):
            raise _UnclearError
        self._at += len(word)

    def _skip(self, what: re.Pattern[str]) -> None:
        found = what.match(self._text, self._at)
        assert found is not None, "it matches nothing too"
        self._at = found.end()


def _unescaped(found: re.Match[str]) -> str:
    escape = found[1]
    return _ESCAPED[escape] if escape in _ESCAPED else chr(int(escape[1:], 16))
