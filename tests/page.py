# SPDX-License-Identifier: Apache-2.0
"""The commands of a page of the documentation, as its tests run them: word for word, in the page's order.

What is typed is in a block that is indented, or fenced as `sh`, `console` or `python`. A line that begins with `$ ` is
typed, and what follows it is what it prints. Any other fence is no command: a file, or an answer.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGES", "Command", "commands_in", "commands_of", "files_of", "headings_of"]

_ROOT = Path(__file__).resolve().parents[1]
PAGES = tuple(
    path.relative_to(_ROOT / "docs" if path.is_relative_to(_ROOT / "docs") else _ROOT).as_posix()
    for path in (_ROOT / "README.md", *sorted((_ROOT / "docs").rglob("*.md")))
)
"""The README and all pages of docs/, by their names in it."""

_TYPED = ("", "sh", "console")
_FENCE = re.compile(r"^ *```(\w*)")
_CODE = re.compile(r"^ {4}")
_COMMENT = re.compile(r"(?:^|\s)#\s.*")
_SPAN = re.compile(r"`([^`]+)`")
_PROGRAMS = (
    *("xdplb", "systemctl", "journalctl", "ip", "curl", "openssl", "timedatectl", "chronyc", "etcdctl", "df", "ls"),
    *("top", "ethtool", "dig", "sysctl"),
)
"""What a span of a paragraph begins with if it is a command that somebody is to type."""


@dataclass(frozen=True, slots=True)
class Command:
    """What is typed at once: a command, or a block of Python."""

    heading: str
    where: str
    """The sentence before its block, which says on which host it is typed."""

    text: str
    shown: str | None = None
    """What the page shows of what it prints."""

    is_python: bool = False

    @property
    def line(self) -> str:
        """It as one line, without its comments."""
        typed = " ".join(_COMMENT.sub("", each) for each in self.text.replace("\\\n", " ").splitlines())
        return " ".join(typed.split())

    @property
    def comment(self) -> str:
        """What is said beside it, after a `#`."""
        return " ".join(found.strip() for found in _COMMENT.findall(self.text))


def headings_of(name: str) -> list[str]:
    """Return the headings of a page that have commands, in its order."""
    return list(dict.fromkeys(command.heading for command in commands_of(name, spans=True)))


def commands_of(name: str, *headings: str, spans: bool = False) -> list[Command]:
    """Return the commands of a page, or those right under these headings; with `spans` also those within sentences."""
    found = list(commands_in(_text(name), spans=spans))
    missing = set(headings) - {command.heading for command in found}
    assert not missing, f"{name} has no commands under {', '.join(missing)}"
    return [command for command in found if not headings or command.heading in headings]


def files_of(name: str, language: str) -> list[str]:
    """Return the files in this language that a page shows, in its order."""
    return ["".join(f"{line}\n" for line in lines) for found, lines in _parts(_text(name)) if found == language]


def commands_in(text: str, *, spans: bool = False) -> Iterator[Command]:
    """Return the commands of a text in Markdown."""
    heading = where = ""
    for language, lines in _parts(text):
        joined = "\n".join(lines)
        if language is None:
            if lines[0].startswith("#"):
                heading = lines[0].lstrip("# ")
            where = " ".join(lines)
            if spans:
                yield from _spans(heading, joined)
        elif language == "python":
            yield Command(heading, where, joined, is_python=True)
        elif language in _TYPED:
            yield from _typed(heading, where, textwrap.dedent(joined).strip("\n").splitlines())


def _text(name: str) -> str:
    """Return a page, by its name in docs/, or `README.md`."""
    return (_ROOT / name if name == "README.md" else _ROOT / "docs" / name).read_text(encoding="utf-8")


def _parts(text: str) -> Iterator[tuple[str | None, list[str]]]:
    """Return paragraphs, whose language is None, and blocks of code in their order."""
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        start = at
        if fence := _FENCE.match(lines[at]):
            while not lines[at := at + 1].strip().startswith("```"):
                pass
            yield fence[1] or "text", textwrap.dedent("\n".join(lines[start + 1 : at])).splitlines()
            at += 1
        elif _CODE.match(lines[at]):
            while at < len(lines) and (_CODE.match(lines[at]) or not lines[at].strip()):
                at += 1
            yield "", lines[start:at]
        elif lines[at].strip():
            while at < len(lines) and lines[at].strip() and not _FENCE.match(lines[at]):
                at += 1
            yield None, lines[start:at]
        else:
            at += 1


def _typed(heading: str, where: str, lines: list[str]) -> Iterator[Command]:
    """Return the commands of a block. A line that is indented, empty or a comment goes on with the one before it."""
    shows = False
    blocks: list[tuple[bool, list[str]]] = []
    for line in lines:
        shows = shows or line.startswith("$ ")
        if line.startswith("$ ") or (not shows and not re.match(r"\s|$|# ", line)) or not blocks:
            blocks.append((shows, [line.removeprefix("$ ")]))
        else:
            blocks[-1][1].append(line)
    for is_shown, block in blocks:
        if not is_shown:
            yield Command(heading, where, "\n".join(block).rstrip())
            continue
        end = next((at for at, line in enumerate(block, 1) if not line.endswith("\\")), len(block))
        shown = "\n".join(block[end:]).rstrip()
        yield Command(heading, where, "\n".join(block[:end]), shown or None)


def _spans(heading: str, paragraph: str) -> Iterator[Command]:
    for span in _SPAN.findall(paragraph):
        words = span.split()
        if words[0] in _PROGRAMS and len(words) > 1:
            yield Command(heading, "", " ".join(words))
