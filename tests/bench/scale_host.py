# SPDX-License-Identifier: Apache-2.0
"""The host of `scripts/bench scale`: a balancer and its backends in namespaces of their own, and the real daemon."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pyroute2 import IPRoute

from tests.asking import ApiConnection
from tests.bench.checks import make_hosts
from xdplb.net import netns
from xdplb.net.lab_home import LabHome, reap

__all__ = ["MOST_NEAR", "NEAR", "PORT", "Cost", "Daemon", "ScaleHost", "Spent"]

ROOT = Path(__file__).resolve().parents[2]
SERVICE = str(Path(__file__).with_name("checked_service.py"))
PORT = 80
NEAR = IPv4Address("10.99.0.1")
"""The first address of the backends on the balancer's segment."""
MOST_NEAR = 64
START_SECONDS = 900
ANSWER_SECONDS = 300
LOOK_SECONDS = 0.01  # shorter than the pauses looked for, and cheap enough not to be one
_COMMAND = (sys.executable, "-c", "from xdplb.cli.main import main; main()")
_NUD_FAILED = 0x20
_CPU_CLOCK = 2  # CPUCLOCK_SCHED of the kernel: the time of all threads of a process, in ns


@dataclass(frozen=True)
class Spent:
    """What something took: seconds by the clock, and seconds of CPU of the daemon (with its children's)."""

    wall: float
    cpu: float


class Cost:
    """Measures what the daemon spends in the block; `spent` has it afterwards."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self.spent = Spent(0, 0)

    def __enter__(self) -> Self:
        self._wall, self._cpu = time.monotonic(), self._daemon.cpu_seconds()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.spent = Spent(time.monotonic() - self._wall, self._daemon.cpu_seconds() - self._cpu)


class ScaleHost:
    """The namespaces and the services in them, from entering the block to leaving it."""

    def __enter__(self) -> Self:
        reap()
        self.home = LabHome()
        self._services: dict[str, subprocess.Popen[bytes]] = {}
        try:
            self._build()
        except BaseException:
            self.home.remove()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for service in self._services.values():
            service.kill()
            service.wait()
        self.home.remove()

    @property
    def balancer(self) -> str:
        """The namespace of the balancer."""
        return self.home.prefix() + "balancer"

    @property
    def backends(self) -> str:
        """The namespace with the addresses of all backends."""
        return self.home.prefix() + "backends"

    @property
    def pin_dir(self) -> Path:
        """Where the daemon pins."""
        return self.home.bpffs / "xdplb"

    @property
    def state_dir(self) -> Path:
        """Where the daemon has its state."""
        return self.home.folder / "state"

    def serve(self, count: int, alone: IPv4Address) -> None:
        """Run the services of the first `count` near backends: one process, and one more for `alone`."""
        others = [str(NEAR + number) for number in range(count) if NEAR + number != alone]
        self.start_service("others", *others)
        self.start_service("alone", str(alone))

    def start_service(self, name: str, *addresses: str) -> None:
        """Run a service on these addresses, all if none is given."""
        line = netns.command(self.backends, [sys.executable, SERVICE, str(PORT), *addresses], dies_with_parent=True)
        self._services[name] = subprocess.Popen(line, stdout=subprocess.DEVNULL)
        time.sleep(0.5)

    def stop_service(self, name: str) -> float:
        """Kill a service, and return when: connections to it are refused from then on."""
        service = self._services.pop(name)
        service.kill()
        service.wait()
        return time.time()

    def lose(self, address: IPv4Address) -> float:
        """Take a backend's host away, as the kernel sees it once the neighbour has not answered; return when."""
        netns.configure(self.backends, [f"address del {address}/16 dev eth0"])

        def fail() -> float:  # by a message of our own: starting `ip` takes longer than what is measured
            with IPRoute() as kernel:
                index = kernel.link_lookup(ifname="eth0")[0]
                began = time.time()
                kernel.neigh("replace", dst=str(address), ifindex=index, state=_NUD_FAILED)
                return began

        return netns.inside(self.balancer, fail)

    def find(self, address: IPv4Address) -> None:
        """Bring a lost host back."""
        netns.configure(self.backends, [f"address add {address}/16 dev eth0"])

    def _build(self) -> None:
        make_hosts(self.home)
        netns.configure(self.backends, [f"address add {NEAR + number}/16 dev eth0" for number in range(MOST_NEAR)])


class Daemon:
    """`xdplb up` as a process of the balancer. It is killed on leaving the block if it still runs."""

    def __init__(self, host: ScaleHost, *options: str) -> None:
        self._host, self._options = host, options
        self.socket = host.home.folder / "api.sock"
        self.log = host.home.folder / "daemon.log"
        self._notified = host.home.folder / "notify.sock"

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which this checkout is what runs."""
        return os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'api'}"}

    def command(self, *arguments: str) -> list[str]:
        """Return the argv of an `xdplb` that asks this daemon."""
        return [*_COMMAND, "--socket", str(self.socket), *arguments]

    def start(self) -> Spent:
        """Start it, and return what it took until it said that it is ready."""
        self._notified.unlink(missing_ok=True)
        places = ["--listen", f"unix:{self.socket}", "--state-dir", str(self._host.state_dir)]
        argv = [*_COMMAND, "up", "eth0", *places, "--pin-dir", str(self._host.pin_dir), *self._options]
        line = netns.command(self._host.balancer, argv, dies_with_parent=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as said, self.log.open("a") as log:
            said.bind(str(self._notified))
            environment = self.environment | {"NOTIFY_SOCKET": str(self._notified)}
            began = time.monotonic()
            self._process = subprocess.Popen(line, stdout=log, stderr=log, env=environment)
            said.settimeout(1)
            while True:
                with contextlib.suppress(TimeoutError):
                    if b"READY=1" in said.recv(4096):
                        return Spent(time.monotonic() - began, self.cpu_seconds())
                if self._process.poll() is not None or time.monotonic() > began + START_SECONDS:
                    raise SystemExit("scripts/bench: xdplb up did not get ready:\n" + self.log.read_text()[-3000:])

    def stop(self, number: int = signal.SIGTERM) -> Spent:
        """Stop it by a signal, and return what that took."""
        began, cpu = time.monotonic(), self.cpu_seconds()
        self._process.send_signal(number)
        _, _, used = os.wait4(self._process.pid, 0)
        self._process.returncode = 0
        return Spent(time.monotonic() - began, used.ru_utime + used.ru_stime - cpu)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def cpu_seconds(self) -> float:
        """Return the CPU time of all its threads, and of the children that have ended."""
        pid = self._process.pid
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        children = (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(~pid << 3 | _CPU_CLOCK) + children

    def memory(self) -> tuple[float, float]:
        """Return its RSS and PSS, in MB."""
        lines = Path(f"/proc/{self._process.pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
        sizes = {line.split()[0]: int(line.split()[1]) / 1024 for line in lines[1:]}
        return sizes["Rss:"], sizes["Pss:"]

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Return the answer to a request: decoded if it is JSON, else as bytes."""
        with contextlib.closing(ApiConnection(self.socket, timeout=ANSWER_SECONDS)) as connection:
            return _answer(connection, method, path, body)

    def longest_pause(self) -> float:
        """Return the longest pause of the control loop in the last minute or two, in seconds."""
        metrics: bytes = self.ask("GET", "/metrics")
        (line,) = (line for line in metrics.decode().splitlines() if line.startswith("xdplb_loop_pause_seconds "))
        return float(line.split()[1])

    @contextlib.contextmanager
    def watched(self) -> Iterator[list[Spent]]:
        """Ask for `/healthz` all the time while in the block: what each answer took is in the list afterwards."""
        answers: list[Spent] = []
        done = threading.Event()

        def ask() -> None:
            with contextlib.closing(ApiConnection(self.socket, timeout=ANSWER_SECONDS)) as connection:
                while not done.wait(LOOK_SECONDS):
                    began, cpu = time.monotonic(), self.cpu_seconds()
                    _answer(connection, "GET", "/healthz")
                    answers.append(Spent(time.monotonic() - began, self.cpu_seconds() - cpu))

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield answers
        finally:
            done.set()
            thread.join()


def _answer(connection: ApiConnection, method: str, path: str, body: object = None) -> Any:
    status, answer = connection.ask(method, path, body)
    if status >= HTTPStatus.MULTIPLE_CHOICES:
        raise SystemExit(f"scripts/bench: {method} {path}: {status} {answer}")
    return answer
