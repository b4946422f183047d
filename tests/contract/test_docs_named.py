# SPDX-License-Identifier: Apache-2.0
"""The pages of docs/ that hints, help and comments name are there, with the sections that they name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.compile(r"docs/([\w/-]+\.md)(?:, ([A-Z][^\"\n]*))?")
FOLDERS = ("api", "bpf", "debian", "docs/examples", "scripts", "tests", "xdplb")
SUFFIXES = {"", ".c", ".conf", ".default", ".h", ".py", ".service", ".sh", ".toml", ".yml"}
FILES = [
    file
    for folder in FOLDERS
    for file in sorted((ROOT / folder).rglob("*"))
    if file.is_file() and file.suffix in SUFFIXES and NAMED.search(file.read_text("utf-8", errors="ignore"))
]


def missing(text: str) -> list[str]:
    """Return what is named in a text and is not there: a page, or a section that is written with a capital after it."""
    found = []
    for page, section in NAMED.findall(text):
        file = ROOT / "docs" / page
        if not file.exists():
            found.append(page)
            continue
        headings = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.MULTILINE)
        if section and not any(section.startswith(each) or each.startswith(section) for each in headings):
            found.append(f"{page}, {section}")
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_each_page_that_a_file_names_is_there(file: Path) -> None:
    assert not missing(file.read_text("utf-8"))


def test_a_page_or_a_section_that_is_not_there_would_be_found() -> None:
    page = "tunnels"
    assert not missing(f"see docs/{page}.md, Who may use the tunnel, and more")
    assert missing(f"see docs/{page}-2.md") == [f"{page}-2.md"]
    assert missing(f'"docs/{page}.md, Who may not"') == [f"{page}.md, Who may not"]
