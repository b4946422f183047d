# SPDX-License-Identifier: Apache-2.0
"""Data to a config file: TOML with comments, or YAML."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

__all__ = ["Comments", "toml_text", "yaml_text"]

Comments = Mapping[tuple[str, ...], str]
"""What fields mean, by the names that lead to them; places in arrays are left out."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_WIDTH = 100
_INDENT = "    "


def toml_text(data: Mapping[str, Any], comments: Comments) -> str:
    """Return data as TOML. Each field has its comment where it appears first; null is left out, as TOML has none."""
    return "\n".join(_Toml(comments).table(data, ())) + "\n"


def yaml_text(data: Mapping[str, Any]) -> str:
    """Return data as YAML."""
    return str(yaml.safe_dump(_plain(data), sort_keys=False, allow_unicode=True, width=_WIDTH))


class _Toml:
    def __init__(self, comments: Comments) -> None:
        self._comments = dict(comments)

    def table(self, data: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
        """Yield the lines of a table: its values first, then the tables in it, as TOML needs it."""
        inner: list[tuple[str, Any]] = []
        for name, value in data.items():
            if isinstance(value, Mapping) or _is_tables(value):
                inner.append((name, value))
            elif value is not None:
                yield from self._comment((*path, name))
                yield f"{_key(name)} = {_value(value)}"
        for name, value in inner:
            below = (*path, name)
            header = ".".join(map(_key, below))
            many = not isinstance(value, Mapping)
            for each in value if many else [value]:
                yield ""
                yield from self._comment(below)
                yield f"[[{header}]]" if many else f"[{header}]"
                yield from self.table(each, below)

    def _comment(self, path: tuple[str, ...]) -> Iterator[str]:
        """Yield what a field means, the first time that it is asked for."""
        if text := self._comments.pop(path, ""):
            yield from textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ")


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _text(name)


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_key(name)} = {_value(item)}' for name, item in value.items())}}}"
    if isinstance(value, Sequence):
        items = [_value(item) for item in value]
        short = f"[{', '.join(items)}]"
        return short if len(short) <= _WIDTH else "\n".join(["[", *(f"{_INDENT}{item}," for item in items), "]"])
    return json.dumps(value)  # of numbers and of true and false, TOML's form is that of JSON


def _text(text: str) -> str:
    # JSON's escapes are TOML's too, except that TOML has one more character to escape, and no halves of pairs.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _plain(value: Any) -> Any:
    """Return data without nulls and without subclasses of str, which YAML would tag."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, str) else value
