# SPDX-License-Identifier: Apache-2.0
"""A TOML text to data."""

from __future__ import annotations

import re
from typing import Any

import tomli

from .faults import ConfigError, Fault, Spot
from .toml_spots import toml_spots

__all__ = ["toml_data"]

_TWICE = re.compile(r"Cannot (overwrite|declare|mutate)|Duplicate")
_QUOTES = 'a text needs quotes: name = "web"'
_HINTS = {
    "Invalid value": f"{_QUOTES}; true and false are written in lower case",
    "Expected newline or end of document after a statement": f"one key = value a line; {_QUOTES}; a number has no"
    " leading zeros",
    "Unescaped '\\' in a string": "write \\\\ for a backslash, or put the text in '…'",
    "Expected '=' after a key in a key/value pair": "write key = value",
    "Invalid statement": "write key = value, [table] or [[list]]; # starts a comment",
}
"""What to do, by what the library says."""


def toml_data(text: str, file: str) -> dict[str, Any]:
    """Return the data in a TOML text. Raises ConfigError with the place of what is wrong."""
    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        faults = _given_twice(text, file) if _TWICE.match(error.msg) else []
        raise ConfigError(faults or [_not_toml(error, file)]) from None
    except RecursionError:
        raise ConfigError([Fault(file, None, "arrays and inline tables are nested too deep")]) from None
    except ValueError:  # a number of thousands of digits
        raise ConfigError([Fault(file, None, "a number has too many digits")]) from None


def _not_toml(error: tomli.TOMLDecodeError, file: str) -> Fault:
    sentence = error.msg[0].lower() + error.msg[1:]
    return Fault(file, Spot(error.lineno, error.colno), f"this is not TOML: {sentence}", _HINTS.get(error.msg, ""))


def _given_twice(text: str, file: str) -> list[Fault]:
    lines = text.split("\n")
    faults = []
    pointers: set[str] = set()
    for twice in toml_spots(text).duplicates:
        if twice.pointer.rpartition("/")[0] in pointers:
            continue  # what is in a table that is given twice is given twice because of that
        pointers.add(twice.pointer)
        name = twice.pointer.rpartition("/")[2].replace("~1", "/").replace("~0", "~")
        is_table = lines[twice.spot.line - 1].lstrip().startswith("[")
        hint = f"each item of a list begins with [[…]], as in [[{name}]]" if is_table else "remove one of them"
        detail = f"{name} is given twice"
        faults.append(Fault(file, twice.spot, detail, hint, twice.pointer, twice.first))
    return faults
