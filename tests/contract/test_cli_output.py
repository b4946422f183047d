# SPDX-License-Identifier: Apache-2.0
"""Every command that prints data fits 80 columns with -o table, has all in -o wide, and prints JSON with -o json."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cli_harness import Daemon, running_daemon, xdplb
from .test_cli_help import COMMANDS, options

IPV4 = "203.0.113.10:443/tcp"
IPV6 = "[2001:db8:1234:5678:9abc:def0:1234:5678]:443/tcp"
PREFIX = "[2001:db8:1234:5678::/64]:8000-8999/tcp+udp"
BACKEND6 = "2001:db8:aaaa:bbbb:cccc:dddd:eeee:1111"

SHOWS: dict[str, list[list[str]]] = {
    "status": [[], ["--vip", "web"]],
    "doctor": [[]],
    "stats": [[], ["web"], [IPV6], ["--rate", "100ms"]],
    "version": [[]],
    "token ls": [[]],
    "node ls": [[]],
    "node show": [[]],
    "dns ls": [[]],
    "vip ls": [[]],
    "vip show": [["web"], [IPV6], [PREFIX]],
    "vip access show": [["web"], [IPV6]],
    "backend ls": [[], ["web"], [IPV6], [PREFIX]],
    "backend show": [["web", "10.0.0.11"], [IPV6, BACKEND6]],
    "health ls": [[], ["web"], [IPV6]],
    "health show": [["web"], [IPV6]],
    "events": [[]],
}
"""Commands that print what there is, with arguments to run them with."""

CHANGES = {
    "vip add": ["192.0.2.1:80/tcp"],
    "vip set": ["web", "--idle-timeout", "30m"],
    "vip rm": [PREFIX],
    "vip access set": ["www-example-com", "--deny", "2001:db8::/32"],
    "vip access clear": ["web"],
    "backend add": [IPV6, "2001:db8:aaaa:bbbb:cccc:dddd:eeee:9999"],
    "backend set": [IPV6, BACKEND6, "--weight", "7"],
    "backend drain": [IPV6, BACKEND6],
    "backend undrain": [IPV6, BACKEND6],
    "backend rm": ["web", "10.0.0.12"],
    "health set": ["web", "--type", "tcp"],
    "health add": ["web", "--type", "tcp", "--port", "81"],
    "health rm": ["web"],
    "token add": ["anna", "--role", "read"],
    "token rm": ["ci"],
    "node drain": [],
    "node undrain": [],
    "config diff": ["-f", "CONFIG"],
    "config apply": ["-f", "CONFIG"],
}
"""Changes, run with --dry-run."""

VIP_IN_A_FILE = f"""
[[vips]]
address = "2001:db8:1234:5678:9abc:def0:1234:5678"
port = 443
protocol = "tcp"
backends = [{{ address = "{BACKEND6}" }}]
"""

OTHERS = {
    "down", "decap up", "decap down", "backend-host setup", "backend-host show", "backend-host undo",
    "node withdraw",  # these work on the host itself: tests/netns/test_output_of_hosts.py
    "explain", "capture", "health probe",  # these need a data plane that can do it
    "dns forget",  # asks name servers
    "backup", "config check", "config dump",  # below
    "config convert",  # its -o names a file
}  # fmt: skip


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with names and addresses as long as they ordinarily are, and longer."""
    with running_daemon(tmp_path_factory.mktemp("full")) as daemon:
        daemon.ok("vip", "add", IPV4, "--name", "web", "--check", "http", "--check-path", "/healthz")
        daemon.ok("vip", "add", IPV6, "--name", "www-example-com", "--check", "tcp")
        daemon.ok("vip", "add", PREFIX, "--name", "game-servers-fra1")
        daemon.ok("backend", "add", "web", "10.0.0.11", "--weight", "100")
        daemon.ok("backend", "add", "web", "10.0.0.12")
        daemon.ok("backend", "add", IPV6, BACKEND6)
        daemon.ok("backend", "add", IPV6, "2001:db8::12")
        daemon.ok("backend", "add", PREFIX, "2001:db8:1::11", "--max-new-flows", "1000")
        daemon.ok("backend", "drain", "web", "10.0.0.12")
        daemon.ok("vip", "access", "set", IPV6, "--deny", "2001:db8:1234:5678:9abc:def0::/96", "--allow", "::/0")
        daemon.ok("token", "add", "ci", "--role", "operate")
        daemon.ok("token", "add", "prometheus-scraper-fra1", "--role", "read", "--expires", "never")
        yield daemon


CASES = [(name, arguments) for name, runs in SHOWS.items() for arguments in runs]


def narrow(text: str) -> None:
    """Assert that it fits; but for the remedies of the doctor, which are to be copied as they are."""
    wide = [line for line in text.splitlines() if len(line) > 80 and not line.startswith("      fix: ")]
    assert wide == []


def test_every_command_that_prints_data_is_here():
    assert SHOWS.keys() | CHANGES.keys() | OTHERS == {name for name in COMMANDS if "--output" in options(name)}


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_a_table_fits_80_columns_and_has_whole_names(full: Daemon, name: str, arguments: list[str]):
    told = full.run(*name.split(), *arguments)
    narrow(told.stdout)
    if name in ("vip ls", "backend ls", "stats") and not arguments:
        for whole in (IPV4, IPV6, PREFIX):
            assert any(line == whole or f"{whole}  " in line for line in told.stdout.splitlines())
    if name == "backend ls" and arguments in ([], [IPV6]):
        assert f"{BACKEND6}  " in told.stdout
    if name == "status" and not arguments:
        assert IPV6 in told.stdout


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_wide_says_no_less(full: Daemon, name: str, arguments: list[str]):
    if "--rate" in arguments or name == "doctor":
        return  # they say something else each time
    table = set(full.run(*name.split(), *arguments).stdout.split())
    wide = set(full.run(*name.split(), *arguments, "-o", "wide").stdout.split())
    assert {word for word in table - wide if not word.endswith(("…", ":"))} <= {"(UTC)"}


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_json_is_one_document(full: Daemon, name: str, arguments: list[str]):
    told = full.run(*name.split(), *arguments, "-o", "json")
    assert isinstance(json.loads(told.stdout), dict)


@pytest.mark.parametrize("name", CHANGES)
def test_a_dry_run_fits_and_is_json_too(full: Daemon, name: str, tmp_path: Path):
    file = tmp_path / "config.toml"
    file.write_text(VIP_IN_A_FILE)
    words = [str(file) if word == "CONFIG" else word for word in CHANGES[name]]
    dry = [] if name == "config diff" else ["--dry-run"]
    told = full.run(*name.split(), *words, *dry)
    assert told.returncode in (0, 1), told.stderr
    narrow("\n".join(line for line in told.stdout.splitlines() if not line.startswith("would change: ")))
    assert "would_change" in json.loads(full.run(*name.split(), *words, *dry, "-o", "json").stdout)


def test_what_writes_a_file_says_in_json_what_it_wrote(full: Daemon, tmp_path: Path):
    file = tmp_path / "state"
    told = json.loads(full.ok("backup", str(file), "-o", "json").stdout)
    assert told == {"file": str(file), "bytes": file.stat().st_size}
    assert full.run("backup", "-", "-o", "json").returncode == 2
    assert full.run("capture", "-w", "-", "-o", "json").returncode == 2
    secret = tmp_path / "token"
    told = json.loads(full.ok("token", "add", "eve", "--role", "read", "-w", str(secret), "-o", "json").stdout)
    assert told["name"] == "eve"
    assert secret.read_text().strip() not in str(told)
    assert "vips" in json.loads(full.ok("config", "dump", "-o", "json").stdout)


def test_an_error_is_a_problem_in_a_line_of_json(full: Daemon, tmp_path: Path):
    told = full.run("vip", "show", "nope", "-o", "json")
    assert (told.returncode, told.stdout) == (1, "")
    problem = json.loads(told.stderr)
    assert problem["type"] == "urn:xdplb:problem:not-found"
    assert problem["exit_code"] == 1
    assert "nope" in problem["detail"]
    told = full.run("backend", "set", "web", "10.0.0.11", "--weight", "99999999", "-o", "json")
    assert told.returncode == 2
    assert json.loads(told.stderr)["errors"][0]["pointer"] == "/weight"
    away = xdplb("--socket", str(tmp_path / "none"), "vip", "ls", "-o", "json")
    assert away.returncode == json.loads(away.stderr)["exit_code"] == 3


def test_a_usage_error_is_one_too(full: Daemon):
    for words in (["vip", "ls", "-o", "json", "--nope"], ["vip", "show", "-ojson"], ["vip", "nope", "--output=json"]):
        told = full.run(*words)
        assert told.returncode == 2
        assert json.loads(told.stderr)["type"] == "urn:xdplb:problem:usage"
        assert full.run(*words[:2]).stderr.startswith("xdplb: error: ") or words[1] == "ls"


def test_all_that_is_wrong_with_a_file_is_in_the_problem(full: Daemon, tmp_path: Path):
    file = tmp_path / "config.toml"
    file.write_text('[[vips]]\nkey = "nope"\n[[vips]]\nport = 1\n')
    for command in ("diff", "apply"):
        told = full.run("config", command, "-f", str(file), "-o", "json")
        problem = json.loads(told.stderr)
        assert told.returncode == problem["exit_code"] == 2
        assert len(problem["errors"]) > 1
        assert f"{file}:" in problem["errors"][0]["detail"]
    checked = json.loads(full.run("config", "check", "-f", str(file), "-o", "json").stdout)
    assert checked["valid"] is False


def test_events_as_they_come_are_a_document_a_line(full: Daemon):
    past = json.loads(full.ok("events", "-n", "3", "-o", "json").stdout)["events"]
    command = [str(Path(sys.executable).with_name("xdplb")), "--socket", str(full.socket), "events", "--follow"]
    with subprocess.Popen([*command, "-n", "3", "-o", "json"], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert [json.loads(process.stdout.readline()) for _ in range(3)] == past
        finally:
            process.kill()
