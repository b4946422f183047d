# SPDX-License-Identifier: Apache-2.0
"""Hosts of a lab with folders of their own, so that commands and configurations are those that users have.

`/etc`, `/run`, `/opt`, `/srv`, `/root`, `/var/lib`, `/usr/bin`, `/sys/fs/bpf` and the host name are a host's own;
`systemctl`, `journalctl` and `sudo` are those of `bin/`. Each host is as the package leaves it: the command, its unit
and `/etc/default/xdplb` are there.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from xdplb.net import netns
from xdplb.net.lab_hosts import Hosts

from .balancer import READY_SECONDS

__all__ = ["REPOSITORY", "OwnFolders"]

REPOSITORY = Path(__file__).resolve().parents[2]
_COMMANDS = Path(sys.executable).parent
_PACKAGING = REPOSITORY / "debian"
_STAND_INS = Path(__file__).with_name("bin")

# The holder keeps the namespaces of a host, and ends with its input. The overlays need a file system that is none below
# them, hence the tmpfs. keepalived asks for the address of its host's name; without an answer it starts seconds late.
_HOLD = """
set -e
hostname "$1"
mount -t tmpfs own "$2"
for folder in etc opt srv root var/lib usr/bin usr/lib/systemd/system; do
    mkdir -p "$2/$folder/upper" "$2/$folder/work"
    mount -t overlay "$1" -o "lowerdir=/$folder,upperdir=$2/$folder/upper,workdir=$2/$folder/work" "/$folder"
done
mkdir -p "$2/run" "$2/state" /etc/xdplb /etc/keepalived /etc/systemd/system /var/lib/xdplb
echo 'DAEMON_ARGS="--log-console --log-detail"' >/etc/default/keepalived
ln -sf "$4/xdplb" /usr/bin/xdplb
cp "$5/xdplb.service" /usr/lib/systemd/system/xdplb.service
cp "$5/xdplb.default" /etc/default/xdplb
printf '127.0.0.1 localhost\\n127.0.1.1 %s\\n' "$1" >/etc/hosts
mount --bind "$2/state" /var/lib/xdplb
mount --bind "$3" /sys/fs/bpf
mount --bind "$2/run" /run
echo ready
exec cat
"""


class OwnFolders(Hosts):
    """A lab with such hosts: those in `NAMES`, each with its host name."""

    NAMES: ClassVar[Mapping[str, str]]

    def __init__(self, *, port_program: int | None = None) -> None:
        super().__init__(port_program=port_program)
        self._holders: dict[str, int] = {}

    def run(
        self, host: str, argv: Sequence[str], *, check: bool = True, timeout: float = 30, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a host and return its output. Raises CalledProcessError unless `check` is False."""
        line = self._line(host, argv, dies_with_parent=True)
        options = {"env": _environment()} | options
        return subprocess.run(line, check=check, capture_output=True, text=True, timeout=timeout, **options)

    def home_of(self, host: str) -> Path:
        """Return a folder for what is done on a host, by its path there."""
        return Path("/root") if host in self._holders else self.folder

    def sh(self, host: str, lines: str) -> str:
        """Run lines of shell on a host, as somebody types them in a clone; return what they print."""
        told = self.run(host, ["sh", "-ec", lines], check=False, timeout=READY_SECONDS)
        assert told.returncode == 0, f"{host}: {lines}\n{told.stdout}{told.stderr}"
        return told.stdout

    def popen(
        self, host: str, argv: Sequence[str], *, dies_with_parent: bool = True, **options: Any
    ) -> subprocess.Popen[Any]:
        """Start a command on a host; it is stopped with the lab."""
        line = self._line(host, argv, dies_with_parent=dies_with_parent)
        process = subprocess.Popen(line, **({"env": _environment()} | options))
        self._processes.append(process)
        return process

    def _line(self, host: str, argv: Sequence[str], *, dies_with_parent: bool) -> list[str]:
        """Return the command line that runs `argv` on a host, in all of its namespaces."""
        if host not in self._holders:
            return netns.command(self.namespace(host), argv, dies_with_parent=dies_with_parent)
        enter = ["nsenter", f"--target={self._holders[host]}", "--net", "--mount", "--uts", f"--wd={REPOSITORY}"]
        return [*(["setpriv", "--pdeathsig", "KILL", "--"] if dies_with_parent else []), *enter, "--", *argv]

    def _hold(self, host: str) -> None:
        """Give a host its own folders and its own name."""
        own, bpffs = self.folder / self.NAMES[host], self.home.bpffs / self.NAMES[host]
        own.mkdir()
        bpffs.mkdir()
        unshare = ["unshare", "--mount", "--uts", "--propagation", "private", "--", "sh", "-c", _HOLD, "hold"]
        argv = [*unshare, self.NAMES[host], str(own), str(bpffs), str(_COMMANDS), str(_PACKAGING)]
        holder = self.popen(host, argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        self._holders[host] = holder.pid


def _environment() -> dict[str, str]:
    """Have the `xdplb` of these tests on the PATH, and what stands for systemd; curl fails if an answer says so."""
    path = f"{_STAND_INS}:{_COMMANDS}:{os.environ['PATH']}:/usr/sbin:/sbin"
    return os.environ | {"PATH": path, "CURL_HOME": str(_STAND_INS)}
