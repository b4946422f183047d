# SPDX-License-Identifier: Apache-2.0
"""Tables are aligned and plain unless they go to a terminal."""

from __future__ import annotations

import io
import sys

import pytest

from xdplb.cli.output import Column, colour_wanted, coloured, print_fields, print_json, table


def test_a_table_is_aligned_and_has_no_colour_in_a_pipe(capsys: pytest.CaptureFixture[str]):
    table(
        [Column("BACKEND"), Column("WEIGHT", right=True), Column("HEALTH", style=coloured)],
        [("10.0.0.1", 1, "up"), ("10.0.0.111", 100, "down"), ("10.0.0.2", 0, None)],
    )
    assert capsys.readouterr().out.splitlines() == [
        "BACKEND     WEIGHT  HEALTH",
        "10.0.0.1         1  up",
        "10.0.0.111     100  down",
        "10.0.0.2         0  -",
    ]


def test_an_empty_table_has_its_headings(capsys: pytest.CaptureFixture[str]):
    table([Column("VIP"), Column("NAME")], [])
    assert capsys.readouterr().out == "VIP  NAME\n"


def test_fields_are_aligned(capsys: pytest.CaptureFixture[str]):
    print_fields([("vip", "x"), ("generation", 7), ("name", None)])
    assert capsys.readouterr().out == "vip         x\ngeneration  7\nname        -\n"


def test_a_body_is_printed_as_it_came(capsys: pytest.CaptureFixture[str]):
    print_json(b'{"a":1,  "b":"\xc3\xa9"}')
    assert capsys.readouterr().out == '{"a":1,  "b":"é"}\n'


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("no_colour", "wanted"), [(None, True), ("", True), ("1", False)])
def test_a_terminal_has_colour_unless_it_is_declined(
    monkeypatch: pytest.MonkeyPatch, no_colour: str | None, wanted: bool
):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_colour is not None:
        monkeypatch.setenv("NO_COLOR", no_colour)
    assert colour_wanted() is wanted
    table([Column("HEALTH", style=coloured)], [("up",)])
    assert ("\x1b[32mup" in terminal.getvalue()) is wanted
