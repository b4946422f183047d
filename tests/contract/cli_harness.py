# SPDX-License-Identifier: Apache-2.0
"""`xdplb` as users run it, against a daemon put together as `xdplb up` does it, over a data plane in memory."""

from __future__ import annotations

import io
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.asking import ApiConnection
from xdplb.cli.main import run

__all__ = ["REPOSITORY", "WEB", "Daemon", "Told", "in_process", "running_daemon", "running_module", "shown", "xdplb"]

REPOSITORY = Path(__file__).parents[2]
WEB = "203.0.113.10:443/tcp"
"""The VIP called web."""

START_SECONDS = 120

Told = subprocess.CompletedProcess[str]


def in_process(*arguments: str) -> Told:
    """Run xdplb here, which saves the start of an interpreter; in all else as `xdplb` does."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with redirect_stdout(out), redirect_stderr(err):
        code = run(arguments)
    texts = [stream.buffer.getvalue().decode() for stream in (out, err)]
    return Told(list(arguments), code, *texts)


def xdplb(*arguments: str, **environment: str) -> Told:
    """Run xdplb and return what it told."""
    command = [str(Path(sys.executable).with_name("xdplb")), *arguments]
    settings = {name: value for name, value in os.environ.items() if not name.startswith("XDPLB_")}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=settings | environment)


class Daemon:
    """A daemon in `folder`."""

    def __init__(
        self, folder: Path, process: subprocess.Popen[str], manager: socket.socket, notified: list[str]
    ) -> None:
        self.folder = folder
        self.process = process
        self._manager = manager
        self.notified = notified
        self.socket = folder / "api.sock"

    def run(self, *arguments: str) -> Told:
        """Run xdplb against it."""
        return in_process("--socket", str(self.socket), *arguments)

    def ok(self, *arguments: str) -> Told:
        """Run xdplb against it, which must succeed."""
        told = self.run(*arguments)
        assert told.returncode == 0, told.stderr
        return told

    def get(self, path: str) -> bytes:
        """Return the body the API has at `path`."""
        with closing(ApiConnection(self.socket, timeout=10)) as connection:
            connection.request("GET", path)
            return connection.getresponse().read()

    def notifications(self) -> list[str]:
        """Return what it has sent to systemd since this was asked last."""
        before = len(self.notified)
        _read_rest(self._manager, self.notified)
        return self.notified[before:]

    def end(self) -> None:
        """Do what `stop` does, but leave the process to be looked at, for what its end has taken."""
        self.process.terminate()
        os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)

    def stop(self) -> str:
        """End it as systemd does; return what it logged."""
        self.process.terminate()
        _, log = self.process.communicate(timeout=START_SECONDS)
        return log


def shown(daemon: Daemon, *words: str) -> dict[str, str]:
    """Return the fields that a show command prints."""
    lines = daemon.ok(*words, "-o", "wide").stdout.splitlines()
    width = max(line.index("  ") for line in lines)
    return {line[:width].strip(): line[width:].strip() for line in lines}


@contextmanager
def running_daemon(
    folder: Path,
    *,
    log: int = subprocess.PIPE,
    config: Path | None = None,
    api: Any = None,
    notify: Path | None = None,
    **limits: float,
) -> Iterator[Daemon]:
    """Start a daemon, wait until it has told systemd that it is ready, and end it after the block.

    `log` is the descriptor that it logs to, `config` its config file, `limits` are fields of the API's limits, `api`
    are fields of its options, as JSON has them, `notify` is the file of --notify.
    """
    given = (json.dumps(limits), str(config or ""), json.dumps(api or {}), str(notify or ""))
    with running_module("cli_daemon", folder, *given, log=log) as daemon:
        yield daemon


@contextmanager
def running_module(
    module: str,
    folder: Path,
    *arguments: str,
    log: int = subprocess.PIPE,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Daemon]:
    """Do the same with another module of this folder, and with `environment` beside this process's own."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        address = f"@xdplb-test-{os.getpid()}-{folder.name}-{os.urandom(4).hex()}"
        manager.bind(address.replace("@", "\0", 1))
        process = subprocess.Popen(
            [sys.executable, "-m", f"tests.contract.{module}", str(folder), *arguments],
            cwd=REPOSITORY,
            env={**os.environ, "NOTIFY_SOCKET": address, **environment},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        daemon = Daemon(folder, process, manager, [])
        try:
            _await_ready(manager, daemon)
            yield daemon
        finally:
            if process.returncode is None:
                process.kill()
            if not (process.stdout and process.stdout.closed):
                process.communicate()
            _read_rest(manager, daemon.notified)


def _await_ready(manager: socket.socket, daemon: Daemon) -> None:
    end = time.monotonic() + START_SECONDS
    while not daemon.notified:
        if not select.select([manager], [], [], max(0.0, end - time.monotonic()))[0]:
            daemon.process.kill()
            raise AssertionError(f"the daemon did not start:\n{daemon.process.communicate()[1]}")
        word = manager.recv(1000).decode()
        if not word.startswith("EXTEND_TIMEOUT_USEC="):
            daemon.notified.append(word)


def _read_rest(manager: socket.socket, notified: list[str]) -> None:
    """Add what was sent to systemd meanwhile."""
    while select.select([manager], [], [], 0)[0]:
        notified.append(manager.recv(1000).decode())
