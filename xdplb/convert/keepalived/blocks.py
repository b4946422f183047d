# SPDX-License-Identifier: Apache-2.0
"""The lines of a keepalived.conf as statements: words, and of some a block of statements in braces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from xdplb.convert.notes import ConvertError, Where

from .lines import Line

__all__ = ["Statement", "statements_of"]

_MOST_DEPTH = 32
_ESCAPES = {"a": "\a", "b": "\b", "E": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_BLANKS = " \t\r\f\v\n"


@dataclass
class Statement:
    """The words of a statement, the first of which is its keyword; `block` is what is in its braces, if it has some."""

    where: Where
    words: list[str]
    block: list[Statement] | None = field(default=None)

    @property
    def name(self) -> str:
        """The keyword."""
        return self.words[0]

    @property
    def values(self) -> list[str]:
        """The words after it."""
        return self.words[1:]

    @property
    def value(self) -> str:
        """The first word after it, empty if there is none."""
        return self.words[1] if len(self.words) > 1 else ""

    def __str__(self) -> str:
        return " ".join(self.words)


@dataclass(frozen=True, slots=True)
class _Word:
    where: Where
    text: str
    is_brace: bool


def statements_of(lines: Iterable[Line]) -> list[Statement]:
    """Return the statements. Raises ConvertError where braces do not match."""
    top: list[Statement] = []
    open_blocks: list[list[Statement]] = [top]
    opened: list[Where] = []
    for line in lines:
        current: Statement | None = None
        for word in _words(line):
            here = open_blocks[-1]
            if not word.is_brace:
                if current is None:
                    current = Statement(word.where, [])
                    here.append(current)
                current.words.append(word.text)
            elif word.text == "{":
                owner = current if current is not None else here[-1] if here else None
                if owner is None or owner.block is not None or len(opened) >= _MOST_DEPTH:
                    raise ConvertError.at(word.where, "this { opens no block")
                owner.block = []
                open_blocks.append(owner.block)
                opened.append(word.where)
                current = None
            else:
                if not opened:
                    raise ConvertError.at(word.where, "this } closes no block")
                open_blocks.pop()
                opened.pop()
                current = None
    if opened:
        raise ConvertError.at(opened[-1], "the block that begins here is not closed", "a } is missing")
    return top


def _words(line: Line) -> Iterator[_Word]:
    """Yield the words of a line, and the braces that stand by themselves or at the end of a word that ends the line."""
    found = [*_split(line)]
    for number, (text, is_plain) in enumerate(found):
        is_last = number == len(found) - 1
        if is_plain and text in {"{", "}"}:
            yield _Word(line.where, text, is_brace=True)
        elif is_plain and is_last and len(text) > 1 and text.endswith("{") and "}" not in text:
            yield _Word(line.where, text[:-1], is_brace=False)
            yield _Word(line.where, "{", is_brace=True)
        elif is_plain and is_last and len(text) > 1 and text.endswith("}") and "{" not in text:
            yield _Word(line.where, text[:-1], is_brace=False)
            yield _Word(line.where, "}", is_brace=True)
        else:
            yield _Word(line.where, text, is_brace=False)


def _split(line: Line) -> Iterator[tuple[str, bool]]:
    """Yield the words of a line without their quotes, and whether they had none."""
    text, at = line.text, 0
    word, is_plain, quote, has_begun = "", True, "", False
    while at < len(text):
        sign = text[at]
        if sign == "\\" and at + 1 < len(text):
            word, at = word + _ESCAPES.get(text[at + 1], text[at + 1]), at + 1
            is_plain, has_begun = False, True
        elif quote:
            word, quote = (word, "") if sign == quote else (word + sign, quote)
        elif sign in "\"'":
            quote, is_plain, has_begun = sign, False, True
        elif sign in _BLANKS:
            if has_begun:
                yield word, is_plain
            word, is_plain, has_begun = "", True, False
        else:
            word, has_begun = word + sign, True
        at += 1
    if quote:
        raise ConvertError.at(line.where, f"the quote {quote} has no end")
    if has_begun:
        yield word, is_plain
