# SPDX-License-Identifier: Apache-2.0
"""What the certificate of a drain says, against what real connections did."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import until
from xdplb.net.lab import ADDRESSES, VIP

from .balancer import FORWARDS, Balancer
from .held import Held

TALKER = str(Path(__file__).with_name("talker.py"))
PORT = 83
KEY = f"{VIP}:{PORT}/tcp"
HOSTS = ("dr1", "ipip1")


@pytest.fixture
def talking(ready: Balancer) -> Iterator[Balancer]:
    """A VIP with two hosts that answer, added in one step: a slot that moves would have records from the start."""
    services = [ready.lab.popen(host, [sys.executable, TALKER, "serve", host, str(PORT)]) for host in HOSTS]
    vip: dict[str, Any] = {"address": str(VIP), "port": PORT, "protocol": "tcp", "idle_timeout_seconds": 60}
    vip["backends"] = [{"address": str(ADDRESSES[host]), "forward": FORWARDS[host]} for host in HOSTS]
    asked = ["curl", "-sSf", "--unix-socket", str(ready.socket), "-H", "Xdplb-Client: test", "--json", json.dumps(vip)]
    ready.lab.run("balancer", [*asked, "http://localhost/v1/vips"])
    until(lambda: all(ready.status(host, key=KEY)["share"] > 0 for host in HOSTS))
    yield ready
    for service in services:
        service.kill()


def certificate_of(balancer: Balancer, host: str) -> dict[str, Any]:
    asked = ["curl", "-s", "--unix-socket", str(balancer.socket)]
    answer = balancer.lab.run("balancer", [*asked, f"http://localhost/v1/vips/{KEY}/backends/{ADDRESSES[host]}/drain"])
    certificate: dict[str, Any] = json.loads(answer.stdout)
    return certificate


def counts(certificate: dict[str, Any]) -> dict[str, int]:
    """Return what is not 0 of it."""
    numbers = {name: certificate[name] for name in ("seen", "handed_over", "cut", "broken", "lost", "left")}
    return {name: count for name, count in {**numbers, **certificate["ended_by"]}.items() if count}


def test_it_counts_what_was_there_what_ended_and_what_the_deadline_cut_also_over_a_kill(talking: Balancer) -> None:
    held = Held(talking.lab, str(VIP), PORT, 60)
    host, other = sorted(HOSTS, key=lambda each: -len(held.of[each]))
    mine = held.of[host]
    active, closed, reset, silent = mine[:6], mine[6:9], mine[9:13], mine[13:]
    drain = ["backend", "drain", KEY, str(ADDRESSES[host]), "--quiet", "1s", "--cut-at-deadline"]
    talking.cli(*drain, "--timeout", "10m")
    until(lambda: talking.status(host, key=KEY)["share"] == 0)
    assert held.do("speak", [*active, *closed, *reset]) == ["answered"] * 13
    held.do("close", closed)
    held.do("reset", reset)
    until(lambda: certificate_of(talking, host).get("seen") == 13)
    assert certificate_of(talking, host)["silent_at_most"] >= len(silent)
    talking.kill()
    assert held.do("speak", active) == ["answered"] * 6
    talking.start(nics=("eth0", "eth1"))
    until(lambda: certificate_of(talking, host)["restarts"] == 1)
    until(lambda: certificate_of(talking, host)["ended_by"]["closed"] == 3)  # they were silent since their FIN
    said = talking.cli(*drain, "--wait", "--timeout", "1s").stdout  # the deadline is that since the start
    assert "cut                  6" in said
    done = certificate_of(talking, host)
    assert counts(done) == {"seen": 13, "closed": 3, "reset": 4, "cut": 6}
    assert (done["outcome"], done["restarts"], done["known_by"]) == ("cut", 1, "records_since")
    assert len(silent) <= done["silent_at_most"] <= len(mine) - 13
    assert set(held.do("speak", active)) == {"reset"}, "they went to the other backend"
    assert held.do("speak", held.of[other]) == ["answered"] * len(held.of[other])
    talking.cli("backend", "undrain", KEY, str(ADDRESSES[host]))
    assert certificate_of(talking, host)["outcome"] == "cut"
    until(lambda: talking.status(host, key=KEY)["share"] > 0)
    assert set(Held(talking.lab, str(VIP), PORT, 20).of) == set(HOSTS)
