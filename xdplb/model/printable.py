# SPDX-License-Identifier: Apache-2.0
"""Words from outside, made fit for a log line or a terminal: requests, backends and other processes choose them.

As they came they could end a log line and begin another, turn the direction of the text, or drive the terminal.
"""

from __future__ import annotations

import re

__all__ = ["LONGEST_TEXT", "json_printable", "printable", "quoted", "word"]

LONGEST_TEXT = 1000
"""Characters of one text that are shown."""

_BARE = re.compile(r"[!#-&(-\[\]-~]+")  # ASCII without blanks, quotes and the backslash


def printable(text: str, most: int = LONGEST_TEXT) -> str:
    r"""Return `text` in one line: what cannot be printed as an escape (`\n`, `\x1b`, `\u2028`), cut after `most`."""
    cut = text if len(text) <= most else f"{text[:most]}… ({len(text) - most} characters more)"
    return cut if cut.isprintable() else "".join(one if one.isprintable() else _escape(one) for one in cut)


def quoted(text: str, most: int = LONGEST_TEXT) -> str:
    """Return `text` in quotes, like `printable`; a quote within is escaped too, so that its end is seen."""
    return repr(text) if len(text) <= most else f"{text[:most]!r}… ({len(text) - most} characters more)"


def word(text: str, most: int = LONGEST_TEXT) -> str:
    """Return `text` as it is if it is one plain word that nobody can mistake for several, else in quotes."""
    return text if len(text) <= most and _BARE.fullmatch(text) else quoted(text, most)


def json_printable(text: str) -> str:
    """Return the JSON `text` with the same values, but without characters that a terminal may act upon."""
    if text.replace("\n", "").isprintable():
        return text
    return "".join(one if one.isprintable() or one in "\n\r\t" else _json_escape(one) for one in text)


def _escape(character: str) -> str:
    return repr(character)[1:-1]


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
