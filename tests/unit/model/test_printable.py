# SPDX-License-Identifier: Apache-2.0
"""What words from outside become before they are shown."""

from __future__ import annotations

import json

import pytest

from xdplb.model.printable import LONGEST_TEXT, json_printable, printable, quoted, word

HOSTILE = {
    "a\nINFO forged": r"a\nINFO forged",
    "a\rb": r"a\rb",
    "\x1b[2Jgone": r"\x1b[2Jgone",
    "\x9b31m": r"\x9b31m",
    "a\u2028b\u2029c\x85": r"a\u2028b\u2029c\x85",
    "\u202egpj.exe": r"\u202egpj.exe",
    "\u2066x\u2069": r"\u2066x\u2069",
    "\x00\x7f": r"\x00\x7f",
    "half \ud800": r"half \ud800",
}


@pytest.mark.parametrize("text", HOSTILE)
def test_what_cannot_be_printed_is_an_escape(text: str):
    assert printable(text) == HOSTILE[text]
    assert quoted(text) == f"'{HOSTILE[text]}'"
    assert word(text) == f"'{HOSTILE[text]}'"
    assert json.loads(json_printable(json.dumps({"it": text}, ensure_ascii=False))) == {"it": text}
    assert json_printable(json.dumps({"it": text}, ensure_ascii=False)).isprintable()


@pytest.mark.parametrize("text", ["Zürich", "10.0.0.1", "日本", "a b"])
def test_what_people_write_stays(text: str):
    assert printable(text) == text
    assert json_printable(f'{{\n  "it": "{text}"\n}}') == f'{{\n  "it": "{text}"\n}}'


def test_long_texts_are_cut():
    for shown in (printable, quoted, word):
        text = shown("x" * 100_000)
        assert len(text) < LONGEST_TEXT + 50
        assert text.endswith("… (99000 characters more)")


@pytest.mark.parametrize("text", ["a b", "", "it's", 'say "x"', "a\\nb", "é"])
def test_a_word_that_could_be_several_is_quoted(text: str):
    assert word(text) == repr(text)
    assert word("unix(uid=0,pid=7)") == "unix(uid=0,pid=7)"
