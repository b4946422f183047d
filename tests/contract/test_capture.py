# SPDX-License-Identifier: Apache-2.0
"""`/v1/capture` and `xdplb capture` as users see them, over a data plane in memory: their files have no packets."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest
from scapy.utils import PcapNgReader

from tests.contract.api_harness import WEB, problem_of, running_api
from tests.contract.cli_harness import Daemon, running_daemon
from tests.waiting import until
from xdplb.cli.main import cli
from xdplb_api.app import create_app

VIP = "203.0.113.10:443/tcp"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_daemon(tmp_path_factory.mktemp("daemon")) as daemon:
        daemon.ok("vip", "add", VIP, "--name", "web")
        yield daemon


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon that a test may end."""
    with running_daemon(tmp_path) as daemon:
        yield daemon


def is_capturing(daemon: Daemon) -> bool:
    return "capture" in json.loads(daemon.get("/v1/dataplane"))["features"]


def frames(file: Path) -> int:
    """Return how many frames a file has, which must be a whole one."""
    return len(list(PcapNgReader(io.BytesIO(file.read_bytes()))))


@contextmanager
def started(daemon: Daemon, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `xdplb capture` from when the daemon captures, and kill it where it has not ended."""
    command = [str(Path(sys.executable).with_name("xdplb")), "--socket", str(daemon.socket), "capture", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline() == b"capturing; Ctrl-C stops it\n"
            assert is_capturing(daemon)
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[bytes]) -> str:
    """Wait until it has ended by itself, and return what it said."""
    return process.communicate(timeout=20)[1].decode()


@pytest.mark.parametrize(
    ("query", "status", "pointer"),
    [
        ("vip=nobody", 404, "/query/vip"),
        ("client=nobody", 422, "/query/client"),
        ("client=192.0.2.7/24", 422, "/query/client"),
        ("client=192.0.2.7:0", 422, "/query/client"),
        ("vip=web&client=2001:db8::9", 422, "/query/client"),
        ("packets=0", 422, "/query/packets"),
        ("packets=some", 422, "/query/packets"),
        ("seconds=0", 422, "/query/seconds"),
        ("seconds=nan", 422, "/query/seconds"),
        ("sample=0", 422, "/query/sample"),
        ("sample=4294967296", 422, "/query/sample"),
        ("snaplen=13", 422, "/query/snaplen"),
        ("snaplen=16385", 422, "/query/snaplen"),
        ("snap=64", 422, "/query/snap"),
    ],
)
def test_what_is_wrong_is_a_problem_before_anything_begins(query: str, status: int, pointer: str) -> None:
    with running_api() as api:
        api.add("/v1/vips", WEB)
        problem = problem_of(api.ask("GET", f"/v1/capture?{query}"), status)
        assert [error["pointer"] for error in problem["errors"]] == [pointer]
        assert "start_capture" not in api.plane.calls


def test_the_answer_is_a_pcapng_file(tmp_path: Path) -> None:
    with running_api() as api:
        answer = api.ask("GET", "/v1/capture?seconds=0.1")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-pcapng")
        (tmp_path / "file").write_bytes(answer.content)
        assert frames(tmp_path / "file") == 0
        assert api.plane.calls[-1] == "stop_capture"


def test_the_command_takes_what_the_api_takes() -> None:
    document = create_app(None, version="0").openapi()  # type: ignore[arg-type]
    api = {each["name"]: each["schema"] for each in document["paths"]["/v1/capture"]["get"]["parameters"]}
    command = cli.get_command(click.Context(cli), "capture")
    assert command is not None
    options = {option.name: option for option in command.params if isinstance(option, click.Option)}
    assert set(api) - {"vip", "client"} == set(options) - {"path", "help", "as_json"}
    snaplen = options["snaplen"]
    assert isinstance(snaplen.type, click.IntRange)
    assert (snaplen.type.min, snaplen.type.max) == (api["snaplen"]["minimum"], api["snaplen"]["maximum"])
    for name in ("snaplen", "sample"):
        assert f"[{api[name]['default']}]" in (options[name].help or "")


def test_a_capture_ends_by_itself_and_says_what_it_has(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "web.pcapng"
    told = daemon.ok("capture", "web", "192.0.2.0/24", "-w", str(file), "--seconds", "0.2", "--sample", "1000000")
    assert (told.stdout, frames(file)) == ("", 0)
    assert f"0 packets (0 frames) in {file}, 0 frames lost" in told.stderr


def test_ctrl_c_ends_it_with_a_whole_file_and_exit_0(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "web.pcapng"
    with started(daemon, VIP, "-w", str(file)) as process:
        until(lambda: file.stat().st_size > 0)
        process.send_signal(signal.SIGINT)
        assert "0 packets (0 frames)" in ended(process)
    assert (process.returncode, frames(file)) == (0, 0)
    until(lambda: not is_capturing(daemon))


def test_a_client_that_dies_ends_it(daemon: Daemon) -> None:
    with started(daemon, "-w", "-") as process:
        process.kill()
    until(lambda: not is_capturing(daemon))


def test_a_daemon_that_is_stopped_ends_the_file(mortal: Daemon, tmp_path: Path) -> None:
    with started(mortal, "-w", str(tmp_path / "all.pcapng")) as process:
        log = mortal.stop()
        assert "0 packets" in ended(process)
    assert process.returncode == 0
    assert "capture ended" in log
    assert "Cancel" not in log, "it was not cut off"
    assert frames(tmp_path / "all.pcapng") == 0


def test_a_daemon_that_dies_leaves_a_whole_file_and_exit_3(mortal: Daemon, tmp_path: Path) -> None:
    with started(mortal, "-w", str(tmp_path / "all.pcapng")) as process:
        until(lambda: (tmp_path / "all.pcapng").stat().st_size > 0)
        mortal.process.kill()
        assert "closed the connection" in ended(process)
    assert process.returncode == 3
    assert frames(tmp_path / "all.pcapng") == 0


def test_a_second_one_is_refused_and_its_file_not_touched(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "mine"
    file.write_text("mine")
    with started(daemon, "-w", "-"):
        told = daemon.run("capture", "-w", str(file))
    assert (told.returncode, file.read_text()) == (4, "mine")
    assert "one can run at a time" in told.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "Missing option '-w'"),
        (("-w", "/dev/null", "--packets", "0"), 2, "--packets"),
        (("-w", "/dev/null", "--snaplen", "13"), 2, "--snaplen"),
        (("-w", "/dev/null", "web", "203.0.113.11:80/tcp"), 2, "both a VIP: name one of each"),
        (("-w", "/dev/null", "192.0.2.7", "192.0.2.8:40000"), 2, "both a client: name one of each"),
        (("-w", "/dev/null", "nobody"), 1, "there is no VIP 'nobody'"),
        (("-w", "/dev/null", "[2001:db8::9]:99999"), 2, "'99999' is not a port"),
        (("-w", "/dev/null", "203.0.113.10:443"), 2, "name the VIP: 203.0.113.10:443/tcp"),
        (("-w", "/no/such/folder/f"), 1, "cannot write /no/such/folder/f"),
    ],
)
def test_wrong_words_are_refused(daemon: Daemon, arguments: tuple[str, ...], code: int, said: str) -> None:
    told = daemon.run("capture", *arguments)
    assert told.returncode == code, told.stderr
    assert said in told.stderr


def test_nothing_is_written_to_a_terminal(daemon: Daemon) -> None:
    controller, terminal = pty.openpty()
    try:
        command = [str(Path(sys.executable).with_name("xdplb")), "--socket", str(daemon.socket), "capture", "-w", "-"]
        told = subprocess.run(command, stdout=terminal, stderr=subprocess.PIPE, text=True, check=False, timeout=20)
    finally:
        os.close(controller)
        os.close(terminal)
    assert told.returncode == 2
    assert "a terminal cannot show a pcapng file" in told.stderr


def test_changes_are_answered_meanwhile(daemon: Daemon) -> None:
    with started(daemon, "-w", "-") as process:
        daemon.ok("vip", "add", "203.0.113.11:80/tcp")
        assert is_capturing(daemon)
        process.send_signal(signal.SIGINT)
        ended(process)
    assert process.returncode == 0
