# SPDX-License-Identifier: Apache-2.0
"""Kinds of events: each has a name for machines, a level, a line, and its fields as JSON."""

from __future__ import annotations

import importlib
import json
import logging
import pkgutil
import re

import pytest

from xdplb.control import events
from xdplb.control.edits.edit import DeleteVip
from xdplb.control.events import (
    KINDS,
    Actor,
    ActorKind,
    ChangeMade,
    DrainChanged,
    Event,
    Events,
    HealthChanged,
    Level,
    NextHopChanged,
)
from xdplb.model.backend import Health
from xdplb.model.vip import VipKey


def test_every_kind_has_a_name_of_its_own_and_is_exported() -> None:
    files = [
        importlib.import_module(f"{events.__name__}.{found.name}") for found in pkgutil.iter_modules(events.__path__)
    ]
    classes = {
        item
        for file in files
        for item in vars(file).values()
        if isinstance(item, type) and issubclass(item, Event) and item is not Event
    }
    assert classes == set(KINDS.values())
    assert all(re.fullmatch("[a-z]+(_[a-z]+)*", kind) for kind in KINDS)


@pytest.mark.parametrize(
    ("event", "level"),
    [
        (HealthChanged("v", "b", Health.DOWN, "refused"), Level.WARNING),
        (HealthChanged("v", "b", Health.UP, "200"), Level.NOTICE),
        (HealthChanged("v", "b", Health.UNKNOWN, "new"), Level.NOTICE),
        (NextHopChanged("b", "eth0", "02:00:00:00:00:01", None), Level.INFO),
        (NextHopChanged("b", None, None, "no route"), Level.WARNING),
        (DrainChanged("v", "b", "drained", 0), Level.NOTICE),
        (DrainChanged("v", "b", "timed_out", 3), Level.WARNING),
    ],
)
def test_what_is_good_news_is_no_warning(event: Event, level: Level) -> None:
    assert event.level is level


def test_levels_are_those_of_syslog_and_of_the_log() -> None:
    assert [(level.word, int(level)) for level in Level] == [
        ("critical", 2),
        ("error", 3),
        ("warning", 4),
        ("notice", 5),
        ("info", 6),
        ("debug", 7),
    ]
    assert [logging.getLevelName(level.logged_as) for level in Level] == [level.name for level in Level]


def test_the_log_has_the_level_of_the_event(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        Events().say(HealthChanged("v", "b", "up", "200 OK"))
    assert [(found.levelname, found.getMessage()) for found in caplog.records] == [
        ("NOTICE", "health: vip=v backend=b health=up reason='200 OK'")
    ]


def test_the_data_are_the_fields_as_json() -> None:
    key = VipKey.parse("203.0.113.10:80/tcp")
    event = ChangeMade(Actor(ActorKind.UNIX, 0, 17), 7, "delete_vip", str(key), None, DeleteVip(key))
    data = json.loads(json.dumps(event.data()))
    data = {
        name: value for name, value in data.items() if name not in {"changes", "more_changes", "impact", "warnings"}
    }
    assert data == {
        "actor": {"kind": "unix", "uid": 0, "pid": 17},
        "generation": 7,
        "edit": "delete_vip",
        "vip": "203.0.113.10:80/tcp",
        "backend": None,
    }
