# SPDX-License-Identifier: Apache-2.0
"""What is noted of a daemon that announces, for the next one and for those who withdraw it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from tests.contract.cli_daemon import options_in
from xdplb.control.writing.announce_watch import UsedTable
from xdplb.daemon import announced
from xdplb.daemon.announced import foresee_withdrawal, used_table, withdraw
from xdplb.model.announcing import Announcing, OnDaemonLoss, TrackFile
from xdplb.model.errors import PlatformError
from xdplb.net.route_table import KernelTable


def started(folder: Path, **asked: object) -> UsedTable:
    """Return the table of a daemon of this folder that starts with these options; nothing is read of it."""
    options = replace(options_in(folder), announcing=Announcing(**asked))  # type: ignore[arg-type]
    return used_table(options, KernelTable, folder / "run")


def pins(folder: Path) -> Path:
    return options_in(folder).pin_dir


def test_a_table_is_used_from_the_first_route_on(tmp_path: Path) -> None:
    first = started(tmp_path)
    assert not first.is_used
    assert not started(tmp_path).is_used, "that daemon announced nothing"
    assert foresee_withdrawal(pins(tmp_path), tmp_path / "run") == []
    first.begin()
    again = started(tmp_path)
    assert again.is_used
    assert again.earlier == ()
    assert foresee_withdrawal(pins(tmp_path), tmp_path / "run") == [
        "the routes in table 210 that announce VIPs are removed"
    ]


def test_a_table_of_before_is_known_until_it_has_been_emptied(tmp_path: Path) -> None:
    started(tmp_path).begin()
    other = started(tmp_path, table=211)
    assert other.is_used
    assert len(other.earlier) == 1
    other.begin()
    killed = started(tmp_path, table=212)  # before it had emptied the first one
    assert len(killed.earlier) == 2
    killed.begin()
    killed.settled()
    assert started(tmp_path, table=212).earlier == ()


def test_the_files_for_keepalived_are_known_from_the_start_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announced, "withdraw_all", lambda *_: [])
    file = tmp_path / "vrrp"
    file.write_text("0\n")
    gone = TrackFile(tmp_path / "no folder" / "vrrp")
    asked = {"track_files": (gone, TrackFile(file)), "track_weight": -40, "on_daemon_loss": OnDaemonLoss.WITHDRAW}
    started(tmp_path, **asked)
    told = [f"the right to be keepalived's master: {file} says -40"]
    assert withdraw(pins(tmp_path), tmp_path / "run") == told
    assert file.read_text() == "-40\n"
    assert foresee_withdrawal(pins(tmp_path), tmp_path / "run") == [], "the note is gone"


def test_routes_of_another_network_namespace_are_not_this_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started(tmp_path).begin()
    monkeypatch.setattr(announced, "_namespace", lambda: 1)
    with pytest.raises(PlatformError, match="another network namespace"):
        withdraw(pins(tmp_path), tmp_path / "run")
    assert not started(tmp_path).is_used


def test_a_note_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    started(tmp_path).begin()
    (note,) = (tmp_path / "run" / "locks").glob("*.announced")
    for text in ("", "{}", '{"tables": 7}', "\0"):
        note.write_text(text)
        assert not started(tmp_path).is_used
        note.write_text(text)
        assert withdraw(pins(tmp_path), tmp_path / "run") == []


def test_what_was_removed_is_told_in_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started(tmp_path).begin()
    networks = [ip_network(f"203.0.113.{last}/32") for last in range(5)]
    monkeypatch.setattr(announced, "withdraw_all", lambda *_: networks)
    assert withdraw(pins(tmp_path), tmp_path / "run") == [
        "the routes in table 210 that announce 203.0.113.0/32, 203.0.113.1/32, 203.0.113.2/32 and 2 more"
    ]
