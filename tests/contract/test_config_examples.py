# SPDX-License-Identifier: Apache-2.0
"""The examples of config files: right, complete and commented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.page import files_of
from xdplb.config.document import read_document
from xdplb.daemon.config_dump import comments
from xdplb.daemon.config_file import check_document, config_schema
from xdplb.model.vip import Forward

FOLDER = Path(__file__).parents[2] / "docs" / "examples"
FILES = sorted(FOLDER.glob("*.toml"))


def fields_in(text: str) -> dict[tuple[str, ...], int]:
    """Return the fields of a file, also those that are commented out, and the line that each is in first."""
    found: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines()):
        if header := re.match(r"\[+([a-z_.]+)\]+$", line):
            table = tuple(header[1].split("."))
            for depth in range(1, len(table) + 1):
                found.setdefault(table[:depth], number)
        elif pair := re.match(r"(?:# )?([a-z_]+) = ", line):
            found.setdefault((*table, pair[1]), number)
    return found


def test_there_is_one_for_each_way_to_forward():
    assert [file.stem for file in FILES] == sorted(["checks", *Forward])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_is_right_and_forwards_as_its_name_says(file: Path):
    assert {str(vip.vip.forward) for vip in check_document(read_document(str(file))).vips} == {
        file.stem.replace("checks", "dr")
    }


def test_every_field_there_is_appears_and_no_other():
    known = {one_check(path) for path, _ in comments(config_schema())}
    assert {one_check(path) for file in FILES for path in fields_in(file.read_text())} == known


def one_check(path: tuple[str, ...]) -> tuple[str, ...]:
    """Return the path of a field, which is the same for one check and for several."""
    return ("vips", "checks", *path[2:]) if path[:2] == ("vips", "health_check") and path[2:] else path


def test_the_first_line_of_every_field_has_a_comment_above_it():
    explained: set[tuple[str, ...]] = set()
    for file in [FOLDER / f"{name}.toml" for name in ("dr", "gue", "ipip", "checks")]:
        lines = file.read_text().splitlines()
        for field, number in fields_in(file.read_text()).items():
            path = one_check(field)
            above = next(line for line in reversed(lines[:number]) if not re.match(r"(# )?[a-z_]+ = ", line))
            if path not in explained:
                assert above.startswith("# "), (file.name, number + 1, path)
            explained.add(path)


def test_what_is_commented_out_would_be_right_too(tmp_path: Path):
    text = re.sub(r"^# (?=[a-z_]+ = )", "", (FOLDER / "dr.toml").read_text(), flags=re.MULTILINE)
    (tmp_path / "all.toml").write_text(text.replace('forward = "ipip"', 'forward = "dr"'))
    for name in ("blocked.txt", "office.txt"):
        (tmp_path / name).write_text("203.0.113.0/24\n")
    assert len(check_document(read_document(str(tmp_path / "all.toml"))).vips) == 1


@pytest.mark.parametrize(("first", "name"), [("[[vips]]", "config.toml"), ("vips:", "config.yaml")])
def test_the_file_that_the_page_shows_is_right(tmp_path: Path, first: str, name: str):
    shown = files_of("config.md", name.removeprefix("config."))
    (tmp_path / name).write_text(next(text for text in shown if text.startswith(first)))
    (vip,) = check_document(read_document(str(tmp_path / name))).vips
    assert (vip.vip.name, [backend.weight for backend in vip.backends]) == ("web", [2, 1])
