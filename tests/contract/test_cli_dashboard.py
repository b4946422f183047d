# SPDX-License-Identifier: Apache-2.0
"""`xdplb dashboard`, and the page as the daemon serves it: what a browser gets, and what nobody gets."""

from __future__ import annotations

import http.client
import http.server
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.asking import asked
from tests.contract.cli_harness import Daemon, running_daemon, xdplb
from tests.waiting import until
from xdplb.client import page_server
from xdplb.client.page_server import PageServer
from xdplb.client.target import Target


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_daemon(tmp_path_factory.mktemp("daemon")) as running:
        running.ok("vip", "add", "203.0.113.10:80/tcp", "--name", "web", "--forward", "dr")
        running.ok("backend", "add", "web", "10.0.0.11")
        yield running


class Page:
    """A running `xdplb dashboard`."""

    def __init__(self, url: str) -> None:
        self.parts = urlsplit(url)
        self.token = self.parts.fragment.removeprefix("token=")

    def ask(self, method: str, path: str, *, token: str | None = "", body: object = None, **headers: str):
        connection = http.client.HTTPConnection("127.0.0.1", self.parts.port, timeout=20)
        return asked(
            connection, method, path, body, token=None if token is None else token or self.token, headers=headers
        )


@contextmanager
def served(daemon: Daemon, *options: str) -> Iterator[tuple[Page, subprocess.Popen[str]]]:
    argv = [
        str(Path(sys.executable).with_name("xdplb")),
        "--socket",
        str(daemon.socket),
        "dashboard",
        "--listen",
        "127.0.0.1:0",
        *options,
    ]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Page(process.stdout.readline().strip()), process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def page(daemon: Daemon) -> Iterator[Page]:
    with served(daemon) as (found, _):
        yield found


def test_the_page_needs_no_token_and_may_load_nothing_from_elsewhere(page: Page) -> None:
    status, headers, body = page.ask("GET", "/", token=None)
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"dashboard/app.js" in body
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'")
    assert "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    status, headers, _ = page.ask("GET", "/dashboard/app.js", token=None)
    assert (status, headers["Content-Type"]) == (200, "text/javascript; charset=utf-8")


def test_an_unchanged_file_is_not_sent_again(page: Page) -> None:
    _, headers, _ = page.ask("GET", "/dashboard/style.css", token=None)
    status, again, body = page.ask("GET", "/dashboard/style.css", token=None, If_None_Match=headers["ETag"])
    assert (status, body, again["ETag"]) == (304, b"", headers["ETag"])


@pytest.mark.parametrize(
    "path", ["/dashboard/none.js", "/dashboard/../app.py", "/dashboard/%2e%2e/app.py", "/dashboard/"]
)
def test_what_is_no_file_of_the_page_is_not_there(page: Page, path: str) -> None:
    assert page.ask("GET", path, token=None)[0] == 404


def test_the_page_cannot_be_written(page: Page) -> None:
    assert page.ask("POST", "/", token=None)[0] == 405


@pytest.mark.parametrize("between", ["/../", "/%2e%2e/", "/..%2F", "//../", "/#/../../"])
def test_the_way_to_the_files_leads_to_no_data_behind_a_proxy_that_resolves_dots(between: str) -> None:
    asked: list[str] = []

    class Daemon(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Daemon) as upstream:
        threading.Thread(target=upstream.serve_forever, args=(0.05,), daemon=True).start()
        target = Target(url=f"http://127.0.0.1:{upstream.server_port}")
        with PageServer(("127.0.0.1", 0), target, read_only=False) as server:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            page = Page(server.url)
            assert page.ask("GET", f"/dashboard{between}v1/status", token=None)[0] == 404
            assert page.ask("GET", "/dashboard/app.js", token=None)[0] == 204
            server.shutdown()
        upstream.shutdown()
    assert asked == ["/dashboard/app.js"]


@contextmanager
def serving(target: Target) -> Iterator[PageServer]:
    """Have a page server in this process."""
    with PageServer(("127.0.0.1", 0), target, read_only=False) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_its_connections_are_bounded_and_who_is_too_many_is_told(daemon: Daemon) -> None:
    with serving(Target(socket_path=str(daemon.socket))) as server, ExitStack() as open_:
        before = threading.active_count()

        def connect() -> socket.socket:
            return open_.enter_context(socket.create_connection(("127.0.0.1", server.server_port), timeout=20))

        held = [connect() for _ in range(64)]
        refused, told = connect(), b""
        while part := refused.recv(4096):
            told += part
        assert told.startswith(b"HTTP/1.1 503 "), told
        assert json.loads(told.partition(b"\r\n\r\n")[2])["type"] == "urn:xdplb:problem:too-many-connections"
        assert threading.active_count() - before <= 64
        held[0].close()
        until(lambda: Page(server.url).ask("GET", "/", token=None)[0] == 200)


def test_a_connection_that_asks_nothing_is_closed(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_server, "_IDLE_SECONDS", 0.2)
    with (
        serving(Target(socket_path=str(daemon.socket))) as server,
        socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as silent,
    ):
        assert silent.recv(1) == b""


def test_data_needs_the_token(page: Page) -> None:
    for token in (None, "xdplb_wrong", page.token[:-1]):
        for path in ("/v1/status", "/metrics", "/openapi.json", "/healthz"):
            assert page.ask("GET", path, token=token)[0] == 401, (token, path)
    status, _, body = page.ask("GET", "/v1/status")
    assert (status, json.loads(body)["vips"][0]["name"]) == (200, "web")


def test_a_page_of_another_name_gets_nothing(page: Page) -> None:
    for path in ("/", "/v1/status"):
        status, _, body = page.ask("GET", path, Host="rebound.example")
        assert (status, json.loads(body)["type"]) == (421, "urn:xdplb:problem:wrong-host")


def test_what_is_done_is_done_with_the_rights_of_who_runs_it(page: Page, daemon: Daemon) -> None:
    status, _, body = page.ask("POST", "/v1/vips/web/backends/10.0.0.11/drain?dry_run=true", body={})
    assert (status, json.loads(body)["would_change"]) == (200, True)
    status, _, body = page.ask("POST", "/v1/vips/web/backends/10.0.0.11/drain", body={})
    assert status == 202, body
    events = json.loads(daemon.ok("events", "--kind", "change", "-n", "1", "-o", "json").stdout)["events"]
    assert events[0]["actor"]["kind"] == "unix"
    assert page.ask("DELETE", "/v1/vips/web/backends/10.0.0.11/drain")[0] == 200


def test_a_problem_of_the_daemon_is_passed_on(page: Page) -> None:
    status, headers, body = page.ask("GET", "/v1/vips/none/backends")
    assert (status, headers["Content-Type"]) == (404, "application/problem+json")
    assert "none" in json.loads(body)["detail"]


def test_events_come_as_they_happen(page: Page, daemon: Daemon) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", page.parts.port, timeout=20)
    with closing(connection):
        connection.request(
            "GET", "/v1/events", headers={"Accept": "text/event-stream", "Authorization": f"Bearer {page.token}"}
        )
        stream = connection.getresponse()
        assert stream.readline() == b"retry: 2000\n"
        daemon.ok("backend", "set", "web", "10.0.0.11", "--weight", "7")
        end = time.monotonic() + 10
        while time.monotonic() < end:
            line = stream.readline()
            if line.startswith(b"data: ") and json.loads(line[6:])["kind"] == "change":
                break
        else:
            pytest.fail("no event came")


def test_read_only_changes_nothing_and_says_so_to_the_page(daemon: Daemon) -> None:
    with served(daemon, "--read-only") as (page, _):
        assert json.loads(page.ask("GET", "/v1/whoami")[2])["role"] == "read"
        for method, path in (
            ("POST", "/v1/vips/web/backends/10.0.0.11/drain"),
            ("DELETE", "/v1/vips/web"),
            ("GET", "/v1/capture"),
            ("GET", "/v1/backup"),
            ("GET", "/v1/%62ackup"),
            ("GET", "/v1/backup/"),
            ("GET", "/v1%2Frecords"),
        ):
            assert page.ask(method, path, body={} if method == "POST" else None)[0] == 403, method
        assert page.ask("GET", "/v1/vips/web")[0] == 200


def test_ctrl_c_ends_it_at_once_while_a_browser_follows_the_events(daemon: Daemon) -> None:
    with served(daemon) as (page, process):
        connection = http.client.HTTPConnection("127.0.0.1", page.parts.port, timeout=20)
        with closing(connection):
            connection.request(
                "GET", "/v1/events", headers={"Accept": "text/event-stream", "Authorization": f"Bearer {page.token}"}
            )
            assert connection.getresponse().readline() == b"retry: 2000\n"
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=10) == 0
            assert time.monotonic() - began < 5


def test_a_daemon_that_went_away_is_told_as_such(tmp_path: Path) -> None:
    with running_daemon(tmp_path) as daemon, served(daemon) as (page, _):
        daemon.stop()
        status, _, body = page.ask("GET", "/v1/status")
        assert (status, json.loads(body)["type"]) == (502, "urn:xdplb:problem:daemon-down")


@pytest.mark.parametrize("listen", ["0.0.0.0:8781", "10.0.0.1:80", "nonsense", "127.0.0.1:99999", "[::]:8781"])
def test_it_is_served_on_loopback_only(daemon: Daemon, listen: str) -> None:
    told = xdplb("--socket", str(daemon.socket), "dashboard", "--listen", listen)
    assert told.returncode == 2
    assert "127.0.0.1" in told.stderr


def test_without_a_daemon_it_says_so(tmp_path: Path) -> None:
    assert xdplb("--socket", str(tmp_path / "none.sock"), "dashboard").returncode == 3
