# SPDX-License-Identifier: Apache-2.0
"""Routing daemons of a lab: FRR and BIRD, each with a folder of its own on its host, so that many run side by side."""

from __future__ import annotations

import contextlib
import functools
import json
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .lab_hosts import Hosts

__all__ = ["Bird", "Frr", "RoutingDaemon"]

_UP_SECONDS = 15
_STOP_SECONDS = 10
_BFD_COLUMNS = 6
"""Of BIRD's table of sessions: address, interface, state, since, interval, timeout."""
_AHEAD = ("chrt", "--rr", "1")
"""Ahead of all that is not a routing daemon: BFD that waits for a CPU takes its neighbours for dead.

Niceness does not do for this: with the kernel's autogroups it counts only among the processes of one session.
"""
_NICE = ("nice", "-n", "-5")
"""As Debian's frr.service has it; for a control group that may have no real-time processes."""


@functools.cache
def _priority() -> tuple[str, ...]:
    """Return what goes before a command, so that it runs before others; its threads do, too."""
    tried = subprocess.run([*_AHEAD, "true"], stderr=subprocess.DEVNULL, check=False)
    return _NICE if tried.returncode else _AHEAD


class RoutingDaemon(ABC):
    """A routing daemon on a host, with a configuration file as a user would have it."""

    def __init__(self, lab: Hosts, host: str, config: Path) -> None:
        self.lab, self.host, self.config = lab, host, config
        self.folder = lab.folder / f"{host}-{type(self).__name__.lower()}"
        self._processes: dict[str, subprocess.Popen[Any]] = {}

    def start(self) -> None:
        """Start it and return when it has its configuration; its sessions come up later."""
        self.folder.mkdir(exist_ok=True)
        self._start()

    def stop(self) -> None:
        """Stop it as its service does: it takes back what it has announced."""
        self._end(subprocess.Popen.terminate)

    def kill(self) -> None:
        """Kill it with -9: it takes nothing back."""
        self._end(subprocess.Popen.kill)

    @abstractmethod
    def ask(self, command: str) -> str:
        """Return what it says to a command of its shell (vtysh or birdc)."""

    @abstractmethod
    def sessions(self) -> dict[str, bool]:
        """Return whether each BGP session is up, by the neighbour's address."""

    @abstractmethod
    def watched(self) -> dict[str, bool]:
        """Return whether each BFD session is up, by the neighbour's address."""

    def log(self) -> str:
        """Return what it has logged."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    @abstractmethod
    def _start(self) -> None: ...

    def _run(self, name: str, command: Sequence[str]) -> None:
        with (self.folder / f"{name}.log").open("a") as log:
            self._processes[name] = self.lab.popen(self.host, [*_priority(), *command], stdout=log, stderr=log)

    def _end(self, how: Callable[[subprocess.Popen[Any]], None]) -> None:
        for process in self._processes.values():
            how(process)
        for process in self._processes.values():
            process.wait(_STOP_SECONDS)
        self._processes.clear()

    def _wait(self, true: Callable[[], bool]) -> None:
        end = time.monotonic() + _UP_SECONDS
        while not true():
            for name, process in self._processes.items():
                if process.poll() is not None:
                    raise RuntimeError(f"{name} of {self.host} has ended: {self.log()}")
            if time.monotonic() > end:
                raise RuntimeError(f"{type(self).__name__} of {self.host} does not come up: {self.log()}")
            time.sleep(0.02)


class Frr(RoutingDaemon):
    """FRR: zebra, bgpd and bfdd. `config` is an integrated configuration, such as /etc/frr/frr.conf."""

    DAEMONS = ("zebra", "bgpd", "bfdd")
    ZEBRA_OPTIONS = ("--v6-rr-semantics",)
    """Replace IPv6 routes; without it they are deleted and written anew."""

    def ask(self, command: str) -> str:
        """Return what vtysh says to a command."""
        return self.lab.run(self.host, [*self._vtysh(), "-c", command]).stdout

    def sessions(self) -> dict[str, bool]:
        """Return whether each BGP session is up."""
        found: dict[str, bool] = {}
        told = json.loads(self.ask("show bgp summary json"))
        for family in told.values():
            for neighbour, peer in family.get("peers", {}).items():
                found[neighbour] = peer["state"] == "Established"
        return found

    def watched(self) -> dict[str, bool]:
        """Return whether each BFD session is up."""
        return {session["peer"]: session["status"] == "up" for session in json.loads(self.ask("show bfd peers json"))}

    def _start(self) -> None:
        for path in self.folder.glob("*.vty"):
            path.unlink()
        (self.folder / "vtysh.conf").touch()
        for name in self.DAEMONS:
            self._launch(name)
        self._configure()

    def _launch(self, name: str) -> None:
        own = ["--vty_socket", str(self.folder), "-i", str(self.folder / f"{name}.pid"), "-f", "/dev/null"]
        own += ["-z", str(self.folder / "zserv"), "-u", "root", "-g", "frrvty", "-P", "0", "--log", "stdout"]
        own += list(self.ZEBRA_OPTIONS) if name == "zebra" else []
        own += ["--bfdctl", str(self.folder / "bfdctl")] if name == "bfdd" else []
        self._run(name, [f"/usr/lib/frr/{name}", *own])
        self._wait((self.folder / f"{name}.vty").exists)

    def _configure(self) -> None:
        told = self.lab.run(self.host, [*self._vtysh(), "-f", str(self.config)], check=False)
        if told.returncode:
            raise RuntimeError(f"vtysh refuses {self.config}: {told.stdout}{told.stderr}")

    def _vtysh(self) -> list[str]:
        return ["vtysh", "--vty_socket", str(self.folder), "--config_dir", str(self.folder)]


class Bird(RoutingDaemon):
    """BIRD 2. `config` is a file such as /etc/bird/bird.conf."""

    def ask(self, command: str) -> str:
        """Return what birdc says to a command."""
        return self.lab.run(self.host, ["birdc", "-s", str(self._control), *command.split()]).stdout

    def sessions(self) -> dict[str, bool]:
        """Return whether each BGP session is up."""
        found: dict[str, bool] = {}
        up = False
        for line in self.ask("show protocols all").splitlines():
            words = line.split()
            if len(words) > 3 and words[1] == "BGP":
                up = "Established" in line
            elif line.strip().startswith("Neighbor address:"):
                found[words[2]] = up
        return found

    def watched(self) -> dict[str, bool]:
        """Return whether each BFD session is up."""
        lines = [line.split() for line in self.ask("show bfd sessions").splitlines()]
        return {words[0]: words[2] == "Up" for words in lines if len(words) == _BFD_COLUMNS and words[2] != "State"}

    @property
    def _control(self) -> Path:
        return self.folder / "control"

    def _start(self) -> None:
        self._control.unlink(missing_ok=True)
        command = ["bird", "-f", "-c", str(self.config), "-s", str(self._control), "-P", str(self.folder / "pid")]
        self._run("bird", command)
        self._wait(self._answers)

    def _answers(self) -> bool:
        with contextlib.suppress(subprocess.CalledProcessError):
            return "BIRD" in self.ask("show status")
        return False
