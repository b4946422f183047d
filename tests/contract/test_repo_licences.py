# SPDX-License-Identifier: Apache-2.0
"""Every file of our own that can have a comment says its licence in its first lines."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINE = "SPDX-License-Identifier: "
KINDS = {
    ".c", ".css", ".h", ".html", ".js", ".mjs", ".postinst", ".postrm", ".prerm", ".py", ".service", ".sh", ".svg",
    ".toml", ".yml",
}  # fmt: skip
BY_NAME = {"Containerfile", "debian/rules"}
# What others wrote has its licence beside it; what users take as their own, and what tests write anew, has none.
NOT_THESE = (
    "api/xdplb_api/dashboard/vendor/",
    "debian/config.toml",
    "docs/examples/",
    "docs/images/",
    "tests/browser/site.toml",
)


def has_licence(name: str) -> bool:
    first_lines = (ROOT / name).read_text().splitlines()[:3]
    return any(LINE in line for line in first_lines)


def test_a_file_of_our_own_says_its_licence() -> None:
    told = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = [name for name in told.split("\0") if name and (ROOT / name).is_file() and not name.startswith(NOT_THESE)]
    own = [
        name
        for name in names
        if Path(name).suffix in KINDS or name in BY_NAME or (name.startswith("scripts/") and not Path(name).suffix)
    ]
    assert {"Containerfile", "docs/dsr.svg", "scripts/check", "tests/browser/drive.mjs", "xdplb/__init__.py"} <= set(
        own
    )
    assert [name for name in own if not has_licence(name)] == []


def test_what_runs_in_the_kernel_may_be_had_under_its_licence() -> None:
    programs = [path for path in (ROOT / "bpf").rglob("*") if path.suffix in {".c", ".h"}]
    assert programs
    assert [
        path.name
        for path in programs
        if f"{LINE}GPL-2.0-only OR Apache-2.0" not in path.read_text().splitlines()[0].replace("(", "").replace(")", "")
    ] == []
