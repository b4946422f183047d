# SPDX-License-Identifier: Apache-2.0
"""The dashboard in a real browser, for what needs no packets: over a daemon with a data plane in memory.

`test_live_dashboard.py` has what does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.browser.driven import Browser, running_browser
from tests.contract.cli_harness import Daemon, running_daemon

Drive = Callable[..., Any]

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, str]]:
    folder = tmp_path_factory.mktemp("daemon")
    log = folder / "log"
    api = {"listen": [f"unix:{folder / 'api.sock'}", "127.0.0.1:0"]}
    with log.open("w") as written, running_daemon(folder, log=written.fileno(), api=api) as running:
        running.ok("vip", "add", "203.0.113.10:80/tcp", "--name", "web", "--forward", "dr")
        running.ok("vip", "add", "[2001:db8::10]:443/tcp+udp", "--forward", "gue")
        for number in (11, 12, 13):
            running.ok("backend", "add", "web", f"10.0.0.{number}")
        running.ok("backend", "add", "[2001:db8::10]:443/tcp+udp", "2001:db8:1::11")
        base = next(word.rstrip(",") for word in log.read_text().split() if word.startswith("http://127.0.0.1:"))
        yield running, base


@pytest.fixture(scope="module")
def tokens(daemon: tuple[Daemon, str]) -> dict[str, str]:
    return {
        role: daemon[0].ok("token", "add", role, "--role", role).stdout.strip() for role in ("read", "operate", "admin")
    }


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as running:
        yield running


@pytest.fixture
def drive(daemon: tuple[Daemon, str], tokens: dict[str, str], browser: Browser) -> Drive:
    """Run a scenario of drive.mjs and return what it found."""

    def run(scenario: str, role: str = "operate", **more: Any) -> Any:
        return browser.do(scenario, daemon[1], token=tokens[role], vip="web", **more)

    return run


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_has_no_serious_finding(drive: Drive, scheme: str) -> None:
    found = drive("axe", scheme=scheme)
    assert len(found) == 7
    assert {page: findings for page, findings in found.items() if findings} == {}


def test_a_weight_is_changed_and_a_wrong_one_is_refused_in_words(drive: Drive, daemon: tuple[Daemon, str]) -> None:
    found = drive("weight", noisy=True)  # the browser notes the refused request on its console
    assert "weight" in found["refused"]
    shown = json.loads(daemon[0].ok("backend", "show", "web", "10.0.0.11", "-o", "json").stdout)
    assert shown["weight"] == 3


def test_who_may_only_read_has_no_button_that_changes_anything(drive: Drive) -> None:
    found = drive("reader", role="read")
    assert found["buttons"] == []
    assert "role read" in found["header"]


def test_it_can_be_used_by_keyboard(drive: Drive) -> None:
    assert drive("keyboard")["focus"][-1] == "Drain"


def test_it_fits_a_phone(drive: Drive) -> None:
    found = drive("phone", width=390, height=800)
    assert len(found) == 6
    assert {page: how for page, how in found.items() if how["wider"] > 0 or how["scrolled"]} == {}


def test_events_come_as_they_happen(drive: Drive) -> None:
    drive("events")


def test_a_packet_is_explained_step_by_step(drive: Drive) -> None:
    found = drive("explain", noisy=True)
    assert "nonsense" in found["refused"]
    assert "10.0.0.1" in found["way"]
