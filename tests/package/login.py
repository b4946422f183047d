# SPDX-License-Identifier: Apache-2.0
"""Machines as people have them at hand: what is typed there goes by ssh, from a host of a lab."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from xdplb.net.lab_hosts import Hosts

from .debian import Debian

__all__ = ["Key", "Login"]

_OPTIONS = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=5")


class Key:
    """A key for root's login, made for one trial."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.file], check=True)

    def let_into(self, system: Debian) -> None:
        """Let it into a machine that is to boot from this folder."""
        ssh = system.folder / "root/.ssh"
        ssh.mkdir(mode=0o700, exist_ok=True)
        (ssh / "authorized_keys").write_text(self.file.with_suffix(".pub").read_text())


class Login:
    """root on a machine at `address`, from the host of the lab at whose desk one sits."""

    def __init__(self, lab: Hosts, desk: str, address: str, key: Key) -> None:
        self.lab, self.desk, self.address = lab, desk, address
        self._by = ["-i", str(key.file), *(word for option in _OPTIONS for word in ("-o", option))]

    def answers(self) -> bool:
        """Return whether it has booted, and lets one in."""
        asked = ["ssh", *self._by, f"root@{self.address}", "systemctl is-system-running --wait"]
        done = self.lab.run(self.desk, asked, check=False, timeout=600)
        return done.stdout.strip() in {"running", "degraded"}

    def sh(self, lines: str, *, typed: str = "", seconds: float) -> str:
        """Run lines of shell, with what is typed at their questions; return what they print. Fails if one fails."""
        asked = ["ssh", *self._by, f"root@{self.address}", f"set -e\n{lines}"]
        done = self.lab.run(self.desk, asked, check=False, timeout=seconds, input=typed)
        assert done.returncode == 0, f"at {self.address}: {lines}\n{done.stdout}{done.stderr}"
        return done.stdout

    def open(self, command: str, *options: str) -> subprocess.Popen[Any]:
        """Run a command on a terminal of its own, until it is stopped; what it prints can be read."""
        asked = ["ssh", "-tt", *options, *self._by, f"root@{self.address}", command]
        return self.lab.popen(self.desk, asked, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)

    def copy(self, file: Path, target: str) -> None:
        """Copy a file there, with scp."""
        self.lab.run(self.desk, ["scp", "-q", *self._by, str(file), f"root@{self.address}:{target}"], timeout=600)
