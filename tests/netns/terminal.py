# SPDX-License-Identifier: Apache-2.0
"""A shell on a host of a lab, into which one command after the other is typed."""

from __future__ import annotations

import os
import select
import shlex
import subprocess
import time
from pathlib import Path

from .balancer import READY_SECONDS
from .own_folders import OwnFolders

__all__ = ["Terminal"]


class Terminal:
    """It keeps its folder, its variables and its jobs from one command to the next."""

    def __init__(self, lab: OwnFolders, host: str, folder: Path) -> None:
        self._lab, self._host = lab, host
        self._shell = lab.popen(
            host, ["sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
        )
        self.type(f"mkdir -p {folder} && cd {folder}")

    def type(self, text: str) -> tuple[int, str]:
        """Run what is typed; return its exit code and what it printed."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{{ {text}\n}} </dev/null\nprintf '\\0%d\\n' $?\n".encode())
        told, end = b"", time.monotonic() + READY_SECONDS
        while b"\0" not in told or not told.endswith(b"\n"):
            ready, _, _ = select.select([self._shell.stdout], [], [], max(0, end - time.monotonic()))
            more = os.read(self._shell.stdout.fileno(), 65536) if ready else b""
            assert more, f"{self._host}: {text}\n{told.decode()}\nand nothing more"
            told += more
        said, _, code = told.decode().rpartition("\0")
        return int(code), said

    def beside(self, text: str) -> list[str]:
        """Return a command that does what is typed in a process of its own, in the folder that the shell is in."""
        _, folder = self.type("pwd")
        return ["sh", "-ec", f"cd {shlex.quote(folder.strip())}; exec {text}"]

    def close(self) -> None:
        self._shell.kill()
        self._shell.wait()
