"""docs/keepalived.md has every keyword that the converter knows, and the commands on it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from xdplb.convert import ipvs
from xdplb.convert.keepalived import checks, file, servers

PAGE = (Path(__file__).parents[2] / "docs/keepalived.md").read_text(encoding="utf-8")
WORDS = set(re.findall(r"[\w-]+", " ".join(re.findall(r"`([^`]+)`", PAGE))))
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
