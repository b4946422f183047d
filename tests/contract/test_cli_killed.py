# SPDX-License-Identifier: Apache-2.0
"""The daemon killed with -9 while it is written to: what was acknowledged is there, and the maps agree."""

from __future__ import annotations

import http.client
import random
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import count
from pathlib import Path

import pytest

from tests.asking import ApiConnection
from tests.contract.test_cli_up_down import Host, host
from xdplb.dataplane.bcc_plane import BccPlane
from xdplb.dataplane.pinned_maps import Maps

__all__ = ["host"]  # the fixture

ROUNDS = 4
ADDRESS = "203.0.113.10"


def write_until_it_dies(path: Path, ports: Iterator[int]) -> set[int]:
    """Add VIPs one after the other; return the ports of those that were acknowledged."""
    acknowledged = set()
    with closing(ApiConnection(path)) as connection, suppress(OSError, http.client.HTTPException):
        for port in ports:
            status, _ = connection.ask("POST", "/v1/vips", {"address": ADDRESS, "port": port, "protocol": "tcp"})
            if status == http.HTTPStatus.CREATED:
                acknowledged.add(port)
    return acknowledged


def kill_soon(daemon: subprocess.Popen[str]) -> None:
    threading.Timer(random.uniform(0.2, 1.0), daemon.kill).start()


@pytest.mark.root
def test_what_was_acknowledged_survives_kill_9_and_the_maps_agree(host: Host) -> None:
    ports, acknowledged = count(1000), set[int]()
    for _ in range(ROUNDS):
        with host.up("eth0") as daemon:
            kill_soon(daemon)
            acknowledged |= write_until_it_dies(host.socket, ports)
            daemon.wait(30)
        with host.up("eth0") as daemon:
            with closing(ApiConnection(host.socket)) as connection:
                _, answer = connection.ask("GET", "/v1/vips")
            there = {vip["port"] for vip in answer["vips"]}
            held = BccPlane(Maps.adopt(host.pins)).read_vips()
            assert acknowledged <= there
            assert {entry.key.port for entry in held.values()} == there
            daemon.terminate()
            daemon.communicate(timeout=30)
    assert acknowledged
    assert host.down("--all").returncode == 0
    assert host.is_clean()
