# SPDX-License-Identifier: Apache-2.0
"""What the demo runs: the lab, the processes in it, the daemon, and its CLI and REST clients."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xdplb.net.lab import ADDRESSES, VIP, Lab

from .screen import Screen

__all__ = ["Backend", "DemoError", "State", "World"]

XDPLB = str(Path(sys.executable).parent / "xdplb")
BACKENDS = {"dr1": ("dr", 1), "dr2": ("dr", 2), "ipip1": ("ipip", 1), "ipip2": ("ipip", 2)}
"""How each backend is reached, and its weight."""

NIC = "eth0"
PORT = 80
STOP_SECONDS = 60
POLL_SECONDS = 0.05


class DemoError(Exception):
    """An error after which the demo cannot go on."""


@dataclass(frozen=True, slots=True)
class Backend:
    """A backend: the name of its host in the lab, its address, how it is reached, and its weight."""

    name: str
    address: str
    forward: str
    weight: int


@dataclass(frozen=True, slots=True)
class State:
    """What the daemon says about a backend."""

    health: str
    admin_state: str
    share: float
    flows: int | None
    reason: str

    @property
    def up(self) -> bool:
        """Whether it takes new connections."""
        return self.health == "up" and self.share > 0

    @property
    def word(self) -> str:
        """Its state in one word."""
        return self.health if self.admin_state == "ready" else self.admin_state


class World:
    """Everything that runs. With `keep` it keeps running after the demo."""

    vip = f"{VIP}:{PORT}/tcp"
    vip_path = f"/v1/vips/{VIP}:{PORT}:tcp"
    url = f"http://{VIP}/"

    def __init__(self, lab: Lab, screen: Screen, *, keep: bool, service: str, svg: Path | None = None) -> None:
        """`service` is the module that backends run, `svg` the file to draw into, if any."""
        self.lab, self.svg = lab, svg
        self.socket = lab.folder / "api.sock"
        self.config_file = lab.folder / "config.toml"
        self.backends = [
            Backend(name, str(ADDRESSES[name]), forward, weight) for name, (forward, weight) in BACKENDS.items()
        ]
        self._screen = screen
        self._keep, self._service = keep, service
        self._servers: dict[str, subprocess.Popen[str]] = {}
        self._daemon: subprocess.Popen[str] | None = None

    # --- hosts

    def spawn_in_client(self, command: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """Start a command on the client; it always ends with the demo."""
        process: subprocess.Popen[str] = self.lab.popen("client", command, **options)
        return process

    def prepare(self, backend: Backend) -> None:
        """Set a backend's host up for the VIP, and show the command."""
        command = ["backend-host", "setup", self.vip, "--forward", backend.forward, *self.places(backend)]
        self._screen.command(["xdplb", *command], where=backend.name)
        done = self.lab.run(backend.name, [XDPLB, *command], check=False)
        if done.returncode != 0:
            raise DemoError(f"{backend.name} cannot be set up: {done.stderr.strip()}")

    def places(self, backend: Backend) -> list[str]:
        """Return the options with the folders of a backend's host: the hosts of the lab share a file system."""
        state, pins = self.lab.folder / backend.name, self.lab.home.bpffs / backend.name
        return ["--state-dir", str(state), "--pin-dir", str(pins)]

    def start_server(self, backend: Backend) -> None:
        """Start a backend's service."""
        command = [sys.executable, "-m", self._service, backend.name, str(PORT)]
        self._servers[backend.name] = self._start(backend.name, command, log=f"{backend.name}.log")

    def serve(self, backend: Backend, command: Sequence[str]) -> None:
        """Start another server on a backend's host; it always ends with the demo."""
        self.lab.popen(backend.name, command)

    def kill_server(self, backend: Backend) -> None:
        """Kill a backend's service with -9."""
        self._servers[backend.name].kill()
        self._servers[backend.name].wait()

    def answers(self, backend: Backend) -> bool:
        """Whether a backend answers the client at its own address, not through the balancer."""
        command = ["curl", "--silent", "--max-time", "1", f"http://{backend.address}:{PORT}/"]
        return self.lab.run("client", command, check=False).stdout.strip() == backend.name

    def xdp_on_nic(self) -> bool:
        """Whether the balancer's NIC has an XDP program, according to `ip`."""
        shown = json.loads(self.lab.run("balancer", ["ip", "-json", "link", "show", NIC]).stdout)
        return "xdp" in shown[0]

    def pins(self) -> list[str]:
        """Return the balancer's pins."""
        return sorted(str(path) for path in self.lab.pin_dir.rglob("*")) if self.lab.pin_dir.exists() else []

    # --- the daemon

    def start_daemon(self, version: Path | None = None, *, config: Path | None = None) -> None:
        """Run `xdplb up` on the balancer: that of the version in a folder, with a config file, if they are given."""
        places = ["--listen", f"unix:{self.socket}", "--state-dir", str(self.lab.folder / "state")]
        command = ["up", NIC, *places, "--pin-dir", str(self.lab.pin_dir)]
        command += [] if config is None else ["--config", str(config)]
        self._screen.command(["xdplb", *command], where="balancer")
        of_version = [] if version is None else ["env", f"PYTHONPATH={version}:{version / 'api'}"]
        self._daemon = self._start("balancer", [*of_version, XDPLB, *command], log="daemon.log")

    def daemon_ended(self, seconds: float) -> int | None:
        """Wait until the daemon has ended by itself; return its exit code, None if it goes on."""
        try:
            return self._running_daemon().wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def daemon_is_ready(self, seconds: float) -> bool:
        """Wait with a client command until the daemon is ready, and return whether it is; stop waiting if it exits."""
        waiting = self.spawn_cli("status", "--wait", "--timeout", f"{seconds:g}s")
        wait_for(lambda: waiting.poll() is not None or self._running_daemon().poll() is not None, seconds + 1)
        waiting.terminate()
        waiting.communicate()
        return waiting.returncode == 0

    def kill_daemon(self) -> None:
        """Kill the daemon with -9."""
        daemon = self._running_daemon()
        self._screen.command(["kill", "-9", str(daemon.pid)])
        daemon.kill()
        daemon.wait()

    def signal_daemon(self, number: signal.Signals) -> None:
        """Send the daemon a signal."""
        daemon = self._running_daemon()
        self._screen.command(["kill", f"-{number.name.removeprefix('SIG')}", str(daemon.pid)])
        daemon.send_signal(number)

    def stop_daemon(self) -> int:
        """Stop the daemon with SIGTERM, and return its exit code."""
        daemon = self._running_daemon()
        self._screen.command(["kill", str(daemon.pid)])
        daemon.send_signal(signal.SIGTERM)
        return daemon.wait(STOP_SECONDS)

    def down(self) -> subprocess.CompletedProcess[str]:
        """Run `xdplb down` on the balancer."""
        command = ["down", NIC, "--pin-dir", str(self.lab.pin_dir)]
        self._screen.command(["xdplb", *command], where="balancer")
        return self.lab.run("balancer", [XDPLB, *command], check=False)

    def daemon_said(self) -> str:
        """Return the last line of the daemon's log."""
        lines = self.daemon_log()
        return lines[-1] if lines else "the daemon logged nothing"

    def daemon_log(self) -> list[str]:
        """Return the lines of the daemon's log."""
        return (self.lab.folder / "daemon.log").read_text(encoding="utf-8").splitlines()

    # --- talking to it

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a client command, and show it."""
        return subprocess.run(self._client(arguments), capture_output=True, text=True, check=False)

    def cli_or_raise(self, *arguments: str) -> None:
        """Run a client command that must succeed, and show it."""
        done = self.cli(*arguments)
        if done.returncode != 0:
            raise DemoError(f"xdplb {' '.join(arguments)} exited with {done.returncode}: {done.stderr.strip()}")

    def spawn_cli(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a client command, and show it."""
        process: subprocess.Popen[str] = self.lab.popen(
            "balancer", self._client(arguments), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        return process

    def rest(self, method: str, path: str, body: object = None) -> Any:
        """Send a request to the API with curl, and return the body. Requests other than GET are shown."""
        command = ["curl", "-sS", "--fail-with-body", "--unix-socket", str(self.socket), "-X", method]
        command += [] if body is None else ["--json", json.dumps(body)]
        command.append(f"http://localhost{path}")
        if method != "GET":
            self._screen.command(command)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise DemoError(f"{method} {path} failed: {done.stderr.strip()} {done.stdout.strip()}")
        return json.loads(done.stdout) if done.stdout else None

    def states(self) -> dict[str, State]:
        """Return what the daemon says about each backend, by name."""
        listed = {one["address"]: one for one in self.rest("GET", f"{self.vip_path}/backends")["backends"]}
        return {
            backend.name: State(
                health=one["status"]["health"],
                admin_state=one["admin_state"],
                share=one["status"]["share"],
                flows=one["status"]["flows"],
                reason=one["status"]["reason"],
            )
            for backend in self.backends
            if (one := listed.get(backend.address))
        }

    def shares(self) -> dict[str, float]:
        """Return each backend's share of new connections, by name."""
        return {name: state.share for name, state in self.states().items()}

    def generation(self) -> int:
        """Return the generation of the desired state."""
        generation: int = self.rest("GET", "/v1/status")["generation"]
        return generation

    def attachment(self) -> dict[str, Any]:
        """Return the attachment on the balancer's NIC: its program's id, and since when that is attached."""
        attachment: dict[str, Any] = self.rest("GET", "/v1/dataplane")["attachments"][0]
        return attachment

    def _client(self, arguments: Sequence[str]) -> list[str]:
        self._screen.command(["xdplb", *arguments])
        return ["env", f"XDPLB_SOCKET={self.socket}", XDPLB, *arguments]

    def _start(self, host: str, command: Sequence[str], *, log: str) -> subprocess.Popen[str]:
        """Start a process that may outlive the demo, in its own session so that the terminal's Ctrl-C misses it."""
        with (self.lab.folder / log).open("a", encoding="utf-8") as file:
            process: subprocess.Popen[str] = self.lab.popen(
                host,
                command,
                dies_with_parent=not self._keep,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        return process

    def _running_daemon(self) -> subprocess.Popen[str]:
        if self._daemon is None:
            raise DemoError("the daemon was never started")
        return self._daemon


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait at most `seconds` until a condition holds; return whether it does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
