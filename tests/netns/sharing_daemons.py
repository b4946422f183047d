# SPDX-License-Identifier: Apache-2.0
"""Balancers of a cluster that run as users run them, with a real etcd that they share."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.asking import ApiConnection
from tests.waiting import until
from xdplb.net.lab_cluster import ADDRESSES, ClusterLab

from .balancer import COMMAND_SECONDS, READY_SECONDS, XDPLB

__all__ = ["STORE", "Daemons"]

_ETCD = f"http://{ADDRESSES['shared']}:2379"
STORE = f"etcd://{ADDRESSES['shared']}:2379/xdplb"


class Daemons:
    """The daemons of a lab, each in its own namespace, and etcd on the host `shared`."""

    def __init__(self, lab: ClusterLab) -> None:
        self.lab = lab
        self._running: dict[str, subprocess.Popen[Any]] = {}
        self._etcd: subprocess.Popen[Any] | None = None

    def start_etcd(self) -> None:
        """Run etcd with what it has stored."""
        options = {"data-dir": str(self.lab.folder / "etcd"), "log-level": "error", "name": "m0"}
        options |= {"listen-client-urls": _ETCD, "advertise-client-urls": _ETCD}
        peer = f"http://{ADDRESSES['shared']}:2380"
        options |= {"listen-peer-urls": peer, "initial-advertise-peer-urls": peer, "initial-cluster": f"m0={peer}"}
        argv = ["etcd", *(f"--{name}={value}" for name, value in options.items())]
        with (self.lab.folder / "etcd.log").open("a") as log:
            self._etcd = self.lab.popen("shared", argv, stdout=log, stderr=log)
        asked = ["curl", "-sf", "--max-time", "1", f"{_ETCD}/health"]
        until(lambda: '"true"' in self.lab.run("shared", asked, check=False).stdout, READY_SECONDS)

    def kill_etcd(self) -> None:
        """Kill it with -9."""
        assert self._etcd is not None
        self._etcd.kill()
        self._etcd.wait()

    def etcdctl(self, *arguments: str) -> str:
        """Run etcdctl, and return what it says."""
        return self.lab.run("shared", ["env", "ETCDCTL_API=3", "etcdctl", "--endpoints", _ETCD, *arguments]).stdout

    def spawn(self, host: str, *options: str) -> None:
        """Run `xdplb up` on a balancer, and return at once."""
        argv = [XDPLB, "up", "eth0", "--node", host, "--listen", f"unix:{self.socket(host)}", "--store", STORE]
        argv += ["--state-dir", str(self.state_dir(host)), "--pin-dir", str(self.pin_dir(host))]
        with self._log(host).open("a") as log:
            self._running[host] = self.lab.popen(host, [*argv, *options], stdout=log, stderr=log)

    def wait_ready(self, *hosts: str) -> None:
        """Wait until these balancers are ready."""
        end = time.monotonic() + READY_SECONDS
        for host in hosts:
            while self.cli(host, "status", "--wait", "--timeout", "5s", check=False).returncode:
                told = self.log(host)
                assert self._running[host].poll() is None, told
                assert time.monotonic() < end, told

    def kill(self, host: str) -> None:
        """Kill a daemon with -9."""
        self._running[host].kill()
        self._running[host].wait()

    def wait_ended(self, host: str) -> int:
        """Wait until a daemon has ended, and return its exit code."""
        return self._running[host].wait(READY_SECONDS)

    def cpu_seconds(self, host: str) -> float:
        """Return how much CPU time a daemon has used; on the host `shared`, etcd."""
        process = self._etcd if host == "shared" else self._running[host]
        assert process is not None
        tasks = Path(f"/proc/{process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def socket(self, host: str) -> Path:
        return self.lab.folder / f"{host}.sock"

    def pin_dir(self, host: str) -> Path:
        return self.lab.home.bpffs / host

    def state_dir(self, host: str) -> Path:
        return self.lab.folder / f"{host}.state"

    def log(self, host: str) -> str:
        """Return what the daemons of a host have logged."""
        return self._log(host).read_text()

    def _log(self, host: str) -> Path:
        return self.lab.folder / f"{host}.log"

    def cli(self, host: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command that talks to a balancer's daemon."""
        argv = [XDPLB, "--socket", str(self.socket(host)), *arguments]
        told = self.lab.run(host, argv, check=False, timeout=COMMAND_SECONDS)
        assert not check or told.returncode == 0, f"{' '.join(arguments)}: {told.stdout}{told.stderr}"
        return told

    @contextmanager
    def asking(self, host: str) -> Iterator[ApiConnection]:
        """Yield a connection to a balancer's API."""
        connection = ApiConnection(self.socket(host), timeout=30)
        try:
            yield connection
        finally:
            connection.close()

    def get(self, host: str, path: str) -> Any:
        """Return what a balancer's API has at a path."""
        with self.asking(host) as connection:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())

    def store(self, host: str) -> Any:
        """Return how a balancer stands to the store."""
        return self.get(host, "/v1/status")["store"]

    def digests(self) -> set[tuple[str, int, str]]:
        """Return how all balancers stand, what they have of the store: one, if all have the same."""
        found = set()
        for host in self._running:
            status = self.get(host, "/v1/status")
            store = status["store"]
            found.add((store["state"], status["observed_generation"], store["digest"]))
        return found

    def agree(self) -> None:
        """Wait until all balancers have the same in their maps, and the store has it, too."""
        until(lambda: len(found := self.digests()) == 1 and next(iter(found))[0] == "up")
