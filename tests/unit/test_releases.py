"""What a release says of itself: version, changelog, licences."""

from __future__ import annotations

import re
from pathlib import Path

import xdplb
from xdplb.control.state.schema import SCHEMA_VERSION
from xdplb.dataplane.versions import layout_name

ROOT = Path(__file__).parents[2]
ENTRIES = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[1:]


def test_the_newest_entry_is_of_this_version() -> None:
    assert ENTRIES[0].split()[0] == xdplb.__version__


def test_each_entry_says_whether_it_needs_down() -> None:
    for entry in ENTRIES:
        assert re.search(r"^Needs down: (yes|no)\b", entry, re.MULTILINE), entry.splitlines()[0]


def test_the_newest_entry_has_the_layouts_of_this_version() -> None:
    assert f"Map layout: {layout_name()}. State: {SCHEMA_VERSION}." in ENTRIES[0]
