# SPDX-License-Identifier: Apache-2.0
"""The etcd of a lab, on the host that all share."""

from __future__ import annotations

import os
import subprocess
from typing import Any

from xdplb.net.lab_cluster import ADDRESSES, SHARED, ClusterLab

from .node import wait_for

__all__ = ["Store"]

_PORT, _PEER_PORT = 2379, 2380
_UP_SECONDS = 20


class Store:
    """One member; its data outlive its process."""

    url = f"etcd://{ADDRESSES[SHARED]}:{_PORT}/demo"

    def __init__(self, lab: ClusterLab) -> None:
        self._lab = lab
        self._process: subprocess.Popen[Any] | None = None

    def start(self) -> None:
        """Start it; it answers."""
        clients, peers = f"http://{ADDRESSES[SHARED]}:{_PORT}", f"http://127.0.0.1:{_PEER_PORT}"
        command = ["etcd", "--name", "lab", "--data-dir", str(self._lab.folder / "etcd"), "--log-level", "error"]
        command += ["--listen-client-urls", clients, "--advertise-client-urls", clients]
        command += ["--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers]
        command += ["--initial-cluster", f"lab={peers}"]
        with (self._lab.folder / "etcd.log").open("a") as log:
            self._process = self._lab.popen(
                SHARED, command, env=os.environ | {"GOMAXPROCS": "1"}, stdout=log, stderr=log
            )
        asked = ["curl", "-sf", "--max-time", "1", f"{clients}/health"]
        wait_for(lambda: '"true"' in self._lab.run(SHARED, asked, check=False).stdout, _UP_SECONDS, "etcd answers")

    def kill(self) -> None:
        """Kill it with -9."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
