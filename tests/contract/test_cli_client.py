# SPDX-License-Identifier: Apache-2.0
"""How a command finds its daemon, waits for it, and what it loads for that."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .cli_harness import Daemon, xdplb


def test_waiting_for_a_daemon_that_does_not_come_is_exit_5(tmp_path: Path):
    told = xdplb("--socket", str(tmp_path / "none.sock"), "status", "--wait", "--timeout", "300ms")
    assert told.returncode == 5
    assert "not ready after 300ms" in told.stderr


def test_the_version_is_that_of_the_command_and_of_the_daemon(daemon: Daemon, tmp_path: Path):
    told = json.loads(daemon.ok("version", "-o", "json").stdout)
    daemon_s = told.pop("daemon")
    assert {**told, "api": "v1"} == daemon_s
    shown = daemon.ok("version").stdout
    assert shown.count(f"{told['version']}, commit {told['commit'][:12]}, map layout {told['map_layout']}\n") == 2
    alone = xdplb("--socket", str(tmp_path / "none.sock"), "version")
    assert alone.returncode == 0
    assert "does not answer" in alone.stdout


def test_the_option_version_is_that_of_the_command(daemon: Daemon):
    assert (
        daemon.ok("--version").stdout == f"xdplb {json.loads(daemon.ok('version', '-o', 'json').stdout)['version']}\n"
    )


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1", "http://127.0.0.1:port", "http://[::1"])
def test_a_url_that_is_none_is_one_sentence(url: str):
    told = xdplb("--url", url, "vip", "ls")
    assert told.returncode == 2
    assert told.stderr.splitlines() == [
        f"xdplb: error: {url!r} is not the URL of a daemon",
        "hint: such as --url http://127.0.0.1:8080",
    ]


def test_a_nic_that_is_not_there_is_named_with_those_there_are():
    told = xdplb("backend-host", "show", "203.0.113.10", "--interface", "nosuch0")
    assert told.returncode == 1
    assert "nosuch0" in told.stderr
    assert "\nhint: NICs of this host: " in told.stderr


def test_the_environment_names_the_daemon_too(daemon: Daemon):
    assert xdplb("vip", "ls", XDPLB_SOCKET=str(daemon.socket)).returncode == 0


HEAVY = {"asyncio", "bcc", "fastapi", "numpy", "pydantic", "pyroute2", "rich", "sqlite3", "uvicorn"}


@pytest.mark.parametrize(
    "words",
    [
        ["vip", "ls"],
        ["vip", "add", "203.0.113.77:80/tcp", "--check", "tcp"],
        ["backend", "ls", "web"],
        ["backend", "drain", "web", "10.0.0.1", "--wait", "--quiet", "0s"],
        ["health", "set", "web", "--type", "tcp"],
        ["status", "--wait"],
        ["stats"],
        ["version"],
        ["up", "--help"],
    ],
)
def test_a_client_command_loads_nothing_that_only_the_daemon_needs(web: Daemon, words: list[str]):
    program = "import sys; from xdplb.cli.main import run; code = run(); print(code, *sys.modules, file=sys.stderr)"
    told = subprocess.run(
        [sys.executable, "-c", program, "--socket", str(web.socket), *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    code, *modules = told.stderr.splitlines()[-1].split()
    assert code == "0", told.stderr
    assert "xdplb.cli.main" in modules
    assert HEAVY & set(modules) == set()
