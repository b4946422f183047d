# SPDX-License-Identifier: Apache-2.0
"""The files in which backend-host keeps what it did: for root only, and not in a place where others can write them."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from xdplb.model.errors import PlatformError
from xdplb.net.json_file import write_json


def test_the_file_is_for_its_owner_and_follows_nothing_that_was_planted(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "log.json").symlink_to(precious)
    before = os.umask(0)
    try:
        write_json(tmp_path / "log.json", {"a": 1})
        write_json(tmp_path / "new" / "log.json", {})
    finally:
        os.umask(before)
    assert json.loads((tmp_path / "log.json").read_text()) == {"a": 1}
    assert stat.S_IMODE((tmp_path / "log.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert precious.read_text() == "mine"


def test_a_folder_where_others_may_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(PlatformError, match="other users may write to"):
        write_json(tmp_path / "log.json", {})
