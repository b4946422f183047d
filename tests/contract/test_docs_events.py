# SPDX-License-Identifier: Apache-2.0
"""docs/events.md has every kind of event, with its level and its fields, and every option of the command."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import click
import pytest

from tests.contract.test_cli_help import COMMANDS
from xdplb.control.edits.edit import DeleteVip
from xdplb.control.events import DAEMON, KINDS, ChangeMade, Event
from xdplb.model.vip import VipKey

PAGE = (Path(__file__).parents[2] / "docs" / "events.md").read_text(encoding="utf-8")
ROWS = {row[0]: row[1:] for row in re.findall(r"^\| `([a-z_]+)` \|([^|]*)\|([^|]*)\| (.+) \|$", PAGE, re.MULTILINE)}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_there_with_its_level_and_its_fields(kind: str) -> None:
    level, told, when = ROWS[kind]
    event = KINDS[kind]
    assert (event.LEVEL.word in level) or (event.level is not Event.level and " if " in level)
    named = [one.name for one in fields(event) if one.repr]
    if event is ChangeMade:
        key = VipKey.parse("203.0.113.10:80/tcp")
        named = list(ChangeMade(DAEMON, 1, "delete_vip", str(key), None, DeleteVip(key)).data())
    assert re.findall(r"`([a-z_]+)`", told) == named
    assert len(when) > 10


def test_no_kind_is_there_that_does_not_exist() -> None:
    assert set(ROWS) == set(KINDS)


def test_every_option_is_there() -> None:
    options = {option.opts[-1] for option in COMMANDS["events"].params if isinstance(option, click.Option)}
    assert not [option for option in options - {"--output", "--help"} if f"`{option}" not in PAGE]


@pytest.mark.parametrize("option", ["--events-max", "--events-max-age", "--log-format", "--api-event-readers"])
def test_every_option_of_up_about_events_is_there(option: str) -> None:
    assert option in {each.opts[-1] for each in COMMANDS["up"].params if isinstance(each, click.Option)}
    assert f"{option} " in PAGE
