# SPDX-License-Identifier: Apache-2.0
"""Tables fit the room there is, and nothing that does not fit is cut off."""

from __future__ import annotations

import pytest

from xdplb.cli.layout import Output, chosen_output
from xdplb.cli.output import Column, print_fields, table

LONG = "[2001:db8:1234:5678:9abc:def0::/96]:8000-8999/tcp+udp"
REASON = "its check http has failed 3 times: connection refused by 10.0.0.12 port 8080, tried from eth0"
COLUMNS = [Column("VIP"), Column("BACKEND"), Column("WEIGHT", right=True), Column("REASON", text=20)]


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Print a table in so many columns, and return its lines."""

    def show(rows: list[tuple[object, ...]], width: int | None = None) -> list[str]:
        if width is not None:
            monkeypatch.setenv("COLUMNS", str(width))
        table(COLUMNS, rows)
        return capsys.readouterr().out.splitlines()

    return show


def test_a_sentence_is_wrapped_beside_its_row_where_there_is_room(shown):
    lines = shown([("web", "10.0.0.12", 1, REASON), ("web", "10.0.0.13", 1, None)])
    assert lines[0] == "VIP  BACKEND    WEIGHT  REASON"
    assert lines[1].startswith("web  10.0.0.12       1  its check http has failed 3 times:")
    assert lines[2].startswith(" " * 24)
    assert lines[2][24] != " "
    assert lines[-1] == "web  10.0.0.13       1  -"
    assert " ".join(line[24:] for line in lines[1:-1]) == REASON


def test_where_there_is_none_it_is_below_its_row(shown):
    lines = shown([("203.0.113.10:443/tcp", "2001:db8:1234:5678:9abc:def0:1:12", 1, REASON), ("a", "b", 1, None)])
    assert lines[0] == "VIP                   BACKEND                            WEIGHT"
    assert all(line.startswith("    ") for line in lines[2:-1])
    assert " ".join(line.strip() for line in lines[2:-1]) == REASON
    assert lines[-1].split() == ["a", "b", "1"]


def test_a_long_name_has_a_line_of_its_own_and_stays_whole(shown):
    lines = shown([(LONG, "2001:db8:1::11", 1, None), ("web", "10.0.0.11", 2, None)], 60)
    assert lines[1] == LONG
    assert lines[2].split() == ["2001:db8:1::11", "1"]
    assert lines[3].split() == ["web", "10.0.0.11", "2"]
    assert lines[0].index("BACKEND") == lines[2].index("2001") == lines[3].index("10.0")


def test_a_name_that_several_rows_have_is_a_heading(shown):
    lines = shown([(LONG, "2001:db8:1::11", 1, None), (LONG, "2001:db8:1::12", 2, REASON)], 60)
    assert lines[:4] == [
        "VIP",
        "  BACKEND         WEIGHT",
        LONG,
        "  2001:db8:1::11       1",
    ]
    assert lines[4] == "  2001:db8:1::12       2"
    assert " ".join(line.strip() for line in lines[5:]) == REASON


@pytest.mark.parametrize("width", range(40, 130, 3))
@pytest.mark.parametrize("vip", ["web", LONG])
def test_all_fits_and_all_is_there(shown, width: int, vip: str):
    rows = [(vip, f"2001:db8::{i}", i, REASON if i % 2 else None) for i in range(4)]
    lines = shown(rows, width)
    assert max(map(len, lines)) <= max(width, len(LONG))
    text = " ".join(" ".join(lines).split())
    for row in rows:
        assert all(word in text for cell in row if cell is not None for word in str(cell).split())


def test_wide_has_all_columns_and_a_row_a_line(capsys: pytest.CaptureFixture[str]):
    columns = [Column("VIP"), Column("MAC", wide=True), Column("REASON", text=20)]
    rows = [(LONG, "02:00:00:00:00:01", REASON)]
    table(columns, rows)
    assert "MAC" not in capsys.readouterr().out
    token = chosen_output.set(Output.WIDE)
    try:
        table(columns, rows)
    finally:
        chosen_output.reset(token)
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["VIP", "MAC", "REASON"]
    assert row == f"{LONG}  02:00:00:00:00:01  {REASON}"


def test_a_long_value_of_a_field_goes_on_below_its_begin(capsys: pytest.CaptureFixture[str]):
    print_fields([("name", "web"), ("reason", REASON)])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line[:8].strip() for line in lines] == ["name", "reason", ""]
    assert " ".join(line[8:] for line in lines[1:]) == REASON


def test_a_terminal_s_width_counts(shown):
    rows = [("web", "10.0.0.12", 1, REASON)]
    assert len(shown(rows, 160)) == 2
    assert len(shown(rows, 80)) > 2
