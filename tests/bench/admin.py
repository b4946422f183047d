# SPDX-License-Identifier: Apache-2.0
"""What attacks on the API do to the checks: how much later dead backends are taken out, memory, and lines of log."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from tests.asking import ApiConnection
from tests.bench.attacks import ATTACKS
from tests.bench.tables import print_table
from xdplb.net import netns
from xdplb.net.lab_home import LabHome, reap

__all__ = ["measure_admin"]

HERE = Path(__file__).parent
BACKENDS = 20
CHECK = {"type": "http", "port": 8080, "interval_seconds": 0.1, "timeout_seconds": 1.0, "rise": 1, "fall": 2}
PATIENCE_SECONDS = 60
HEAD = ("attack", "out after, ms: median", "last", "MB more", "CPU, cores", "log, kB", "an operator's GET, ms")


@dataclass
class _Daemon:
    """The attacked daemon, and the services of its backends."""

    home: LabHome
    process: subprocess.Popen[bytes]
    service: subprocess.Popen[str] | None = None

    @property
    def socket(self) -> Path:
        return self.home.folder / "api.sock"

    @property
    def log(self) -> Path:
        return self.home.folder / "log"

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Return the body of an answer; OSError if there is none."""
        with closing(ApiConnection(self.socket, timeout=20)) as connection:
            status, answer = connection.ask(method, path, body)
        if status >= 400:
            raise OSError(f"{status}: {answer}")
        return answer

    def await_answer(self) -> None:
        """Return once the API answers."""
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                self.ask("GET", "/healthz")
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)
            else:
                return

    def up(self) -> int:
        """Return how many of the checked backends the log says to be up."""
        last = dict(re.findall(r"health: vip=203\.0\.113\.1:80/tcp backend=(\S+) health=(\w+)", self.log.read_text()))
        return sum(1 for health in last.values() if health == "up")

    def serve(self) -> None:
        """Start the services, and return once all backends are up."""
        line = netns.command(self.home.prefix() + "all", _python("checked_service.py", "8080"), dies_with_parent=True)
        self.service = subprocess.Popen(line, stdout=subprocess.DEVNULL, text=True)
        end = time.monotonic() + PATIENCE_SECONDS
        while self.up() < BACKENDS:
            if time.monotonic() > end:
                raise TimeoutError(f"{self.up()} of {BACKENDS} backends are up")
            time.sleep(0.05)

    def fail(self) -> list[float]:
        """Kill the services; return after how many seconds each backend was found down."""
        assert self.service is not None
        from_byte = self.log.stat().st_size
        at = datetime.now()
        self.service.kill()
        self.service.wait()
        end = time.monotonic() + PATIENCE_SECONDS
        while len(found := self._found(from_byte, at)) < BACKENDS and time.monotonic() < end:
            time.sleep(0.05)
        return found

    def _found(self, from_byte: int, at: datetime) -> list[float]:
        with self.log.open(errors="replace") as log:
            log.seek(from_byte)
            lines = re.findall(
                r"^(\S+ \S+) WARNING health: vip=203\.0\.113\.1:80.* health=down", log.read(), re.MULTILINE
            )
        return [(datetime.strptime(line, "%Y-%m-%d %H:%M:%S,%f") - at).total_seconds() for line in lines]

    def memory(self) -> int:
        """Return its resident memory in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) << 10

    def cpu(self) -> float:
        """Return the CPU time that it has used, in seconds."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure_admin(*, vips: int, backends: int, rounds: int, only: list[str], against: Path | None) -> None:
    """Attack a daemon of `vips` VIPs with `backends` backends each, beside 20 checked ones; print a row for each."""
    reap()
    rows = []
    with tempfile.TemporaryDirectory(prefix="xdplb-bench-") as folder:
        state = Path(folder) / "state"
        with _running(against) as daemon:
            _fill(daemon, vips, backends)
            daemon.process.terminate()
            daemon.process.wait()
            shutil.copytree(daemon.home.folder / "state", state)
        for name in ("no attack", *ATTACKS):
            if only and name != "no attack" and not any(word in name for word in only):
                continue
            with _running(against, state) as daemon:
                daemon.serve()
                rows.append(_row(daemon, name, rounds))
                print(*rows[-1], sep="  ", file=sys.stderr, flush=True)
    print_table(HEAD, rows)


def _row(daemon: _Daemon, name: str, rounds: int) -> tuple[str, ...]:
    before = daemon.memory()
    with _attacking(name, daemon):
        time.sleep(2)
        log, cpu, began = daemon.log.stat().st_size, daemon.cpu(), time.monotonic()
        found, asked, most = [], [], 0
        for _ in range(rounds):
            found += daemon.fail()
            most = max(most, daemon.memory())
            asked.append(_time_of_get(daemon))
            daemon.serve()
            most = max(most, daemon.memory())
        cpu = (daemon.cpu() - cpu) / (time.monotonic() - began)
        log = daemon.log.stat().st_size - log
    late = [f"{1e3 * median(found):.0f}" if found else "never", f"{1e3 * max(found):.0f}" if found else "never"]
    if len(found) < rounds * BACKENDS:
        late[1] = f"{rounds * BACKENDS - len(found)} never"
    return (name, *late, f"{(most - before) / 1e6:.0f}", f"{cpu:.2f}", f"{log / 1e3:.0f}", f"{max(asked):.0f}")


def _time_of_get(daemon: _Daemon) -> float:
    began = time.monotonic()
    try:
        daemon.ask("GET", "/v1/vips/203.0.113.1:80:tcp")
    except (OSError, http.client.HTTPException):
        return float("inf")
    return 1e3 * (time.monotonic() - began)


@contextmanager
def _attacking(name: str, daemon: _Daemon) -> Iterator[None]:
    if name not in ATTACKS:
        yield
        return
    with subprocess.Popen(_python("attacks.py", name, str(daemon.socket))) as attack:
        try:
            yield
        finally:
            attack.kill()


@contextmanager
def _running(against: Path | None, state: Path | None = None) -> Iterator[_Daemon]:
    """Run a daemon, with a copy of this state if there is one, until the block ends; it answers already."""
    home = LabHome()
    try:
        if state is not None:
            shutil.copytree(state, home.folder / "state")
        space = home.prefix() + "all"
        netns.create(space)
        netns.configure(space, ["route add local 10.1.0.0/24 dev lo"])
        root = against or HERE.parents[1]
        argv = ["prlimit", "--nofile=1024", *_python("attacked_daemon.py", str(home.folder))]
        with (home.folder / "log").open("wb") as log:
            process = subprocess.Popen(
                netns.command(space, argv, dies_with_parent=True),
                cwd=root,
                env={**os.environ, "PYTHONPATH": f"{root}:{root / 'api'}"},
                stderr=log,
            )
        daemon = _Daemon(home, process)
        try:
            daemon.await_answer()
            yield daemon
        finally:
            for child in (process, daemon.service):
                if child is not None:
                    child.send_signal(signal.SIGKILL)
                    child.wait()
    finally:
        home.remove()


def _fill(daemon: _Daemon, vips: int, backends: int) -> None:
    _add(daemon, "203.0.113.1", [f"10.1.0.{i + 1}" for i in range(BACKENDS)], CHECK)
    for vip in range(vips):
        _add(
            daemon,
            f"203.0.113.{vip + 2}",
            [f"10.{2 + (i >> 16)}.{i >> 8 & 255}.{i & 255}" for i in range(1, backends + 1)],
        )


def _add(daemon: _Daemon, address: str, backends: list[str], check: object = None) -> None:
    daemon.ask("POST", "/v1/vips", {"address": address, "port": 80, "protocol": "tcp"})
    if check is not None:
        daemon.ask("PUT", f"/v1/vips/{address}:80:tcp/health-check", check)
    body = {"backends": [{"address": backend} for backend in backends]}
    daemon.ask("PUT", f"/v1/vips/{address}:80:tcp/backends", body)


def _python(file: str, *arguments: str) -> list[str]:
    return [sys.executable, str(HERE / file), *arguments]
