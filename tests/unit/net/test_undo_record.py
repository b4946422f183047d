"""What is to be undone survives, and what several VIPs need is undone with the last of them."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from xdplb.model.errors import PlatformError
from xdplb.net.undo_record import UndoRecord

ONE, TWO = IPv4Address("203.0.113.10"), IPv4Address("203.0.113.11")


def keys(folder: Path, vip: IPv4Address) -> list[str]:
    """Return what a new process would undo."""
    return [change.key for change in UndoRecord(folder).of(vip)]


def test_the_newest_change_is_undone_first(tmp_path: Path) -> None:
    record = UndoRecord(tmp_path)
    record.note(ONE, "a", "0", "1")
    record.note(ONE, "b", "0", "1")
    assert keys(tmp_path, ONE) == ["b", "a"]


def test_a_change_goes_with_its_last_vip(tmp_path: Path) -> None:
    record = UndoRecord(tmp_path)
    record.note(ONE, "a", "0", "1")
    record.share(TWO, "a")
    record.share(TWO, "never ours")
    record.forget(ONE, record.of(ONE)[0])
    assert (keys(tmp_path, ONE), keys(tmp_path, TWO)) == ([], ["a"])
    record.forget(TWO, record.of(TWO)[0])
    assert keys(tmp_path, TWO) == []


def test_what_was_there_before_the_first_change_is_what_counts(tmp_path: Path) -> None:
    record = UndoRecord(tmp_path)
    record.note(ONE, "a", "0", "1")
    record.note(TWO, "a", "5", "2")
    (change,) = UndoRecord(tmp_path).of(ONE)
    assert (change.before, change.after, change.vips) == ("0", "2", [str(ONE), str(TWO)])


@pytest.mark.parametrize("content", ["{", "[1]", '[{"key": "a", "other": 1}]'])
def test_a_damaged_record_is_said_and_kept(tmp_path: Path, content: str) -> None:
    path = tmp_path / "backend-host.json"
    path.write_text(content)
    with pytest.raises(PlatformError, match="cannot be read"):
        UndoRecord(tmp_path)
    assert path.read_text() == content
