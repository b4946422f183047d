"""What the README and docs name exists: files, scripts, and commands with their options."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]

LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)")
REPOSITORY_PATH = re.compile(r"`((?:xdplb|api|bpf|tests|scripts|docs)/[\w./*-]*)[^`]*`")
COMMAND = re.compile(r"(?:^|[`\s(])(?:sudo )?(?:\.venv/bin/)?xdplb ((?:[a-z][a-z-]*)(?: [a-z][a-z-]*)?)(.*)")
OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z-]+)")


def _code(page: Path) -> list[str]:
    """Return a page's code: each line of its blocks, continued lines joined, and each inline span."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    blocks += re.findall(r"(?:^(?: {4}|\t).*\n?)+", text, re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return lines + re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def _commands() -> list[tuple[str, str, str]]:
    """Return each `xdplb` command the pages show: page, its words, the rest of its line without a comment."""
    return [
        (page.name, match[1], match[2].split(" #")[0].split("`")[0])
        for page in PAGES
        for line in _code(page)
        if (match := COMMAND.search(line))
    ]


@cache
def _help(*words: str) -> str | None:
    xdplb = Path(sys.executable).parent / "xdplb"
    told = subprocess.run([xdplb, *words, "--help"], capture_output=True, text=True, check=False)
    return told.stdout if told.returncode == 0 else None


def _help_for(words: list[str]) -> str | None:
    """Return the help of the command the words start with: two words for a noun and a verb, else one."""
    return _help(*words) or (
        _help(words[0]) if len(words) == 2 and "Commands:" not in (_help(words[0]) or "") else None
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_a_page_names_exists(page: Path):
    text = page.read_text(encoding="utf-8")
    named = {page.parent / target for target in LINK.findall(text)}
    named |= {ROOT / path for path in REPOSITORY_PATH.findall(text)}
    missing = [str(path) for path in named if not list(path.parent.glob(path.name or "."))]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_script_a_page_names_exists(page: Path):
    named = set(re.findall(r"(?<![\w/])scripts/[\w-]+", page.read_text(encoding="utf-8")))
    assert not [script for script in named if not (ROOT / script).exists()]


def test_the_readme_names_the_two_commands_and_the_first_steps():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in [
        "scripts/demo",
        "scripts/test",
        "xdplb up eth0",
        "xdplb vip add",
        "xdplb backend add",
        "xdplb down",
    ]:
        assert command in text, command


@pytest.mark.parametrize(("page", "words", "rest"), sorted(set(_commands())))
def test_every_command_a_page_shows_exists_with_its_options(page: str, words: str, rest: str):
    told = _help_for(words.split())
    assert told is not None, f"{page} shows `xdplb {words}`"
    unknown = [option for option in OPTION.findall(rest) if option not in told]
    assert not unknown, f"{page}: `xdplb {words}` has no {unknown}"
