# SPDX-License-Identifier: Apache-2.0
"""Real TCP connections through changes: no more break than the dry run of each change says, and none if it says 0."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.waiting import until
from xdplb.net.lab import ADDRESSES, VIP

from .balancer import FORWARDS, Balancer
from .talking import serve_talks

TALKER = str(Path(__file__).with_name("asked_talker.py"))
PORTS = {"auto": 81, "always": 82}
HOSTS = ("dr1", "dr2", "ipip1", "side")
CONNECTIONS = 40  # for each VIP
IDLE_SECONDS = 3
GENTLE: list[tuple[str, str, str, dict[str, object] | None]] = [
    ("POST", "dr1", "/drain", {}),
    ("DELETE", "dr1", "/drain", None),
    ("PATCH", "dr2", "", {"weight": 4}),
    ("PATCH", "ipip1", "", {"weight": 0}),
    ("PATCH", "ipip1", "", {"weight": 2}),
    ("PATCH", "side", "", {"admin_state": "drain"}),
    ("PATCH", "side", "", {"admin_state": "ready"}),
]


def call(balancer: Balancer, method: str, path: str, body: object = None) -> Any:
    """Ask the API about VIPs, and return the body of its answer."""
    argv = ["curl", "-sS", "--fail-with-body", "--unix-socket", str(balancer.socket), "-X", method]
    argv += ["-H", "Content-Type: application/json", *(["-d", json.dumps(body)] if body is not None else [])]
    done = subprocess.run(
        [*argv, f"http://localhost/v1/vips{path}"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{method} {path} {body}: {done.stdout}{done.stderr}"
    return json.loads(done.stdout)


def shares(balancer: Balancer) -> list[float]:
    """Return the share of every backend."""
    listed = [call(balancer, "GET", f"/{VIP}:{port}:tcp/backends")["backends"] for port in PORTS.values()]
    return [backend["status"]["share"] for backends in listed for backend in backends]


class Asker:
    """Makes changes with the API, and compares what their dry runs say with what the clients see."""

    def __init__(self, balancer: Balancer) -> None:
        self._balancer = balancer
        self._clients = balancer.lab.popen(
            "client",
            [sys.executable, TALKER, str(VIP), str(CONNECTIONS), *map(str, PORTS.values())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._answer() == {}
        self.told: list[tuple[str, int, int]] = []
        """Of each change of a VIP: what it was, how many connections it was to break at most, how many broke."""

    def host(self, method: str, host: str, below: str, body: object) -> None:
        """Change a backend of both VIPs."""
        self._change(method, f"/backends/{ADDRESSES[host]}{below}", body)

    def vips(self, body: object) -> None:
        """Change both VIPs."""
        self._change("PATCH", "", body)

    def speak(self) -> dict[str, int]:
        """Let every connection speak, and return how many have broken, by port."""
        assert self._clients.stdin is not None
        self._clients.stdin.write("speak\n")
        self._clients.stdin.flush()
        return self._answer()

    def stop(self) -> None:
        assert self._clients.stdin is not None
        self._clients.stdin.close()
        assert self._clients.wait(20) == 0

    def _change(self, method: str, path: str, body: object) -> None:
        at_most: dict[str, int] = {}
        for port in PORTS.values():
            below = f"/{VIP}:{port}:tcp{path}"
            foretold = call(self._balancer, method, f"{below}?dry_run=true", body)["impact"]["connections_at_risk"]
            at_most[str(port)] = foretold["at_most"]
            assert foretold["expected"] <= foretold["at_most"]
            assert call(self._balancer, method, f"{below}?impact=true", body)["changed"] is True
        broke = self.speak()
        for vip, most in at_most.items():
            self.told.append((f"{method} {path} {body} at {vip}", most, broke[vip]))
            assert broke[vip] <= most, self.told[-1]

    def _answer(self) -> dict[str, int]:
        assert self._clients.stdout is not None
        answer: dict[str, int] = json.loads(self._clients.stdout.readline())
        return answer


def test_no_more_connections_break_than_the_dry_run_of_each_change_says(balancer: Balancer) -> None:
    balancer.prepare(*HOSTS)
    serve_talks(balancer)
    balancer.start(nics=("eth0", "eth1"))
    backends = [{"address": str(ADDRESSES[host]), "forward": FORWARDS[host]} for host in HOSTS]
    for tracking, port in PORTS.items():
        asked = {"address": str(VIP), "port": port, "protocol": "tcp", "tracking": tracking}
        call(balancer, "POST", "", {**asked, "idle_timeout_seconds": IDLE_SECONDS})
        call(balancer, "PUT", f"/{VIP}:{port}:tcp/backends", {"backends": backends})
    until(lambda: all(share > 0 for share in shares(balancer)))
    asker = Asker(balancer)
    assert set(asker.speak().values()) == {0}

    for method, host, below, body in GENTLE:
        asker.host(method, host, below, body)
    assert {(most, broke) for _, most, broke in asker.told} == {(0, 0)}, "these are promised to break nothing"

    asker.vips({"hash": "source"})
    asker.host("DELETE", "dr2", "", None)
    asker.host("PATCH", "side", "", {"forward": "ipip"})  # which it is not set up for
    asker.host("PATCH", "side", "", {"forward": "dr"})
    asker.host("POST", "ipip1", "/drain", {})
    for _ in range(3):  # everything is recorded or has ended after this
        time.sleep(IDLE_SECONDS / 2)
        asker.speak()
    until(lambda: call(balancer, "GET", f"/{VIP}:81:tcp/backends/{ADDRESSES['ipip1']}")["status"]["flows"] is not None)
    asker.host("DELETE", "ipip1", "", None)
    harsh = [(most, broke) for _, most, broke in asker.told[2 * len(GENTLE) :]]
    assert sum(broke for _, broke in harsh) > 0, asker.told
    assert any(most < 3 * CONNECTIONS for most, broke in harsh if broke), "no number was of any use"
    asker.stop()
