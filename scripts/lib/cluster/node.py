# SPDX-License-Identifier: Apache-2.0
"""A balancer of a cluster: `xdplb up` on a host of the lab, and its command line."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from xdplb.client import Client, NotFoundError
from xdplb.net.lab_hosts import Hosts

__all__ = ["XDPLB", "Node", "wait_for"]

XDPLB = str(Path(sys.executable).parent / "xdplb")
NIC = "eth0"
READY_SECONDS = 180
COMMAND_SECONDS = 120
POLL_SECONDS = 0.05


class Node:
    """One balancer, with a state, an API and pins of its own: the hosts of the lab share a file system."""

    def __init__(self, lab: Hosts, host: str, *options: str) -> None:
        """`options` are those of `xdplb up` that it always has."""
        self.lab, self.host, self.options = lab, host, options
        self.folder = lab.folder / host
        self.folder.mkdir(exist_ok=True)
        self.socket = self.folder / "api.sock"
        self.pins = lab.home.bpffs / host
        self.daemon: subprocess.Popen[Any] | None = None

    def start(self) -> None:
        """Run `xdplb up` and return at once."""
        places = ["--listen", f"unix:{self.socket}", "--state-dir", str(self.folder / "state")]
        places += ["--pin-dir", str(self.pins)]
        with (self.folder / "daemon.log").open("a") as log:
            command = [XDPLB, "up", NIC, *places, *self.options]
            self.daemon = self.lab.popen(self.host, command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def wait_until_ready(self) -> None:
        """Return when the daemon is ready. Raises RuntimeError with its log if it never is."""
        assert self.daemon is not None
        end = time.monotonic() + READY_SECONDS
        while self.cli("status", "--wait", "--timeout", "10s", check=False).returncode:
            if self.daemon.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{self.host} is not ready: {self.log()}")

    def kill(self) -> None:
        """Kill the daemon with -9; packets go on."""
        assert self.daemon is not None
        self.daemon.kill()
        self.daemon.wait()

    def withdraw(self) -> None:
        """Withdraw what a daemon that was killed still announces."""
        command = [XDPLB, "node", "withdraw", "--force", "--pin-dir", str(self.pins)]
        self.lab.run(self.host, command, timeout=COMMAND_SECONDS)

    def stop(self) -> int:
        """Stop the daemon with SIGTERM, and return its exit code."""
        assert self.daemon is not None
        self.daemon.terminate()
        return self.daemon.wait(COMMAND_SECONDS)

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of a client command of this balancer."""
        return [XDPLB, "--socket", str(self.socket), *arguments]

    def cli(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a client command. Raises RuntimeError if it fails, unless `check` is False."""
        told = self.lab.run(self.host, self.command(*arguments), check=False, timeout=COMMAND_SECONDS)
        if check and told.returncode:
            raise RuntimeError(f"{self.host}: xdplb {' '.join(arguments)}: {told.stdout}{told.stderr}")
        return told

    def ask(self, *arguments: str) -> Any:
        """Return what a client command shows, as data."""
        return json.loads(self.cli(*arguments, "-o", "json").stdout)

    def client(self) -> Client:
        """Return a client of the daemon's API, as this process has it: a socket in the file system has no namespace."""
        return Client(socket_path=str(self.socket))

    def log(self) -> str:
        """Return what the daemons have logged."""
        return (self.folder / "daemon.log").read_text()

    def serves(self, vip: str, addresses: Sequence[str]) -> bool:
        """Whether each of these backends of a VIP gets new connections."""
        with self.client() as client:
            try:
                backends = client.backends.list(vip).json()["backends"]
            except NotFoundError:  # it comes by the store
                return False
        shares = {one["address"]: one["status"]["share"] for one in backends}
        return all(shares.get(address, 0) > 0 for address in addresses)


def wait_for(true: Callable[[], object], seconds: float, what: str) -> float:
    """Return how many seconds it took until `true()` held. Raises RuntimeError that says `what` was not so."""
    began = time.monotonic()
    while not true():
        if time.monotonic() > began + seconds:
            raise RuntimeError(f"not after {seconds:g} s: {what}")
        time.sleep(POLL_SECONDS)
    return time.monotonic() - began
