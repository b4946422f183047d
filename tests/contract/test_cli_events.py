# SPDX-License-Identifier: Apache-2.0
"""`xdplb events`: what has happened, and what happens, also across a restart of the daemon."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from xdplb.client import Client

from .cli_harness import Daemon, running_daemon

KEY = "203.0.113.10:443/tcp"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_daemon(tmp_path_factory.mktemp("events")) as running:
        running.ok("vip", "add", KEY, "--name", "web")
        for number in range(3):
            running.ok("backend", "add", "web", f"10.0.0.{number}")
        running.ok("vip", "add", "203.0.113.11:443/tcp")
        running.ok("vip", "rm", "203.0.113.11:443/tcp")
        yield running


def test_the_last_ones_as_a_table_in_the_order_in_which_they_happened(daemon: Daemon) -> None:
    head, *lines = daemon.ok("events", "--kind", "change", "--vip", "web", "-o", "wide").stdout.splitlines()
    assert head.split() == ["TIME", "LEVEL", "KIND", "WHAT"]
    assert len(lines) == 4
    assert " UTC  notice  change  actor=unix(uid=" in lines[0]
    assert [line.rpartition("backend=")[2] for line in lines[1:]] == ["10.0.0.0", "10.0.0.1", "10.0.0.2"]


def test_as_json_and_the_last_only(daemon: Daemon) -> None:
    body = json.loads(daemon.ok("events", "--kind", "change", "-n", "2", "-o", "json").stdout)
    assert [event["data"]["edit"] for event in body["events"]] == ["create_vip", "delete_vip"]
    assert body["events"][-1]["data"]["changes"][0]["before"]["forward"] == "dr"


def test_what_became_of_a_vip_that_is_gone(daemon: Daemon) -> None:
    body = json.loads(daemon.ok("events", "--since", "1h", "--vip", "203.0.113.11:443/tcp", "-o", "json").stdout)
    assert {event["vip"] for event in body["events"]} == {"203.0.113.11:443/tcp"}
    assert {event["data"]["edit"] for event in body["events"] if event["kind"] == "change"} == {
        "create_vip",
        "delete_vip",
    }


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--kind", "helth"), 2, "did you mean health"),
        (("--since", "soon"), 2, "write it like 1h"),
        (("--level", "loud"), 2, "--level"),
        (("--follow", "--until", "1h"), 2, "--follow has no end"),
        (("--vip", "nobody"), 1, "there is no VIP"),
        (("-n", "0"), 2, "-n"),
    ],
)
def test_what_is_wrong_is_named(daemon: Daemon, arguments: tuple[str, ...], code: int, words: str) -> None:
    told = daemon.run("events", *arguments)
    assert (told.returncode, told.stdout) == (code, "")
    assert words in told.stderr


@contextmanager
def following(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [str(Path(sys.executable).with_name("xdplb")), "--socket", str(folder / "api.sock"), "events", "--follow"]
    with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_followed_it_goes_on_after_a_restart_and_misses_nothing(tmp_path: Path) -> None:
    with running_daemon(tmp_path) as daemon:
        daemon.ok("vip", "add", KEY, "--name", "web")
        with following(tmp_path, "--kind", "change", "-o", "json") as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert json.loads(process.stdout.readline())["data"]["edit"] == "create_vip", "what was before"
            daemon.ok("backend", "add", "web", "10.0.0.1")
            assert json.loads(process.stdout.readline())["backend"] == "10.0.0.1"
            daemon.process.send_signal(signal.SIGKILL)
            daemon.process.wait(10)
            assert "waiting until it is there again" in process.stderr.readline()
            with running_daemon(tmp_path) as again:
                again.ok("backend", "add", "web", "10.0.0.2")
                assert json.loads(process.stdout.readline())["backend"] == "10.0.0.2"


def test_python_programs_ask_for_them_by_page_and_as_they_happen(daemon: Daemon) -> None:
    with Client(socket_path=str(daemon.socket)) as client:
        past = list(client.events.past(kinds=["change"]))
        assert [event["data"]["generation"] for event in past] == list(range(1, len(past) + 1))
        assert client.events.page(limit=1).json()["next"] is not None
        follow = client.events.follow(kinds=["change"], after=past[-2]["id"])
        assert next(follow) == past[-1]
        follow.close()  # type: ignore[attr-defined]
