# SPDX-License-Identifier: Apache-2.0
"""A client with a fixed source port, whose backend is drained and stops, dials again: it gets another backend."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import until

from .balancer import Balancer
from .both_families import BOTH, Family

REDIAL = str(Path(__file__).with_name("redial.py"))
PORT = 81
SOURCE_PORT = "40000"
HOSTS = ("dr1", "dr2")


@pytest.mark.parametrize(
    ("family", "options"),
    [
        (BOTH[0], ()),
        (BOTH[1], ()),
        (BOTH[0], ("--tracking", "always")),
        (BOTH[0], ("--scheduler", "rr")),
        (BOTH[1], ("--scheduler", "lc")),
    ],
    ids=["ipv4", "ipv6", "tracking always", "rr", "lc, ipv6"],
)
def test_it_is_refused_once_at_most_and_the_drain_ends(
    ready: Balancer, family: Family, options: tuple[str, ...]
) -> None:
    key = family.key(PORT)
    services = {host: _serve(ready, host, family) for host in HOSTS}
    ready.cli("vip", "add", key, *options)
    for host in HOSTS:
        ready.cli("backend", "add", key, str(family.addresses[host]), "--forward", "dr")
    until(lambda: all(_status(ready, family, host)["share"] > 0 for host in HOSTS))
    client = ready.lab.popen(
        "client",
        [sys.executable, REDIAL, "dial", SOURCE_PORT, str(family.vip), str(PORT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert client.stdout is not None
    assert client.stdin is not None
    first = client.stdout.readline().strip()
    (other,) = set(HOSTS) - {first}
    arguments = [key, str(family.addresses[first])]
    ready.cli("backend", "drain", *arguments, "--quiet", "1s", "--timeout", "60s")

    client.stdin.write("end\n")
    client.stdin.flush()
    said = client.stdout.read().split()

    assert services[first].wait(10) == 0, "it reset the connection, and listens no more"
    assert said[-1] == other
    assert said[:-1].count("refused") == len(said) - 1 <= 1
    until(lambda: _status(ready, family, first)["drain"]["state"] == "drained", 20)
    assert client.wait(10) == 0
    services[other].kill()
    services[other].wait()
    ready.cli("vip", "rm", key)


def _serve(ready: Balancer, host: str, family: Family) -> subprocess.Popen[str]:
    if family.version == 6:
        ready.backend_host(host, "setup", str(family.vip), "--forward", "dr", "--interface", "eth0")
    served = ready.lab.popen(host, [sys.executable, REDIAL, "serve", host, str(PORT)])
    until(lambda: f":{PORT} " in ready.lab.run(host, ["ss", "-Htln"]).stdout)
    return served


def _status(ready: Balancer, family: Family, host: str) -> dict[str, Any]:
    status: dict[str, Any] = ready.ask("backend", "show", family.key(PORT), str(family.addresses[host]))["status"]
    return status
