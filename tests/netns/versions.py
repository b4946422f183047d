# SPDX-License-Identifier: Apache-2.0
"""Versions of xdplb in folders of their own, and a balancer whose daemon can be of any of them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xdplb.net.lab import Lab

from .balancer import Balancer

__all__ = ["ROOT", "Version", "Versioned", "change", "copy_of_this"]

ROOT = Path(__file__).parents[2]


@dataclass
class Version:
    """A version of xdplb to run, in a folder: this one is in the clone."""

    folder: Path

    def environment(self) -> dict[str, str]:
        return os.environ | {"PYTHONPATH": f"{self.folder}:{self.folder / 'api'}"}


class Versioned(Balancer):
    """A balancer whose daemon can be of any version."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab)
        self.version = Version(ROOT)

    def spawn(self, *options: str, nics: Any = ("eth0", "eth1")) -> subprocess.Popen[Any]:
        places = ["--listen", f"unix:{self.socket}", "--state-dir", str(self.lab.folder / "state")]
        places += ["--pin-dir", str(self.lab.pin_dir)]
        argv = [sys.executable, "-c", "from xdplb.cli.main import main; main()", "up", *nics, *places, *options]
        with self.log_file.open("a") as log:
            return self.lab.popen(
                "balancer", argv, stdout=log, stderr=log, env=self.version.environment(), cwd=self.lab.folder
            )

    def stop(self) -> None:
        """End the daemon as systemd does."""
        assert self.daemon is not None
        self.daemon.send_signal(signal.SIGTERM)
        assert self.daemon.wait(20) == 0


def copy_of_this(folder: Path) -> Version:
    """Return a copy of this version, to be changed."""
    for part in ("xdplb", "api", "bpf"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    return Version(folder)


def change(path: Path, pattern: str, replacement: Any, *, count: int = 1) -> None:
    """Replace what matches in a file, `count` times, 0 for all."""
    text, made = re.subn(pattern, replacement, path.read_text(), count=count)
    assert made >= max(count, 1), f"{pattern} is not in {path}"
    path.write_text(text)
