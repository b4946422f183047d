# SPDX-License-Identifier: Apache-2.0
"""The lines of a keepalived.conf as keepalived reads them: without comments, and with what they stand for.

That is: includes, conditions (@ID), parameters ($NAME), sequences (~SEQ) and lists (~LST).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path

from xdplb.convert.notes import ConvertError, Notes, Where

__all__ = ["Line", "Reader"]

_MOST_DEPTH = 16
_MOST_LINES = 200_000
_LONGEST_LINE = 1 << 16
_DEFINITION = re.compile(r"\s*\$([A-Za-z_]\w*)=(.*)", re.DOTALL)
_PARAMETER = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*)(?=\s|$))")
_CONDITION = re.compile(r"\s*@(\^?)(\S+)\s*(.*)", re.DOTALL)
_INCLUDE = re.compile(r"\s*include[rmwba]?\s+(\S.*?)\s*")
_SEQUENCE = re.compile(r"\s*~SEQ(x?)\(([^()]*)\)\s*(.*)", re.DOTALL)
_LIST = re.compile(r"\s*~LST\(([^()]*)\)\s*(.*)", re.DOTALL)
_CHARACTERS = {"_HASH": "#", "_BANG": "!"}


@dataclass(frozen=True, slots=True)
class Line:
    """A line, with where it comes from: for a line of a parameter, where the parameter is used."""

    where: Where
    text: str


@dataclass
class Reader:
    """Reads a file and those that it includes. `read` returns the text of a file, or raises InvalidError.

    `config_id` is what conditions are compared with (keepalived's option -i).
    """

    config_id: str
    read: Callable[[str], str]
    notes: Notes
    _parameters: dict[str, str] = field(default_factory=dict)
    _count: int = 0

    def lines(self, file: str, text: str, depth: int = 0) -> Iterator[Line]:
        """Yield the lines of a file."""
        folder = Path(file).parent
        self._parameters["_PWD"] = str(folder)
        for where, raw in _joined(file, text):
            plain = _without_comment(raw)
            if match := _INCLUDE.fullmatch(plain):
                yield from self._included(where, match[1].strip("\"'"), folder, depth)
                self._parameters["_PWD"] = str(folder)
            elif plain.strip():
                yield from self._expanded(where, plain, 0)

    def _included(self, where: Where, pattern: str, folder: Path, depth: int) -> Iterator[Line]:
        if depth >= _MOST_DEPTH:
            raise ConvertError.at(where, f"files include each other more than {_MOST_DEPTH} deep")
        matched = (path for each in _braces(pattern) for path in glob(str(folder / each)))  # noqa: PTH207 - may be absolute
        found = sorted(path for path in matched if Path(path).is_file())
        if not found:
            self.notes.left_out(where, f"include {pattern}", "there is no such file")
        for path in found:
            yield from self.lines(path, self.read(path), depth + 1)

    def _expanded(self, where: Where, text: str, depth: int) -> Iterator[Line]:
        """Yield the lines that a line stands for."""
        self._count += 1
        if depth > _MOST_DEPTH * 4 or self._count > _MOST_LINES or len(text) > _LONGEST_LINE:
            raise ConvertError.at(where, "its parameters make too much of it", "does one of them contain itself?")
        if definition := _DEFINITION.fullmatch(text):
            self._parameters[definition[1]] = definition[2].strip("\n")
        elif repeated := self._repeated(where, text):
            name, values, rest = repeated
            for value in values:
                self._parameters.update(zip(name, value, strict=True))
                yield from self._expanded(where, rest, depth + 1)
        elif condition := _CONDITION.fullmatch(text):
            negated, wanted, rest = condition.groups()
            if (wanted == self.config_id) is not bool(negated):
                yield from self._expanded(where, rest, depth + 1) if rest.strip() else ()
            else:
                self.notes.left_out(
                    where, text.strip(), f"it is not for the config id {self.config_id}: see --config-id"
                )
        elif (replaced := self._replaced(text)) != text:
            for line in replaced.splitlines():
                if line.strip():
                    yield from self._expanded(where, line, depth + 1)
        else:
            yield Line(where, _with_characters(text))

    def _replaced(self, text: str) -> str:
        """Return the text with the first parameter that is defined in place of its name."""
        for match in _PARAMETER.finditer(text):
            value = self._parameters.get(match[1] or match[2])
            if value is not None:
                return text[: match.start()] + value + text[match.end() :]
        return text

    def _repeated(self, where: Where, text: str) -> tuple[list[str], list[list[str]], str] | None:
        """Return names, the values that they have in turn, and the rest of a line with ~SEQ or ~LST; else None."""
        if match := _SEQUENCE.fullmatch(text):
            name, *numbers = (part.strip() for part in match[2].split(","))
            return [name], [[value] for value in _sequence(where, numbers, is_hex=bool(match[1]))], match[3]
        if match := _LIST.fullmatch(text):
            parts = [part.strip() for part in re.findall(r"\{[^{}]*\}|[^,{}]+", match[1]) if part.strip()]
            named, *values = [[word.strip() for word in part.strip("{}").split(",")] for part in parts]
            if not values or any(len(value) != len(named) for value in values):
                raise ConvertError.at(where, "each value of ~LST must have as many parts as there are names")
            return named, values, match[2]
        return None


def _sequence(where: Where, numbers: list[str], *, is_hex: bool) -> Iterator[str]:
    try:
        given = [int(number, 0) for number in numbers]
    except ValueError:
        given = []
    if not 1 <= len(given) <= 3:
        raise ConvertError.at(where, "~SEQ has a name and one to three numbers", "such as ~SEQ(N, 1, 9)")
    last = given[-1]
    first = given[0] if len(given) > 1 else (1 if last > 0 else -1)
    step = given[1] if len(given) == 3 else (1 if last >= first else -1)
    if step == 0 or abs(last - first) // abs(step) > _MOST_LINES:
        raise ConvertError.at(where, "this ~SEQ has too many steps")
    for value in range(first, last + (1 if step > 0 else -1), step):
        yield f"{value:x}" if is_hex else str(value)


def _joined(file: str, text: str) -> Iterator[tuple[Where, str]]:
    r"""Yield lines with their places; the lines of a definition that end with \ are one."""
    rest = iter(enumerate(text.splitlines(), 1))
    for number, raw in rest:
        where, whole = Where(file, number), raw
        if _DEFINITION.fullmatch(raw) and raw.rstrip().endswith("\\"):
            parts = [raw.rstrip()[:-1]]
            for _, more in rest:
                is_last = not more.rstrip().endswith("\\")
                parts.append(_without_comment(more.rstrip() if is_last else more.rstrip()[:-1]))
                if is_last:
                    break
            whole = "\n".join(parts)
        yield where, whole


def _without_comment(text: str) -> str:
    """Return the text up to the first # or ! that is not in quotes."""
    quote = ""
    at = 0
    while at < len(text):
        sign = text[at]
        if sign == "\\":
            at += 1
        elif quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
        elif sign in "#!":
            return text[:at]
        at += 1
    return text


def _with_characters(text: str) -> str:
    for name, character in _CHARACTERS.items():
        text = text.replace(f"${{{name}}}", character)
    return text


def _braces(pattern: str) -> list[str]:
    """Return the patterns that one with {a,b} stands for; one that is nested stays as it is."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if match is None:
        return [pattern]
    return [
        each
        for part in match[1].split(",")
        for each in _braces(pattern[: match.start()] + part + pattern[match.end() :])
    ]
