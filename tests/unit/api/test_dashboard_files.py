# SPDX-License-Identifier: Apache-2.0
"""The files of the dashboard: what was taken from other projects is unchanged, and the whole is small."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from xdplb_api.dashboard_files import files

FOLDER = Path(__file__).parents[3] / "api/xdplb_api/dashboard"
VENDORED = json.loads((FOLDER / "vendor/vendored.json").read_text())
PARTS = Path(__file__).parent / "dashboard"


@pytest.mark.parametrize("package", VENDORED, ids=lambda package: package["name"])
def test_a_package_is_as_it_was_published(package) -> None:
    for name, wanted in package["files"].items():
        found = base64.b64encode(hashlib.sha512((FOLDER / "vendor" / name).read_bytes()).digest()).decode()
        assert f"sha512-{found}" == wanted, name
    assert package["license_file"] in package["files"]


def test_every_vendored_file_is_in_the_list() -> None:
    known = {name for package in VENDORED for name in package["files"]} | {"vendored.json"}
    assert {path.name for path in (FOLDER / "vendor").iterdir()} == known


def test_the_page_has_at_most_150_kilobytes() -> None:
    assert sum(len(each.body) for path, each in files().items() if not path.endswith(".LICENSE")) < 150_000


def test_nothing_is_loaded_from_another_host_and_nothing_is_inline() -> None:
    page = files()["/"].body.decode()
    assert not re.search(r"(src|href)=\"(https?:)?//", page)
    assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son[a-z]+=", page)
    unwanted = re.compile(r"innerHTML|dangerouslySetInnerHTML|eval\(|https?://(?!www\.w3\.org/2000/svg)")
    for path in FOLDER.glob("*.*"):
        assert not unwanted.search(path.read_text()), path


def test_every_file_that_is_asked_for_is_there() -> None:
    for path in FOLDER.glob("*.js"):
        for wanted in re.findall(r"from \"\./([^\"]+)\"", path.read_text()):
            assert f"/dashboard/{wanted}" in files(), (path.name, wanted)
    for wanted in re.findall(r"(?:src|href)=\"(dashboard/[^\"]+)\"", files()["/"].body.decode()):
        assert f"/{wanted}" in files(), wanted


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_what_needs_no_page_does_as_its_own_tests_say() -> None:
    scripts = sorted(map(str, PARTS.glob("*.test.mjs")))
    found = subprocess.run(["node", "--test", *scripts], check=False, capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stdout
    assert len(scripts) == 4
