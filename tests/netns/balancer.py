# SPDX-License-Identifier: Apache-2.0
"""A lab that runs xdplb: the daemon on the balancer's NIC, services on the backends, curl on the client."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.waiting import PATIENCE, until
from xdplb.cli.vip_table import vip_text
from xdplb.model.address import IPAddress
from xdplb.net.lab import ADDRESSES, VIP, Lab

XDPLB = str(Path(sys.executable).parent / "xdplb")
SERVICE = str(Path(__file__).with_name("backend_service.py"))
PORT = 80
KEY = f"{VIP}:{PORT}/tcp"
UDP_KEY = f"{VIP}:{PORT}/udp"
URL = f"http://{VIP}/"
READY_SECONDS = 180 * PATIENCE
COMMAND_SECONDS = READY_SECONDS + 20
FORWARDS = {"dr1": "dr", "dr2": "dr", "side": "dr", "ipip1": "ipip", "ipip2": "ipip"}
# A killed service refuses connections at once. The long timeout keeps a backend on a busy machine from looking dead.
CHECK = [
    *("--check", "http", "--check-path", "/health", "--check-interval", "200ms", "--check-timeout", "3s"),
    *("--check-rise", "2", "--check-fall", "2"),
]
REPORT = "%{stderr}%{exitcode} %{http_code} %header{x-backend}\n"


class Balancer:
    """Does what an operator and a client would do, with the commands they would use."""

    def __init__(self, lab: Lab, host: str = "balancer") -> None:
        self.lab = lab
        self.host = host
        self.socket = lab.folder / "api.sock"
        self.services: dict[str, subprocess.Popen[Any]] = {}
        self.daemon: subprocess.Popen[Any] | None = None
        self.log_file = lab.folder / "daemon.log"

    # the backends' side

    def prepare(self, *hosts: str) -> None:
        """Set these hosts up as backends, and start their services."""
        for host in hosts:
            self.backend_host(host, "setup", str(VIP), "--forward", FORWARDS[host], "--interface", "eth0")
            self.serve(host)

    def backend_host(self, host: str, verb: str, *arguments: str) -> str:
        """Run `xdplb backend-host` on a host, with folders of its own."""
        places = ["--pin-dir", str(self.lab.home.bpffs / host)]
        if verb != "show":
            places += ["--state-dir", str(self.lab.folder / host)]
        command = [XDPLB, "backend-host", verb, *arguments, *places]
        return self.lab.run(host, command, timeout=COMMAND_SECONDS).stderr

    def decap(self, host: str, verb: str) -> None:
        """Run `xdplb decap up` or `down` on a host."""
        command = [XDPLB, "decap", verb, "eth0", "--pin-dir", str(self.lab.home.bpffs / host)]
        self.lab.run(host, command, timeout=COMMAND_SECONDS)

    def serve(self, host: str, *vips: IPAddress) -> None:
        """Start a host's service, and return when it answers; it answers datagrams from these VIPs."""
        addresses = map(str, vips or [VIP])
        self.services[host] = self.lab.popen(host, [sys.executable, SERVICE, host, str(PORT), *addresses])
        asked = ["curl", "-sf", "-o", "/dev/null", f"http://{ADDRESSES[host]}/health"]
        until(lambda: self.lab.run(host, asked, check=False).returncode == 0)

    def kill_service(self, host: str) -> None:
        """Kill a host's service with -9."""
        self.services[host].kill()
        self.services[host].wait()

    # the daemon

    def start(self, *options: str, nics: Sequence[str] = ("eth0",)) -> None:
        """Run `xdplb up` and wait until it is ready."""
        self.daemon = self.spawn(*options, nics=nics)
        end = time.monotonic() + READY_SECONDS
        while (waited := self.cli("status", "--wait", "--timeout", "10s", check=False)).returncode:
            told = f"not ready: {waited.stdout}{waited.stderr}\n{self.log_file.read_text()}"
            assert self.daemon.poll() is None, told
            assert time.monotonic() < end, told

    def spawn(self, *options: str, nics: Sequence[str] = ("eth0",)) -> subprocess.Popen[Any]:
        """Run `xdplb up` and return at once."""
        places = ["--listen", f"unix:{self.socket}", "--state-dir", str(self.lab.folder / "state")]
        places += ["--pin-dir", str(self.lab.pin_dir)]
        with self.log_file.open("a") as log:
            return self.lab.popen(self.host, [XDPLB, "up", *nics, *places, *options], stdout=log, stderr=log)

    def log(self) -> str:
        """Return what the daemons have logged."""
        return self.log_file.read_text()

    def kill(self) -> None:
        """Kill the daemon with -9."""
        assert self.daemon is not None
        self.daemon.kill()
        self.daemon.wait()

    def down(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `xdplb down`."""
        return self.lab.run(self.host, [XDPLB, "down", *(arguments or ["--all"]), "--pin-dir", str(self.lab.pin_dir)])

    def cli(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command that talks to the daemon. If it is too slow, run it again: commands are idempotent."""
        command = [XDPLB, "--socket", str(self.socket), *arguments]
        end = time.monotonic() + COMMAND_SECONDS
        while True:
            told = self.lab.run(self.host, command, check=False, timeout=COMMAND_SECONDS)
            if "did not answer within" not in told.stderr or time.monotonic() > end:
                break
        if check:
            assert told.returncode == 0, f"{' '.join(arguments)}: {told.stdout}{told.stderr}"
        return told

    def ask(self, *arguments: str) -> Any:
        """Return the body of the API's answer that a command shows."""
        return json.loads(self.cli(*arguments, "-o", "json").stdout)

    def remove_vips(self) -> None:
        """Remove all VIPs."""
        for vip in self.ask("vip", "ls")["vips"]:
            self.cli("vip", "rm", vip_text(vip))

    def add(
        self, *hosts: str, key: str = KEY, vip_options: Sequence[str] = (), weights: Mapping[str, int] | None = None
    ) -> None:
        """Add the VIP with these hosts as backends, and wait until they all serve."""
        self.cli("vip", "add", key, *vip_options)
        for host in hosts:
            self.add_backend(host, key=key, weight=(weights or {}).get(host, 1))
        until(lambda: all(self.status(host, key=key)["share"] > 0 for host in hosts))

    def add_backend(self, host: str, *, key: str = KEY, weight: int = 1) -> None:
        """Add one host as a backend."""
        options = ["--weight", str(weight), "--forward", FORWARDS[host]]
        self.cli("backend", "add", key, str(ADDRESSES[host]), *options)

    def drain(self, host: str, *options: str, key: str = KEY) -> subprocess.Popen[Any]:
        """Start a `drain --wait`."""
        command = [XDPLB, "--socket", str(self.socket), "backend", "drain", key, str(ADDRESSES[host]), "--wait"]
        return self.lab.popen(self.host, [*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def status(self, host: str, *, key: str = KEY) -> dict[str, Any]:
        """Return a backend's status."""
        status: dict[str, Any] = self.ask("backend", "show", key, str(ADDRESSES[host]))["status"]
        return status

    def mode(self) -> str:
        """Return the mode of the program on the first NIC."""
        asked = ["curl", "-sf", "--unix-socket", str(self.socket), "http://localhost/v1/dataplane"]
        mode: str = json.loads(self.lab.run(self.host, asked).stdout)["attachments"][0]["mode"]
        return mode

    def metric(self, name: str) -> list[float]:
        """Return the samples of a metric as Prometheus would read them."""
        asked = ["curl", "-sf", "--unix-socket", str(self.socket), "http://localhost/metrics"]
        families = text_string_to_metric_families(self.lab.run(self.host, asked).stdout)
        return [sample.value for family in families for sample in family.samples if sample.name == name]

    def drops(self) -> dict[str, int]:
        """Return how many packets were dropped, by reason."""
        drops: dict[str, int] = self.ask("stats")["drops"]
        return drops

    # the client's side

    def get(self, count: int, *, path: str = "", options: Sequence[str] = ()) -> Counter[str]:
        """Make this many requests, one per connection; return how many each backend answered. All must succeed."""
        argv = ["curl", "-s", "--max-time", "5", "-o", "/dev/null", "-w", REPORT, *options]
        answers = self.lab.run("client", [*argv, f"{URL}{path}?[1-{count}]"], check=False, timeout=120).stderr
        return tally(answers)

    def text(self, *options: str, path: str = "") -> str:
        """Return the body of one answer."""
        return self.lab.run("client", ["curl", "-sSf", "--max-time", "10", *options, URL + path]).stdout


class Stream:
    """Sends requests without a pause while the block runs; `finish` returns who answered. All must succeed."""

    def __init__(self, balancer: Balancer) -> None:
        argv = ["curl", "-s", "--max-time", "5", "-o", "/dev/null", "-w", REPORT, "--rate", "100/s"]
        self._curl = balancer.lab.popen("client", [*argv, f"{URL}?[1-1000000]"], stderr=subprocess.PIPE, text=True)

    def finish(self) -> Counter[str]:
        """Stop; the request that this interrupts does not count, nor a line that it has cut in the middle."""
        assert self._curl.stderr is not None
        self._curl.terminate()
        lines, _, _ = self._curl.stderr.read().rpartition("\n")
        self._curl.wait()
        self._curl.stderr.close()
        return tally(lines)


class Download:
    """A long download on its way to the client."""

    def __init__(self, balancer: Balancer, *, size: int, seconds: float) -> None:
        self._size = size
        self._header = balancer.lab.folder / f"header-{time.monotonic_ns()}"
        argv = ["curl", "-sS", "-D", str(self._header), "-o", "/dev/null", "-w", "%{size_download}"]
        url = f"{URL}slow?bytes={size}&seconds={seconds}"
        self._curl = balancer.lab.popen(
            "client", [*argv, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        until(lambda: self._header.exists() and "X-Backend" in self._header.read_text())
        found = re.search(r"X-Backend: (\S+)", self._header.read_text())
        assert found is not None
        self.backend = found[1]

    @property
    def running(self) -> bool:
        return self._curl.poll() is None

    def finish(self) -> None:
        """Wait until it has ended; it must be complete."""
        size, said = self._curl.communicate(timeout=60)
        assert (self._curl.returncode, size, said) == (0, str(self._size), "")


def tally(report: str) -> Counter[str]:
    """Return who answered, from the lines of REPORT; a failed request fails the test."""
    lines = [line.split() for line in report.splitlines()]
    assert lines
    failed = [line for line in lines if line[:2] != ["0", "200"]]
    assert failed == [], f"{len(failed)} of {len(lines)} requests failed: {failed[:3]}"
    return Counter(line[2] for line in lines)
