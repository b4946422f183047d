# SPDX-License-Identifier: Apache-2.0
"""Hundreds of real TCP connections through random changes by the REST API: none breaks whose backend survived."""

from __future__ import annotations

import random
import time

import pytest

from tests.waiting import until

from .balancer import Balancer
from .random_changes import HOSTS, IDLE_SECONDS, PORTS, Backends
from .talking import Talk, serve_talks

CONNECTIONS = 150  # for each VIP
STEPS = 24
PAUSES = (0.0, 0.0, 0.3, 1.5, 3.0)
LONG_PAUSES = {8: IDLE_SECONDS + 3, 16: IDLE_SECONDS + 3}
"""After these steps everything may settle: slots go from moving to pinned, and some to steady."""


@pytest.mark.parametrize("seed", [1])
def test_random_changes_break_no_connection_whose_backend_survives(balancer: Balancer, seed: int) -> None:
    random.seed(seed)
    balancer.prepare(*HOSTS)
    serve_talks(balancer)
    balancer.start(nics=("eth0", "eth1"))
    backends = Backends(balancer)
    backends.make_vips()
    for host in HOSTS[:4]:
        backends.add(host)
    until(backends.serve)

    talks = {tracking: Talk(balancer, port, CONNECTIONS) for tracking, port in PORTS.items()}
    time.sleep(3)
    done = []
    for step in range(STEPS):
        done.append(backends.random_change())
        time.sleep(LONG_PAUSES.get(step, random.choice(PAUSES)))
    time.sleep(3)

    for tracking, talk in talks.items():
        ended, summary = talk.finish()
        broken = [one for one in ended if not backends.excuses(one)]
        assert broken == [], f"{tracking}: {len(broken)} of {summary} after {done}"
        assert ended, "no change took any connection's backend away"
        assert sum(summary["open"].values()) == CONNECTIONS
        assert summary["said"] > 10 * CONNECTIONS
