# SPDX-License-Identifier: Apache-2.0
"""The sources as one text, their flags and their hash; the reasons read from them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from xdplb.dataplane.features import Feature
from xdplb.dataplane.plane import Capacity
from xdplb.dataplane.reasons import REASONS
from xdplb.dataplane.source import compile_flags, flatten, source_dir, source_hash, vip_groups, vip_groups6


@pytest.fixture
def main(tmp_path: Path) -> Path:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "a.h").write_text('#include "b.h"\nint a;\n')
    (tmp_path / "lib" / "b.h").write_text("int b;\n")
    (tmp_path / "main.c").write_text('#include <uapi/linux/bpf.h>\n#include "lib/a.h"\n#include "lib/b.h"\nint main;\n')
    return tmp_path / "main.c"


def test_headers_are_put_in_once_and_system_headers_stay(main: Path) -> None:
    code = [line for line in flatten(main).splitlines() if not line.startswith("#line")]
    assert code == ["#include <uapi/linux/bpf.h>", "int b;", "int a;", "int main;"]


def test_lines_point_to_the_files_they_are_from(main: Path) -> None:
    place, number, seen = "", 0, {}
    for line in flatten(main).splitlines():
        if match := re.fullmatch(r'#line (\d+) "(.*)"', line):
            place, number = match[2], int(match[1])
        else:
            seen[line] = (Path(place).name, number)
            number += 1
    assert seen["int a;"] == ("a.h", 2)
    assert seen["int b;"] == ("b.h", 1)
    assert seen["int main;"] == ("main.c", 4)


def test_the_hash_is_of_text_and_flags_and_not_of_where_it_is_installed(main: Path, tmp_path: Path) -> None:
    before = source_hash(flatten(main), ["-DX=1"])
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("main.c", "lib"):
        (tmp_path / name).rename(moved / name)
    assert source_hash(flatten(moved / "main.c"), ["-DX=1"]) == before
    assert source_hash(flatten(moved / "main.c"), ["-DX=2"]) != before
    (moved / "lib" / "b.h").write_text("long b;\n")
    assert source_hash(flatten(moved / "main.c"), ["-DX=1"]) != before


def test_flags_size_the_maps_and_say_where_they_are() -> None:
    flags = compile_flags(Path("/sys/fs/bpf/a b"), Capacity(100, 200, 300))
    assert flags == [
        '-DPIN_DIR="/sys/fs/bpf/a b"',
        "-DMAX_VIPS=100",
        "-DMAX_BACKENDS=201",
        "-DMAX_FLOWS=300",
        "-DNAT_BACKENDS=3216",
        "-DNAT_GROUPS=512",
        "-DVIP_GROUPS=1024",
        "-DVIP_GROUPS6=1024",
    ]


def test_flags_say_what_is_compiled_in_in_one_order() -> None:
    features = [Feature.VLAN, Feature.IPV6]
    flags = compile_flags(Path("/sys/fs/bpf/a"), None, features)
    assert flags == ['-DPIN_DIR="/sys/fs/bpf/a"', "-DWITH_IPV6=1", "-DWITH_VLAN=1"]
    assert compile_flags(Path("/sys/fs/bpf/a"), None, frozenset(features)) == flags


@pytest.mark.parametrize(
    ("vips", "groups", "groups6"),
    [(1, 8, 8), (3, 32, 32), (1024, 8192, 8192), (1025, 16384, 16384), (2049, 32768, 16384), (8192, 32768, 16384)],
)
def test_the_indexes_have_eight_groups_for_each_vip_as_far_as_they_fit(vips: int, groups: int, groups6: int) -> None:
    assert (vip_groups(Capacity(vips=vips)), vip_groups6(Capacity(vips=vips))) == (groups, groups6)


def test_the_reasons_are_those_of_the_enum() -> None:
    header = (source_dir() / "lib" / "reasons.h").read_text()
    body = header[header.index("enum reason {") : header.index("\tREASONS")]
    names = re.findall(r"[A-Z]+_[A-Z0-9_]+(?= = )", body)
    assert [reason.name.upper() for reason in REASONS] == names
    assert all(reason.text for reason in REASONS)
