# SPDX-License-Identifier: Apache-2.0
"""Long connections through the balancer, and what became of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from xdplb.net.lab import VIP

from .balancer import Balancer
from .random_changes import HOSTS, PORTS

__all__ = ["Talk", "serve_talks"]

TALKER = str(Path(__file__).with_name("talker.py"))


def serve_talks(balancer: Balancer) -> None:
    """Have every host answer what `Talk` says."""
    for host in HOSTS:
        balancer.lab.popen(host, [sys.executable, TALKER, "serve", host, *map(str, PORTS.values())])


class Talk:
    """Holds this many connections to a port of the VIP. One that breaks is noted, and opened anew."""

    def __init__(self, balancer: Balancer, port: int, connections: int) -> None:
        self._told = balancer.lab.folder / f"told-{port}"
        with self._told.open("w") as out:
            argv = [sys.executable, TALKER, "talk", str(VIP), str(port), str(connections)]
            self._process = balancer.lab.popen("client", argv, stdout=out)

    def finish(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Stop; return the connections that ended before, and the summary."""
        self._process.terminate()
        assert self._process.wait(60) == 0
        *ended, summary = [json.loads(line) for line in self._told.read_text().splitlines()]
        return ended, summary
