# SPDX-License-Identifier: Apache-2.0
"""A Debian that is booted with systemd, as a container in the network namespace of a lab's host."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from .debian import ENVIRONMENT, Debian

BOOT_SECONDS = 60
OWN_NETWORK = {"SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"}
"""The sysctls of its network namespace are its own, as those of a host are."""


class Container:
    """It runs while in the block."""

    def __init__(self, system: Debian, namespace: str, bpffs: Path, log: Path) -> None:
        self._log = log
        bpffs.mkdir(exist_ok=True)
        self._argv = [
            # It powers the container off when it is told to, and also when this process is killed.
            *(
                "setpriv",
                "--pdeathsig",
                "TERM",
                "systemd-nspawn",
                "--quiet",
                "--boot",
                "--directory",
                str(system.folder),
            ),
            *("--machine", f"xdplb-{namespace}", "--register=no", "--keep-unit"),
            *("--network-namespace-path", f"/run/netns/{namespace}"),
            *("--capability=all", "--system-call-filter=bpf @module", "--bind", f"{bpffs}:/sys/fs/bpf"),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._written: IO[bytes] | None = None
        self._init = 0

    def __enter__(self) -> Self:
        self._written = self._log.open("wb")
        self._process = subprocess.Popen(
            self._argv,
            stdin=subprocess.DEVNULL,
            stdout=self._written,
            stderr=self._written,
            env=os.environ | OWN_NETWORK,
        )
        try:
            self._boot(self._process)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def log(self) -> str:
        """Return what its console and its units have said."""
        return (
            self._log.read_text(errors="replace") + self.run("journalctl", "--no-pager", "-n", "50", check=False).stdout
        )

    def power_off(self) -> None:
        """Shut it down, as a host that is switched off in good order."""
        self._stop()

    def power_on(self) -> None:
        """Boot it again, from what is on its disk."""
        self.__enter__()

    def cut_power(self) -> None:
        """End it at once: nothing in it is told."""
        os.kill(self._init, signal.SIGKILL)
        self._stop()

    def _boot(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + BOOT_SECONDS
        while not self._booted():
            assert process.poll() is None, self._log.read_text(errors="replace")
            assert time.monotonic() < end, self._log.read_text(errors="replace")
            time.sleep(0.2)

    def _stop(self) -> None:
        assert self._process is not None
        assert self._written is not None
        self._process.terminate()  # systemd-nspawn passes it on as a power-off
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._written.close()

    def _booted(self) -> bool:
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        if not children:
            return False
        self._init = int(children[-1])
        return self.run("systemctl", "is-system-running", check=False).stdout.strip() in {"running", "degraded"}

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as root."""
        inside = ["nsenter", "--target", str(self._init), *["-m", "-u", "-i", "-n", "-p", "-r", "-w"], "--"]
        done = subprocess.run([*inside, *command], capture_output=True, text=True, check=False, env=ENVIRONMENT)
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done
