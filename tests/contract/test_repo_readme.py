# SPDX-License-Identifier: Apache-2.0
"""What the README and docs name exists: files, scripts, and commands with their options."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from xdplb.cli.main import cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]

LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)")
ANCHOR = re.compile(r"\]\((?!https?://)([^)#\s]*)#([^)\s]+)\)")
REPOSITORY_PATH = re.compile(r"`((?:xdplb|api|bpf|tests|scripts|docs)/[\w./*-]*)[^`]*`")
COMMAND = re.compile(r"(?:^|[`\s(])(?:sudo )?(?:\.venv/bin/)?xdplb ([a-z][a-z-]*(?: [a-z][a-z-]*)*)(.*)")
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


def _command_of(words: str) -> click.Command | None:
    """Return the command that the words begin with, None where they name one that is not there."""
    command: click.Command | None = cli
    for word in words.split():
        if not isinstance(command, click.Group):
            break
        command = command.get_command(click.Context(command), word)
    return command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_a_page_names_exists(page: Path):
    text = page.read_text(encoding="utf-8")
    named = {page.parent / target for target in LINK.findall(text)}
    named |= {ROOT / path for path in REPOSITORY_PATH.findall(text)}
    missing = [str(path) for path in named if not list(path.parent.glob(path.name or "."))]
    assert not missing


def _anchors(page: Path) -> set[str]:
    """Return the names that GitHub gives the headings of a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_section_a_page_links_to_exists(page: Path):
    named = ANCHOR.findall(page.read_text(encoding="utf-8"))
    missing = [
        f"{target}#{anchor}" for target, anchor in named if anchor not in _anchors(page.parent / (target or page.name))
    ]
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


def test_the_readme_says_first_what_surprises_who_comes_from_a_proxy():
    first = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## ")[0]
    for said in [
        "docs/dsr.svg",
        "direct server return",
        "Replies bypass the balancer",
        "No mapping of ports",
        "fails open",
    ]:
        assert said in first, said


FIGURE = re.compile(r"\d[\d,.]*\d|(?<=after )\d+|\d+ of \d+")


def test_each_figure_of_the_readme_stands_on_the_page_that_it_links_to():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.split("## What it does that others do not\n")[1].split("\nAnd what you expect")[0]
    claims = [" ".join(claim.split()) for claim in re.split(r"^- ", section, flags=re.MULTILINE)[1:]]
    assert len(claims) == 7
    for claim in claims:
        pages = {(ROOT / target).read_text(encoding="utf-8") for target in LINK.findall(claim)}
        figures = FIGURE.findall(re.sub(r"\]\([^)]*\)", "]", claim))
        missing = [figure for figure in figures if not any(figure in page for page in pages)]
        assert pages, claim
        assert not missing, claim


@pytest.mark.parametrize(("page", "words", "rest"), sorted(set(_commands())))
def test_every_command_a_page_shows_exists_with_its_options(page: str, words: str, rest: str):
    command = _command_of(words)
    assert command is not None, f"{page} shows `xdplb {words}`"
    known = {option for parameter in command.params for option in parameter.opts}
    ours = re.sub(r"'[^']* [^']*'", "''", rest)  # a command within a text has options of its own
    unknown = set(OPTION.findall(ours)) - known - {"--help"}
    assert not unknown, f"{page}: `xdplb {words}` has no {unknown}"
