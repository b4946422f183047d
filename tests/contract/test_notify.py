# SPDX-License-Identifier: Apache-2.0
"""Events that a daemon hands on to commands and webhooks: `xdplb up --notify FILE`."""

from __future__ import annotations

import json
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.contract.cli_harness import REPOSITORY, WEB, Daemon, running_daemon
from tests.waiting import until
from xdplb.config.faults import ConfigError
from xdplb.daemon.notify_file import read_notify_file

EXAMPLE = REPOSITORY / "docs" / "examples" / "notify" / "notify.toml"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="runs commands as another user")


def script(folder: Path, text: str) -> Path:
    path = folder / "notify.sh"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def written(folder: Path, text: str) -> Path:
    path = folder / "notify.toml"
    path.write_text(text)
    path.chmod(0o600)
    return path


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that nobody may go into; in `free` there nobody may write."""
    folder = tmp_path_factory.mktemp("notify")
    temporary = Path(tempfile.gettempdir())
    for each in (folder, *folder.parents):
        if temporary in each.parents:  # with pytest-xdist there is a folder more between the two
            each.chmod(0o755)
    (folder / "free").mkdir()
    (folder / "free").chmod(0o777)
    return folder


class Hook(ThreadingHTTPServer):
    """A webhook that answers with each of `answers`, then 204."""

    daemon_threads = True

    def __init__(self, answers: list[int]) -> None:
        self.answers, self.got = answers, list[tuple[dict[str, str], dict[str, Any]]]()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook?token=x"


class _Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.got.append((dict(self.headers), body))
        self.send_response(self.server.answers.pop(0) if self.server.answers else 204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def webhook(*answers: int) -> Iterator[Hook]:
    with Hook(list(answers)) as hook:
        threading.Thread(target=hook.serve_forever, daemon=True).start()
        yield hook
        hook.shutdown()


def kinds(hook: Hook) -> list[str]:
    return [body["kind"] for _, body in hook.got]


def metric(daemon: Daemon, name: str) -> float:
    lines = daemon.get("/metrics").decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"xdplb_notify_{name}"))


def test_a_command_gets_the_event_as_nobody(place: Path) -> None:
    out = place / "free" / "out"
    command = script(place, f'{{ id -un; echo "$XDPLB_KIND $XDPLB_VIP"; cat; }} >> {out}.part && mv {out}.part {out}')
    file = written(place, f'[[notify]]\ncommand = ["{command}"]\nkinds = ["change"]\nvips = ["{WEB}"]\n')
    with running_daemon(place, notify=file) as daemon:
        daemon.ok("vip", "add", "203.0.113.99:1/tcp")  # another VIP: it does not get this
        daemon.ok("vip", "add", WEB)
        user, line, body = until(lambda: out.exists() and out.read_text()).splitlines()
        event = json.loads(body)
        assert (user, line) == ("nobody", f"change {WEB}")
        assert (event["kind"], event["vip"], event["data"]["edit"]) == ("change", WEB, "create_vip")
        assert event["node"]
        until(lambda: metric(daemon, "sent_total") == 1)


def test_a_webhook_gets_it_also_if_it_fails_at_first_and_the_end_of_the_daemon(place: Path) -> None:
    with webhook(503) as hook:
        file = written(
            place, f'[[notify]]\nurl = "{hook.url}"\nlevel = "notice"\nheaders = {{ Authorization = "Bearer abc" }}\n'
        )
        with running_daemon(place, notify=file) as daemon:
            until(lambda: "daemon_started" in kinds(hook))
            assert kinds(hook)[0] == kinds(hook)[1]
            assert hook.got[0][0]["Authorization"] == "Bearer abc"
            until(lambda: metric(daemon, "failed_total") == 1 and metric(daemon, "dropped_total") == 0)
            log = daemon.stop()
        assert kinds(hook)[-1] == "daemon_stopped"
        assert "token=x" not in log
        assert "events are not handed on:" in log
        assert "events are handed on again:" in log


def test_what_hangs_or_is_down_delays_no_change_and_leaves_no_child(place: Path) -> None:
    pids = place / "free" / "pids"
    command = script(place, f"sleep 600 & echo $$ $! >> {pids}; wait")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        long = "timeout_seconds = 300"  # a change that waited for them would outlast its client's patience
        file = written(place, f'[[notify]]\ncommand = ["{command}"]\n{long}\n[[notify]]\nurl = "{url}"\n{long}\n')
        with running_daemon(place, notify=file) as daemon:
            started = until(lambda: pids.exists() and pids.read_text()).split()
            for _ in range(5):
                daemon.ok("vip", "add", WEB)
                daemon.ok("vip", "rm", WEB)
            until(lambda: metric(daemon, "waiting") >= 20)
            assert metric(daemon, "sent_total") == metric(daemon, "failed_total") == 0
            daemon.process.kill()
            daemon.process.wait()
            until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started))


def test_what_is_refused_is_dropped_and_told_once(place: Path) -> None:
    with webhook(*[404] * 100) as hook:
        file = written(place, f'[[notify]]\nurl = "{hook.url}"\nkinds = ["change"]\n')
        with running_daemon(place, notify=file) as daemon:
            for _ in range(2):
                daemon.ok("vip", "add", WEB)
                daemon.ok("vip", "rm", WEB)
            until(lambda: metric(daemon, "dropped_total") == 4)
            hook.answers.clear()
            daemon.ok("vip", "add", WEB)
            until(lambda: metric(daemon, "sent_total") == 1)
            log = daemon.stop()
    assert log.count("events are not handed on: ") == 1
    assert "it answered 404" in log
    assert "dropped=4" in log


def test_a_reload_takes_what_is_right_and_refuses_what_is_not(place: Path) -> None:
    with webhook() as hook:
        file = written(place, "notify = []\n")
        with running_daemon(place, notify=file) as daemon:
            written(place, f'[[notify]]\nurl = "{hook.url}"\nkinds = ["change"]\n')
            daemon.process.send_signal(signal.SIGHUP)
            until(lambda: "xdplb_notify_waiting{" in daemon.get("/metrics").decode())
            written(place, '[[notify]]\nurl = "ftp://x"\n')
            daemon.process.send_signal(signal.SIGHUP)
            until(lambda: "notify_refused" in daemon.ok("events").stdout)
            daemon.ok("vip", "add", WEB)
            until(lambda: kinds(hook) == ["change"])
            assert "notify.toml:2:7: url should be one such as" in daemon.stop()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "1:1: notify is missing"),
        ("[[notify]]\n", "1:1: give either command or url"),
        ('[[notify]]\ncommand = ["x"]\n', "2:11: command should begin with a path"),
        ('[[notify]]\ncommand = "/x"\n', "2:11: command should be an array"),
        ('[[notify]]\nurl = "http://a/"\nuser = "root"\n', "1:1: user is for a command, and this is a url"),
        ('[[notify]]\nurl = "http://u:p@a/"\n', "2:7: url should be one such as"),
        ('[[notify]]\nurl = "http://a/"\nkind = []\n', "3:1: kind is not a field of [[notify]]"),
        ('[[notify]]\nurl = "http://a/"\nkinds = ["nope"]\n', "3:10: there is no kind of event 'nope'"),
        ('[[notify]]\nurl = "http://a/"\nkinds = ["notify_works"]\n', "3:10: there is no kind"),
        ('[[notify]]\nurl = "http://a/"\nvips = ["web"]\n', "3:9: 'web' is not a VIP"),
        ('[[notify]]\nurl = "http://a/"\ntimeout_seconds = 0\n', "3:19: timeout_seconds should be at least 0.1, not 0"),
        ('[[notify]]\nurl = "http://a/"\nlevel = "bad"\n', '3:9: level "bad" is not supported'),
    ],
)
def test_a_wrong_file_is_refused_in_words(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_notify_file(written(tmp_path, text))
    assert f"notify.toml:{words}" in str(refused.value)


def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, "notify = []\n")
    file.chmod(0o666)
    with pytest.raises(ConfigError, match="other users may write to it"):
        read_notify_file(file)


def test_the_example_is_right(tmp_path: Path) -> None:
    command, hook = read_notify_file(written(tmp_path, EXAMPLE.read_text()))
    assert (command.name, hook.name) == ("/etc/xdplb/notify.sh", "https://alerts.example.net/xdplb")


def test_root_is_run_if_asked_and_a_missing_file_is_told(place: Path) -> None:
    out = place / "free" / "out"
    command = script(place, f"id -un > {out}.part && mv {out}.part {out}")
    file = written(place, f'[[notify]]\ncommand = ["{command}"]\nuser = "root"\nkinds = ["daemon_started"]\n')
    with running_daemon(place, notify=file):
        assert until(lambda: out.exists() and out.read_text()) == "root\n"
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_notify_file(place / "none.toml")
