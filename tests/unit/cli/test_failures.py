# SPDX-License-Identifier: Apache-2.0
"""What goes wrong ends in a sentence, a hint and the right exit code."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.scripted_daemon import Script, run_xdplb


def problem(status: int, **fields: object):
    return status, {"Content-Type": "application/problem+json"}, json.dumps({"status": status, **fields}).encode()


@pytest.mark.parametrize(
    ("status", "code"), [(400, 2), (422, 2), (404, 1), (409, 4), (412, 4), (413, 1), (500, 1), (503, 1)]
)
def test_a_problem_becomes_a_sentence_and_an_exit_code(script: Script, status: int, code: int):
    script.raw("GET", "/v1/vips", problem(status, detail="it is wrong", hint="make it right"))
    told = script.run("vip", "ls")
    assert told.returncode == code
    assert told.stdout == ""
    assert told.stderr == "xdplb: error: it is wrong\nhint: make it right\n"


def test_fields_the_sentence_does_not_tell_are_told(script: Script):
    errors = [{"pointer": "/weight", "detail": "too large"}, {"pointer": "/address", "detail": "no address"}]
    script.raw(
        "POST", "/v1/vips/web/backends", problem(422, detail="too large (and 1 more)", errors=errors, hint="try")
    )
    told = script.run("backend", "add", "web", "10.0.0.1")
    assert told.stderr == "xdplb: error: too large (and 1 more)\nhint: /address: no address; try\n"


@pytest.mark.parametrize("body", [b"<html>\nnginx", b"[1]", b'"text"', b"", b"\xff\xfe"])
def test_an_answer_that_is_no_problem_still_makes_a_sentence(script: Script, body: bytes):
    script.raw("GET", "/v1/vips", (502, {}, body))
    told = script.run("vip", "ls")
    assert told.returncode == 1
    assert told.stderr.startswith("xdplb: error: the daemon answered 502")
    assert "Traceback" not in told.stderr


def test_no_daemon_is_exit_3_with_the_command_to_run(tmp_path: Path):
    told = run_xdplb("--socket", str(tmp_path / "none.sock"), "vip", "ls")
    assert told.returncode == 3
    assert "the daemon is not running" in told.stderr
    assert "sudo xdplb up" in told.stderr


def test_a_socket_nobody_listens_on_is_no_daemon(tmp_path: Path):
    path = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    assert run_xdplb("--socket", str(path), "status").returncode == 3


def test_a_port_nobody_listens_on_is_no_daemon():
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        told = run_xdplb("--url", f"http://127.0.0.1:{reserved.getsockname()[1]}", "vip", "ls")
    assert told.returncode == 3


def test_a_daemon_that_hangs_up_is_told_apart(script: Script):
    script.raw("GET", "/v1/vips", None)
    told = script.run("vip", "ls")
    assert told.returncode == 3
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize("url", ["ftp://x", "127.0.0.1:80", "http://", "nonsense"])
def test_a_url_that_is_none_is_refused(url: str):
    told = run_xdplb("--url", url, "vip", "ls")
    assert told.returncode == 2
    assert "such as --url" in told.stderr


def test_the_token_of_the_file_goes_with_each_request(script: Script, tmp_path: Path):
    script.on("GET", "/v1/vips", {"vips": []})
    (tmp_path / "token").touch(0o600)
    (tmp_path / "token").write_text("s3cret\n")
    told = script.run("--token-file", str(tmp_path / "token"), "vip", "ls")
    assert told.returncode == 0
    assert {told["Authorization"] for told in script.headers} == {"Bearer s3cret"}


def test_a_token_file_that_is_missing_is_an_error(tmp_path: Path):
    told = run_xdplb("--token-file", str(tmp_path / "none"), "vip", "ls")
    assert told.returncode == 1
    assert "cannot read the token file" in told.stderr


def test_a_reader_that_has_gone_is_no_error(script: Script):
    import subprocess
    import sys

    script.on("GET", "/v1/vips", {"vips": []})
    xdplb = Path(sys.executable).with_name("xdplb")
    shell = f"set -o pipefail; {xdplb} --socket {script.socket} vip ls | true"
    told = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert told.stderr == ""


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["vpi"], "did you mean xdplb vip?"),
        (["backend", "dran"], "did you mean xdplb backend drain?"),
        (["health", "shw"], "did you mean xdplb health show?"),
        (["backedn-host"], "did you mean xdplb backend-host?"),
        (["vip", "zzzz"], "one of: "),
    ],
)
def test_a_wrong_word_gets_the_nearest_right_one(words: list[str], hint: str):
    told = run_xdplb(*words)
    assert told.returncode == 2
    assert f"hint: {hint}" in told.stderr


def test_a_wrong_option_gets_the_nearest_right_one():
    told = run_xdplb("vip", "add", "203.0.113.10:80/tcp", "--forwrad", "dr")
    assert told.returncode == 2
    assert "--forward" in told.stderr
    assert told.stderr.startswith("xdplb: error: ")


@pytest.mark.parametrize("words", [[], ["vip"], ["backend"], ["decap"]])
def test_a_noun_alone_gets_its_help(words: list[str]):
    told = run_xdplb(*words)
    assert told.returncode == 2
    assert "Commands:" in told.stderr
    assert told.stdout == ""
