# SPDX-License-Identifier: Apache-2.0
"""Connections that a client of a lab holds open until it is told otherwise."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xdplb.net.lab_hosts import Hosts

__all__ = ["Held"]

TALKER = str(Path(__file__).with_name("held_talker.py"))


class Held:
    """Connections of the host `client` to an address and a port; `of` has their numbers by the host that has them."""

    def __init__(self, lab: Hosts, address: str, port: int, count: int) -> None:
        argv = [sys.executable, TALKER, address, str(port), str(count)]
        self._process = lab.popen("client", argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        owners = self._line()
        self.of: dict[str, list[int]] = {owner: [] for owner in owners}
        for number, owner in enumerate(owners):
            self.of[owner].append(number)

    def do(self, verb: str, numbers: Sequence[int]) -> list[str]:
        """Tell these connections to `speak`, `close` or `reset`; return what came of each."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{verb} {' '.join(map(str, numbers))}\n")
        self._process.stdin.flush()
        done: list[str] = self._line()
        return done

    def _line(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())
