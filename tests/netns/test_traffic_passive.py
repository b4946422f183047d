# SPDX-License-Identifier: Apache-2.0
"""Passive health with real clients: a backend that is blackholed gets no new connections within a second."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.stopwatch import Stopwatch
from tests.waiting import until
from xdplb.net.lab import ADDRESSES, VIP

from .balancer import PORT, Balancer

CONNECTOR = str(Path(__file__).with_name("connector.py"))
HOSTS = ("dr1", "dr2", "ipip1")


@contextmanager
def connecting(balancer: Balancer, rate: int, seconds: float) -> Iterator[subprocess.Popen[Any]]:
    """Let the client open connections meanwhile, one after the other, whatever becomes of each."""
    client = balancer.lab.popen("client", [sys.executable, CONNECTOR, str(VIP), str(PORT), str(rate), str(seconds)])
    try:
        yield client
    finally:
        client.kill()
        client.wait()


def blackhole(balancer: Balancer, host: str) -> float:
    """Let a host take nothing any more that is sent to it, and answer no ARP; return when."""
    balancer.lab.run(host, ["ip", "link", "set", "eth0", "arp", "off", "address", "02:00:00:00:de:ad"])
    return time.time()


def events(balancer: Balancer, kind: str) -> list[dict[str, Any]]:
    """Return the events of a kind."""
    found: list[dict[str, Any]] = balancer.ask("events", "--kind", kind)["events"]
    return found


def test_a_blackholed_backend_is_ejected_within_a_second(balancer: Balancer) -> None:
    balancer.prepare(*HOSTS)
    balancer.start()
    balancer.add(*HOSTS, vip_options=["--passive", "eject"])
    with connecting(balancer, 100, 30):
        time.sleep(2)
        assert not events(balancer, "ejected")
        died, watch = blackhole(balancer, "dr1"), Stopwatch()
        until(lambda: bool(events(balancer, "ejected")))
        (told,) = events(balancer, "ejected")
        hindered = watch.hindered
        assert told["backend"] == str(ADDRESSES["dr1"])
        assert datetime.fromisoformat(told["time"]).timestamp() - died < 1.0 + hindered
        until(lambda: balancer.status("dr1")["share"] == 0)
        assert balancer.status("dr1")["reason"].startswith("ejected for 30 s: ")
        assert sum(balancer.status(host)["share"] for host in HOSTS) > 0.99
