# SPDX-License-Identifier: Apache-2.0
"""What a release says of itself: version, changelog, licences."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import xdplb
from xdplb.control.state.schema import SCHEMA_VERSION
from xdplb.dataplane.versions import layout_name

ROOT = Path(__file__).parents[2]
SOURCES = ("*.py", "*.c", "*.h", "*.js", "*.mjs", "*.css", "*.sh", "scripts/*")
ENTRIES = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[1:]


def test_the_newest_entry_is_of_this_version() -> None:
    assert ENTRIES[0].split()[0] == xdplb.__version__


def test_each_entry_says_whether_it_needs_down() -> None:
    for entry in ENTRIES:
        assert re.search(r"^Needs down: (yes|no)\b", entry, re.MULTILINE), entry.splitlines()[0]


def test_the_newest_entry_has_the_layouts_of_this_version() -> None:
    assert f"Map layout: {layout_name()}. State: {SCHEMA_VERSION}." in ENTRIES[0]


def test_every_source_file_says_its_licence() -> None:
    listed = subprocess.run(["git", "ls-files", *SOURCES], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("it is no checkout of Git")
    for name in listed.stdout.splitlines():
        if "/vendor/" in name:
            continue
        licence = "GPL-2.0-only OR Apache-2.0" if name.startswith("bpf/") else "Apache-2.0"
        first = (ROOT / name).read_text().splitlines()[:2]
        assert any(re.search(rf"SPDX-License-Identifier: {re.escape(licence)}( \*/)?$", line) for line in first), name
