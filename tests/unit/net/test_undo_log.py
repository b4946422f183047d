# SPDX-License-Identifier: Apache-2.0
"""What is to be undone survives, and what several VIPs need is undone with the last of them."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from xdplb.model.errors import PlatformError
from xdplb.net.undo_log import UndoLog

ONE, TWO = IPv4Address("203.0.113.10"), IPv4Address("203.0.113.11")


def keys(folder: Path, vip: IPv4Address) -> list[str]:
    """Return what a new process would undo."""
    return [entry.key for entry in UndoLog(folder).of(vip)]


def test_the_newest_change_is_undone_first(tmp_path: Path) -> None:
    log = UndoLog(tmp_path)
    log.note(ONE, "a", "0", "1")
    log.note(ONE, "b", "0", "1")
    assert keys(tmp_path, ONE) == ["b", "a"]


def test_a_change_goes_with_its_last_vip(tmp_path: Path) -> None:
    log = UndoLog(tmp_path)
    log.note(ONE, "a", "0", "1")
    log.share(TWO, "a")
    log.share(TWO, "never ours")
    log.forget(ONE, log.of(ONE)[0])
    assert (keys(tmp_path, ONE), keys(tmp_path, TWO)) == ([], ["a"])
    log.forget(TWO, log.of(TWO)[0])
    assert keys(tmp_path, TWO) == []


def test_what_was_there_before_the_first_change_is_what_counts(tmp_path: Path) -> None:
    log = UndoLog(tmp_path)
    log.note(ONE, "a", "0", "1")
    log.note(TWO, "a", "5", "2")
    (entry,) = UndoLog(tmp_path).of(ONE)
    assert (entry.before, entry.after, entry.vips) == ("0", "2", [str(ONE), str(TWO)])


@pytest.mark.parametrize("content", ["{", "[1]", '[{"key": "a", "other": 1}]'])
def test_a_damaged_log_is_reported_and_kept(tmp_path: Path, content: str) -> None:
    path = tmp_path / "backend-host.json"
    path.write_text(content)
    with pytest.raises(PlatformError, match="cannot be read"):
        UndoLog(tmp_path)
    assert path.read_text() == content
