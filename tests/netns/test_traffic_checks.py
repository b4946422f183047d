# SPDX-License-Identifier: Apache-2.0
"""What checks do to the hosts at both ends: the backend's log stays empty, and the balancer keeps its ports."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import pytest

from tests.waiting import until
from xdplb.client import Client, vip_path
from xdplb.net.lab import ADDRESSES, VIP

from .balancer import Balancer

PORT = 8081
KEY = f"{VIP}:{PORT}/tcp"
# Python's server has a queue of five connections: on a busy machine a SYN may have to be sent three times.
OFTEN = ["--check-interval", "50ms", "--check-timeout", "10s", "--check-fall", "100"]


def serve(balancer: Balancer, log: Path) -> None:
    """Run Python's own HTTP server on dr1, which logs a traceback for every connection that breaks."""
    balancer.lab.configure("dr1", f"address replace {VIP}/32 dev lo")
    with log.open("w") as file:
        balancer.lab.popen("dr1", [sys.executable, "-m", "http.server", str(PORT)], stdout=file, stderr=file)
    asked = ["curl", "-sf", "-o", "/dev/null", f"http://{ADDRESSES['dr1']}:{PORT}/"]
    until(lambda: balancer.lab.run("dr1", asked, check=False).returncode == 0)


def passes(balancer: Balancer) -> int:
    """Return how many checks of the backend passed; the test fails if one did not."""
    with Client(socket_path=str(balancer.socket)) as client:
        (found,) = client.get(vip_path(KEY, "health-check")).json()["status"]["backends"]
    assert found["failures"] == 0, found["reason"]
    assert found["last_passed"] is not None or found["last_run"] is None, found["reason"]
    count: int = found["passes"]
    return count


def check(balancer: Balancer, *options: str) -> None:
    """Check dr1 often, until fifty checks have passed."""
    balancer.cli("vip", "add", KEY, *OFTEN, *options)
    balancer.cli("backend", "add", KEY, str(ADDRESSES["dr1"]))
    until(lambda: passes(balancer) >= 50, 60)


@pytest.mark.parametrize("kind", ["tcp", "http"])
@pytest.mark.parametrize("reset", [False, True], ids=["clean", "reset"])
def test_a_server_has_nothing_to_log_unless_checks_are_to_reset(
    balancer: Balancer, tmp_path: Path, kind: str, *, reset: bool
) -> None:
    log = tmp_path / "server.log"
    serve(balancer, log)
    balancer.start()
    check(balancer, "--check", kind, *(["--check-reset"] if reset else []))
    broken = [line for line in log.read_text().splitlines() if "Error" in line or "Traceback" in line]
    assert bool(broken) is reset


def test_the_balancer_does_not_run_out_of_local_ports(balancer: Balancer, tmp_path: Path) -> None:
    """Forty ports for at most twenty connections a second, each of which would hold its port for a minute."""
    serve(balancer, tmp_path / "server.log")
    narrow = "echo 40000 40039 > /proc/sys/net/ipv4/ip_local_port_range"
    balancer.lab.run("balancer", ["sh", "-c", narrow])
    balancer.start()
    check(balancer, "--check", "tcp")
    end = time.monotonic() + 4
    while time.monotonic() < end:
        passes(balancer)
        time.sleep(0.1)


def test_a_backend_of_two_vips_is_asked_once_and_is_down_in_both(balancer: Balancer, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    serve(balancer, log)
    balancer.start()
    other = f"{VIP}:{PORT + 1}/tcp"
    often = [
        "--check",
        "http",
        "--check-target",
        "backend",
        "--check-interval",
        "500ms",
        "--check-timeout",
        "2s",
        "--check-fall",
        "2",
    ]
    for key, options in ((KEY, []), (other, ["--check-port", str(PORT)])):
        balancer.cli("vip", "add", key, *often, *options)
        balancer.cli("backend", "add", key, str(ADDRESSES["dr1"]))
    until(lambda: all(f"vip={key} backend={ADDRESSES['dr1']} health=up" in balancer.log() for key in (KEY, other)))
    before, began = log.read_text().count("GET / "), time.monotonic()
    time.sleep(5)
    asked, seconds = log.read_text().count("GET / ") - before, time.monotonic() - began
    assert asked <= 1.3 * seconds / 0.5, "as many as for one VIP"
    balancer.lab.run("dr1", ["ip", "route", "add", "blackhole", f"{ADDRESSES['balancer']}/32"])
    until(lambda: balancer.log().count("health=down") == 2)
    down = [line.split(" ", 1)[1] for line in balancer.log().splitlines() if "health=down" in line]
    assert len({line.partition("reason=")[2] for line in down}) == 1, "the result of one probe"


def test_the_table_says_what_the_log_says(balancer: Balancer, tmp_path: Path) -> None:
    """A directory listing is status 200; the only backend is used all the same, as the VIP fails open."""
    serve(balancer, tmp_path / "server.log")
    balancer.start()
    balancer.cli("vip", "add", KEY, "--check", "http", "--check-expect-status", "204", "--check-interval", "100ms")
    balancer.cli("backend", "add", KEY, str(ADDRESSES["dr1"]))
    told = f"for {VIP}:{PORT} by dr: status 200, expected 204"
    until(lambda: f"reason='{told}" in (balancer.lab.folder / "daemon.log").read_text())
    for command in (("backend", "ls"), ("backend", "ls", KEY), ("vip", "show", KEY)):
        until(lambda command=command: f"its check failed: {told}" in balancer.cli(*command).stdout)  # type: ignore[misc]


def test_without_descriptors_no_backend_is_judged_and_the_log_says_so(balancer: Balancer, tmp_path: Path) -> None:
    """A backend that dies meanwhile is found out as soon as there are some again."""
    serve(balancer, tmp_path / "server.log")
    balancer.start()
    check(balancer, "--check", "tcp", "--check-target", "backend", "--check-timeout", "500ms", "--check-fall", "3")
    assert balancer.daemon is not None
    pid = balancer.daemon.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (4, limits[1]))
    until(lambda: "health checks cannot be run: reason='the only health check has had no result" in balancer.log())
    assert "as many files open as it may (raise LimitNOFILE= of its unit, or ulimit -n)" in balancer.log()
    balancer.lab.run("dr1", ["ip", "link", "set", "lo", "up"])
    balancer.lab.run("dr1", ["ip", "route", "add", "blackhole", f"{ADDRESSES['balancer']}/32"])
    time.sleep(2)
    assert "health=down" not in balancer.log()
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    until(lambda: "health checks run again: seconds=" in balancer.log())
    until(lambda: "health=down" in balancer.log())
    assert balancer.log().count("health checks cannot be run") == 1
    assert balancer.ask("status")["ready"]
    assert balancer.metric("xdplb_health_checks_overdue") == [0]


def test_the_daemon_runs_checks_of_all_kinds_with_the_privileges_that_it_keeps(
    balancer: Balancer, tmp_path: Path
) -> None:
    serve(balancer, tmp_path / "server.log")
    balancer.start("--exec-checks")
    balancer.cli("vip", "add", KEY)
    balancer.cli("backend", "add", KEY, str(ADDRESSES["dr1"]))
    who = "echo $(id -un) $XDPLB_ADDRESS; exit 52"
    checks = [
        {"type": "http", "target": "backend", "expect_body": "Directory listing"},
        {"type": "https", "target": "backend"},
        {"type": "tcp", "target": "backend", "send": "GET / HTTP/1.0\r\n\r\n", "expect": "200 OK"},
        {"type": "udp", "target": "backend", "port": PORT, "send": "x"},
        {"type": "icmp"},
        {"type": "exec", "command": ["/bin/sh", "-c", who]},
    ]
    with Client(socket_path=str(balancer.socket)) as client:
        client.request("PUT", vip_path(KEY, "checks"), {"checks": checks})
        body = client.request("POST", vip_path(KEY, "probe")).json()
    found = {each["type"]: (each["passed"], each["reason"]) for each in body["backends"][0]["checks"]}
    assert found["http"] == (True, "status 200, and 'Directory listing' is in its body")
    assert found["https"][0] is False
    assert found["https"][1].startswith(("what it answers is not TLS", "connection closed in the TLS handshake"))
    assert found["tcp"][0] is True
    assert found["udp"][1].startswith("an ICMP error says that nothing listens on its port")
    assert found["icmp"] == (True, "answers pings")
    assert found["exec"] == (True, f"exit code 52, which is weight 50: 'nobody {ADDRESSES['dr1']}'")
    told = balancer.cli("health", "probe", KEY, str(ADDRESSES["dr1"]), check=False)
    assert told.returncode == 1
    assert "first byte" in told.stdout
