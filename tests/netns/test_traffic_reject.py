# SPDX-License-Identifier: Apache-2.0
"""Clients of a VIP without a usable backend are told so at once: curl and UDP sockets, in both families."""

from __future__ import annotations

import sys

import pytest

from tests.waiting import until
from xdplb.net.lab import ADDRESSES, ADDRESSES6, VIP, VIP6

from .balancer import PORT, Balancer

CURL_COULD_NOT_CONNECT, CURL_TIMED_OUT = 7, 28

ASK = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as client:
    client.settimeout(float(sys.argv[3]))
    client.connect((sys.argv[1], int(sys.argv[2])))
    client.send(b"anybody?")
    try:
        client.recv(100)
    except ConnectionRefusedError:
        print("refused")
    except TimeoutError:
        print("silence")
"""

PATIENCE = "60"
"""Longer than any answer takes: what is told at once does not wait for it."""


def curl(balancer: Balancer, vip: str, patience: str = PATIENCE) -> int:
    """Return curl's exit code."""
    asked = ["curl", "-gs", "-o", "/dev/null", "--max-time", patience, f"http://{vip}:{PORT}/"]
    return balancer.lab.run("client", asked, check=False, timeout=90).returncode


def udp(balancer: Balancer, vip: str, patience: str = PATIENCE) -> str:
    asked = [sys.executable, "-c", ASK, vip.strip("[]"), str(PORT), patience]
    return balancer.lab.run("client", asked, timeout=90).stdout.strip()


@pytest.mark.parametrize("family", [4, 6])
def test_clients_are_refused_at_once_while_nobody_serves(ready: Balancer, family: int) -> None:
    vip, backend = (f"{VIP}", ADDRESSES["dr1"]) if family == 4 else (f"[{VIP6}]", ADDRESSES6["dr1"])
    key = f"{vip}:{PORT}/tcp+udp"
    ready.cli("vip", "add", key, "--all-unhealthy", "reject")
    before = ready.ask("stats")["answers"].get("rejected", 0)
    assert (curl(ready, vip), udp(ready, vip)) == (CURL_COULD_NOT_CONNECT, "refused"), "it has no backends"
    assert ready.ask("stats")["answers"]["rejected"] >= before + 2
    client = "192.0.2.9" if family == 4 else "[2001:db8:9::9]"
    told = ready.ask("explain", f"{client}:4000", f"{vip}:{PORT}/tcp")
    assert (told["action"], told["reason"]) == ("answer", "rejected")
    ready.cli("backend", "add", key, str(backend), "--admin-state", "maint")
    assert (curl(ready, vip), udp(ready, vip)) == (CURL_COULD_NOT_CONNECT, "refused"), "its only one is in maintenance"
    ready.cli("backend", "set", key, str(backend), "--admin-state", "ready")
    until(lambda: ready.ask("backend", "show", key, str(backend))["status"]["share"] > 0)
    if family == 4:
        assert curl(ready, vip) == 0, "it serves again"
    ready.cli("backend", "set", key, str(backend), "--admin-state", "maint")
    ready.cli("vip", "set", key, "--all-unhealthy", "fail-closed")
    assert (curl(ready, vip, "2"), udp(ready, vip, "1")) == (CURL_TIMED_OUT, "silence")
    assert ready.drops()["no_backend"] >= 2
