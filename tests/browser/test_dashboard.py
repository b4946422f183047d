# SPDX-License-Identifier: Apache-2.0
"""The dashboard in a real browser: Debian's Chromium, driven by playwright-core, over a real daemon's API.

`XDPLB_PICTURES=FOLDER` has the pages drawn into files there, for the README.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.cli_harness import Daemon, running_daemon
from tests.netns.balancer import PATIENCE

HERE = Path(__file__).parent
CHROMIUM = shutil.which("chromium")
Drive = Callable[..., Any]


pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


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


@pytest.fixture
def drive(daemon: tuple[Daemon, str], tokens: dict[str, str]) -> Drive:
    """Run a scenario of drive.mjs and return what it found; the page must have behaved in any case."""

    def run(scenario: str, role: str = "operate", *, noisy: bool = False, **more: object) -> Any:
        asked = {"base": daemon[1], "token": tokens[role], "chromium": CHROMIUM, "patience": PATIENCE, **more}
        told = subprocess.run(
            ["node", "drive.mjs", scenario],
            input=json.dumps(asked),
            cwd=HERE,
            capture_output=True,
            text=True,
            check=False,
            timeout=150,
        )
        assert told.returncode == 0, told.stderr
        seen = json.loads(told.stdout)
        assert "failed" not in seen, seen["failed"]
        assert seen["errors"] == []
        assert seen["hosts"] == [daemon[1].removeprefix("http://")], "a request left the host"
        assert noisy or seen["console"] == []
        return seen["found"]

    return run


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_each_page_shows_what_there_is(drive: Drive, scheme: str) -> None:
    found = drive("pages", scheme=scheme, pictures=os.environ.get("XDPLB_PICTURES"))
    assert found["address"].endswith("/#/vips"), "the token is still in the address"
    assert "203.0.113.10:80/tcp" in found["vips"]
    assert "10.0.0.13" in found["vip/web"]
    assert "slots" in found["vip/web"]
    assert "generation" in found["nodes"].lower()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_has_no_serious_finding(drive: Drive, scheme: str) -> None:
    found = drive("axe", scheme=scheme)
    assert len(found) == 7
    assert {page: findings for page, findings in found.items() if findings} == {}


def test_a_drain_from_the_click_to_the_certificate(drive: Drive) -> None:
    found = drive("drain")
    assert "change owners" in found["effect"]
    assert "at risk" in found["effect"]
    assert found["before"]["admin_state"] == "ready", "the forecast must change nothing"
    assert "drained" in found["after"]
    assert "Certificate of the drain" in found["card"]


def test_a_weight_is_changed_and_a_wrong_one_is_refused_in_words(drive: Drive, daemon: tuple[Daemon, str]) -> None:
    found = drive("weight", noisy=True)  # the browser notes the refused request on its console
    assert "weight" in found["refused"]
    shown = json.loads(daemon[0].ok("backend", "show", "web", "10.0.0.11", "-o", "json").stdout)
    assert shown["weight"] == 3


def test_a_wrong_token_is_refused_and_a_right_one_lets_in(drive: Drive) -> None:
    found = drive("refused", noisy=True)
    assert "xdplb token add" in found["first"]
    assert "no such token" in found["second"]


def test_who_may_only_read_has_no_button_that_changes_anything(drive: Drive) -> None:
    found = drive("reader", role="read")
    assert found["buttons"] == []
    assert "role read" in found["header"]


def test_it_can_be_used_by_keyboard(drive: Drive) -> None:
    assert drive("keyboard")["focus"][-1] == "Drain"


def test_it_fits_a_phone(drive: Drive) -> None:
    assert {page: wider for page, wider in drive("phone", width=390, height=800).items() if wider > 0} == {}


def test_a_lost_connection_is_told_and_comes_back(drive: Drive) -> None:
    found = drive("lost", noisy=True)
    assert "lost" in found["lost"]
    assert found["alerts"] == 0


def test_events_come_as_they_happen(drive: Drive) -> None:
    drive("live")


def test_a_packet_is_explained_step_by_step(drive: Drive) -> None:
    found = drive("explain", noisy=True)
    assert "nonsense" in found["refused"]
    assert "10.0.0.1" in found["way"]
