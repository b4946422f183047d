# SPDX-License-Identifier: Apache-2.0
"""The site of docs/: it builds without a warning, has every page in its navigation, and asks no other host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOST_CODE = re.compile(r"^(?:- |\d+\. | {2,3}\S).*\n\n( {5,7}\S.*)$", re.MULTILINE)
"""A block of code in a list that is indented by less than 8: on GitHub it is code, on the site a paragraph."""
ELSEWHERE = re.compile(r"""(?:<(?:script|img|link rel="(?:stylesheet|preload|preconnect)")[^>]*|url\(["']?)https?://""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "PYTHONPATH": "", "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return folder


def test_every_page_is_in_the_navigation(site: Path):
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    named = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text("utf-8")))
    assert named - {"index.md"} == pages, "add it to nav in mkdocs.yml"
    assert all((site / page).with_suffix(".html").exists() for page in named)


def test_it_asks_no_other_host(site: Path):
    found = {page.name for page in [*site.rglob("*.html"), *site.rglob("*.css")] if ELSEWHERE.search(page.read_text())}
    assert not found


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.name)
def test_code_in_a_list_is_code_on_the_site(page: Path):
    assert not LOST_CODE.findall(page.read_text("utf-8"))


def test_code_in_a_list_that_would_be_lost_is_found():
    assert LOST_CODE.findall("- one:\n\n      xdplb status\n") == ["      xdplb status"]
    assert not LOST_CODE.findall("- one:\n\n        xdplb status\n")
