# SPDX-License-Identifier: Apache-2.0
"""docs/keepalived.md has every keyword that the converter knows; what it shows before and after is what is made."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from xdplb.cli.main import cli
from xdplb.convert import ipvs
from xdplb.convert.keepalived import checks, file, servers

PAGE = (Path(__file__).parents[2] / "docs/keepalived.md").read_text(encoding="utf-8")
TEXT = re.sub(r"^```.*?^```", "", PAGE, flags=re.MULTILINE | re.DOTALL)
WORDS = set(re.findall(r"[\w-]+", " ".join(re.findall(r"`([^`]+)`", TEXT))))
KEYWORDS = {
    *servers.WITHOUT,
    *servers.READ - {"flag-1", "flag-2", "flag-3", "retry"},
    *checks.CHECKERS,
    *checks.WITHOUT,
    *checks.TIMES,
    *file.GLOBAL,
    *ipvs.SAME,
    *ipvs.NEAR,
    *ipvs.FALLBACKS,
}


@pytest.mark.parametrize("keyword", sorted(KEYWORDS))
def test_every_keyword_is_explained(keyword: str) -> None:
    assert keyword in WORDS


def test_what_is_shown_after_is_what_convert_makes_of_what_is_shown_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = PAGE.split("## Before and after\n")[1].split("\n## ")[0]
    before, after = re.findall(r"^```\w+\n(.*?)^```", shown, re.MULTILINE | re.DOTALL)
    (command,) = re.findall(r"`xdplb (config convert [^`]+)`", shown)
    monkeypatch.chdir(tmp_path)
    Path("keepalived.conf").write_text(before, encoding="utf-8")
    assert CliRunner().invoke(cli, command.split()).stdout == after
    Path("config.toml").write_text(after, encoding="utf-8")
    checked = CliRunner().invoke(cli, ["config", "check", "-f", "config.toml"])
    assert checked.exit_code == 0, checked.output
