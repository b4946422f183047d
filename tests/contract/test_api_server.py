# SPDX-License-Identifier: Apache-2.0
"""The API's socket: who may use it, what happens to an old one, and how serving ends."""

from __future__ import annotations

import grp
import http.client
import json
import os
import pwd
import signal
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.asking import ApiConnection
from tests.bystander import NOBODY
from xdplb.model.errors import ConflictError, InvalidError, PlatformError, XdplbError
from xdplb.model.role import Role
from xdplb_api.listener import listen
from xdplb_api.rights.socket_roles import SocketRoles

PROGRAM = """
import asyncio, os, signal, sys
from starlette.requests import Request
from xdplb_api import server
from xdplb_api.limits import Limits
from xdplb_api.listener import listen
from xdplb_api.middleware import InternalErrors
from xdplb_api.peer import actor_of
from xdplb_api.rights.hosts import Hosts, KnownHosts
from xdplb_api.server import Service, Stop, serve

server.GRACE_SECONDS = 1

async def app(scope, receive, send):
    body = b"done"
    if scope["path"] == "/who":
        body = str(actor_of(Request(scope))).encode()
    elif scope["path"] == "/slow-end":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})
        await asyncio.sleep(60)
    else:
        await asyncio.sleep(float(scope["path"].strip("/") or 0))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})

async def main():
    os.umask(int(sys.argv[2], 8))
    listener = listen(sys.argv[1])
    stop = Stop()
    for number in signal.SIGTERM, signal.SIGINT:
        asyncio.get_running_loop().add_signal_handler(number, stop)
    told = lambda: print(listener, flush=True)
    service = Service(KnownHosts(InternalErrors(app), Hosts()), [listener], Limits())
    await serve([service], stop=stop, on_started=told)
    print("returned", flush=True)

asyncio.run(main())
"""


@contextmanager
def serving(where: str, umask: str = "022") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Serve in a process of its own; yield it and where it says it listens."""
    command = [sys.executable, "-c", PROGRAM, where, umask]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def _get(connection: http.client.HTTPConnection, path: str = "/", **headers: str) -> tuple[int, bytes]:
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "api.sock"


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", ["000", "022", "077"])
def test_the_unix_socket_is_for_its_owner_and_group_whatever_the_umask(path: Path, umask: str):
    with serving(f"unix:{path}", umask) as (_, told):
        assert told == f"unix:{path}"
        assert _mode(path) == 0o660
        assert _get(ApiConnection(path)) == (200, b"done")


def test_at_no_moment_may_others_connect(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Path, "chmod", lambda *_: None)
    before = os.umask(0)
    try:
        listener = listen(f"unix:{path}")
    finally:
        os.umask(before)
    assert _mode(path) == 0o660
    listener.close()


def test_it_knows_which_process_is_at_the_other_end(path: Path):
    with serving(f"unix:{path}"):
        user = pwd.getpwuid(os.getuid()).pw_name
        mine = f"unix(uid={os.getuid()},pid={os.getpid()},user={user},role=admin)".encode()
        assert _get(ApiConnection(path), "/who") == (200, mine)
    with serving("127.0.0.1:0") as (_, told):
        connection = http.client.HTTPConnection("127.0.0.1", int(told.rpartition(":")[2]), timeout=10)
        connection.connect()
        _, port = connection.sock.getsockname()
        assert _get(connection, "/who") == (200, f"tcp(peer=127.0.0.1:{port})".encode())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file to another group")
def test_the_socket_is_given_to_the_group_that_may_use_it(path: Path):
    group = grp.getgrall()[-1]
    listener = listen(f"unix:{path}", SocketRoles.of([(Role.OPERATE, group.gr_name)]))
    assert (path.stat().st_gid, _mode(path)) == (group.gr_gid, 0o660)
    listener.close()


def test_the_socket_of_a_killed_daemon_is_replaced(path: Path):
    with serving(f"unix:{path}") as (process, _):
        process.kill()
        process.wait()
        assert path.exists()
        with serving(f"unix:{path}"):
            assert _get(ApiConnection(path)) == (200, b"done")


def test_the_socket_of_a_living_daemon_is_refused_by_its_process(path: Path):
    with serving(f"unix:{path}") as (process, _):
        with pytest.raises(ConflictError, match=f"process {process.pid}") as refusal:
            listen(f"unix:{path}")
        assert refusal.value.hint
        assert _get(ApiConnection(path)) == (200, b"done")


def test_a_file_that_is_no_socket_is_left_alone(path: Path):
    path.parent.mkdir()
    path.write_text("precious")
    with pytest.raises(ConflictError, match="not a socket"):
        listen(f"unix:{path}")
    assert path.read_text() == "precious"


def test_closing_leaves_the_socket_of_a_successor(path: Path):
    first = listen(f"unix:{path}")
    path.unlink()
    second = listen(f"unix:{path}")
    first.close()
    assert path.exists()
    second.close()
    assert not path.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_a_request_finish_and_serving_return(path: Path, number: signal.Signals):
    with serving(f"unix:{path}") as (process, _):
        connection = ApiConnection(path)
        connection.request("GET", "/0.5")
        process.send_signal(number)
        assert connection.getresponse().read() == b"done"
        connection.close()
        told, _ = process.communicate(timeout=10)
    assert "returned" in told
    assert process.returncode == 0
    assert not path.exists()


def test_a_request_that_is_not_done_when_it_stops_is_told_so(path: Path):
    with serving(f"unix:{path}") as (process, _):
        connection = ApiConnection(path)
        connection.request("GET", "/60")
        process.send_signal(signal.SIGTERM)
        answer = connection.getresponse()
        problem = json.loads(answer.read())
        connection.close()
        told, logged = process.communicate(timeout=10)
    assert (answer.status, problem["type"]) == (503, "urn:xdplb:problem:stopping")
    assert problem["hint"]
    assert "returned" in told
    assert "Traceback" not in logged


def test_what_an_answer_leaves_to_be_done_is_cut_off_without_a_traceback_when_it_stops(path: Path):
    with serving(f"unix:{path}") as (process, _):
        assert _get(ApiConnection(path), "/slow-end") == (200, b"done")
        process.send_signal(signal.SIGTERM)
        told, logged = process.communicate(timeout=10)
    assert "returned" in told
    assert "Traceback" not in logged


@pytest.mark.parametrize(
    ("where", "error", "says"),
    [
        ("0.0.0.0:8780", InvalidError, "without TLS"),
        ("192.0.2.1:8780", InvalidError, "without TLS"),
        ("[::]:8780", InvalidError, "without TLS"),
        ("example.org:8780", InvalidError, "not an address to listen on"),
        ("unix:", InvalidError, "unix: has no path"),
        ("unix:api.sock", InvalidError, "'api.sock' is not an absolute path"),
        ("unix:/nonexist/a/api.sock", PlatformError, "the folder /nonexist does not exist"),
        (":8780", InvalidError, "not an address to listen on"),
        ("127.0.0.1", InvalidError, "not an address to listen on"),
        ("127.0.0.1:http", InvalidError, "not an address to listen on"),
        ("127.0.0.1:65536", InvalidError, "not an address to listen on"),
        ("unix:/dev/null/api.sock", PlatformError, "cannot listen on unix:/dev/null/api.sock"),
        (f"unix:/tmp/{'x' * 120}", PlatformError, "cannot listen"),
    ],
)
def test_where_it_cannot_be_served_is_said_in_a_sentence_with_a_remedy(where: str, error: type[XdplbError], says: str):
    with pytest.raises(error, match=says) as refusal:
        listen(where)
    assert refusal.value.hint


def test_a_port_in_use_is_a_conflict():
    first = listen("127.0.0.1:0")
    port = first.socket.getsockname()[1]
    with pytest.raises(ConflictError, match="in use"):
        listen(f"127.0.0.1:{port}")
    first.close()


def test_a_client_that_resets_before_it_is_accepted_is_no_error(capfd: pytest.CaptureFixture[str]):
    with serving("127.0.0.1:0") as (process, told):
        port = int(told.rpartition(":")[2])
        process.send_signal(signal.SIGSTOP)
        client = socket.create_connection(("127.0.0.1", port))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        process.send_signal(signal.SIGCONT)

        status, body = _get(http.client.HTTPConnection("127.0.0.1", port, timeout=10), "/who")

    assert (status, body[:19]) == (200, b"tcp(peer=127.0.0.1:")
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("where", ["127.0.0.1:0", "localhost:0", "[::1]:0"])
def test_over_tcp_what_a_web_page_could_send_is_refused(where: str):
    if where.startswith("[") and not Path("/proc/net/if_inet6").exists():
        pytest.skip("no IPv6 here")
    with serving(where) as (_, told):
        host, _, digits = told.removeprefix("http://").rpartition(":")
        address, port = host.strip("[]"), int(digits)

        def get(**headers: str) -> int:
            status, body = _get(http.client.HTTPConnection(address, port, timeout=10), **headers)
            assert (status == 200) is (body == b"done")
            return status

        assert get() == 200
        assert get(Host=f"localhost:{port}") == 200
        assert get(Host=f"localhost:{port}", Origin=f"http://localhost:{port}") == 200
        assert get(Host=f"rebound.example:{port}") == 421
        assert get(Host="10.0.0.1") == 421
        assert get(Host="[") == 421
        assert get(Origin="https://page.example") == 403
        assert get(Origin="null") == 403


def test_the_folder_of_the_socket_is_one_that_the_group_can_pass_through(tmp_path: Path):
    before = os.umask(0o077)
    try:
        listen(f"unix:{tmp_path / 'run' / 'api.sock'}").close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o755


def test_a_folder_where_others_could_replace_the_socket_is_refused(tmp_path: Path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(PlatformError, match=f"other users may write to {tmp_path}/open") as refusal:
        listen(f"unix:{tmp_path / 'open' / 'api.sock'}")
    assert refusal.value.hint == f"chmod go-w {tmp_path}/open, or use another folder"
    (tmp_path / "open").chmod(0o1777)  # as /tmp is
    listen(f"unix:{tmp_path / 'open' / 'api.sock'}").close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_a_folder_of_another_user_is_refused(tmp_path: Path):
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", NOBODY, NOBODY)
    with pytest.raises(PlatformError, match=f"belongs to user {NOBODY}, who could replace the API's socket"):
        listen(f"unix:{tmp_path / 'theirs' / 'api.sock'}")
