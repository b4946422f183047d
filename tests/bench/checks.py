# SPDX-License-Identifier: Apache-2.0
"""What thousands of health checks cost, and what they leave behind: CPU time, TIME_WAIT, resets at the backends."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from tests.bench.tables import print_table
from tests.certificates import Authority
from xdplb.control.events import Events
from xdplb.control.health.book import HealthBook
from xdplb.control.health.checks import Checker
from xdplb.control.health.commands import Commands
from xdplb.control.health.health_source import CheckTarget
from xdplb.daemon.budget import raise_limit
from xdplb.daemon.commands import command_runner
from xdplb.model.health import CheckType, HealthCheck
from xdplb.net import netns
from xdplb.net.lab_home import LabHome, reap

__all__ = ["FAR", "CostOfChecks", "cost_of_checks", "make_hosts", "measure_checks"]

PORT, OTHER_PORT = 8080, 8443
FAR = IPv4Address("10.98.0.1")
"""The first address of the backends behind a router, which forward by ipip."""
SERVICE, PROTOCOLS = (str(Path(__file__).with_name(f"checked_{name}.py")) for name in ("service", "protocols"))
HEAD = ("check", "checks/s", "failed", "not run", "µs of CPU each", "TIME_WAIT", "RSTs at backends")


@dataclass(frozen=True)
class CostOfChecks:
    """What checks cost in a time, and what they left; `resets` are connections that backends saw end with a RST."""

    checks: int
    failures: int
    not_run: int
    cpu_seconds: float
    time_wait: int
    resets: int = 0


def measure_checks(*, count: int, interval: float, seconds: float) -> None:
    """Run checks of `count` addresses every `interval` seconds, for `seconds`; print a row for each kind."""
    reap()
    home = LabHome()
    try:
        make_hosts(home)
        rows = [_row(home, name, check, count // part, seconds) for name, check, part in _kinds(interval)]
    finally:
        home.remove()
    print(f"{count} checks every {interval:g} s, for {seconds:g} s; of https, tls and exec a part\n")
    print_table(HEAD, rows)


def _kinds(interval: float) -> Iterator[tuple[str, HealthCheck, int]]:
    """Yield the checks to measure, with the part of the count that this host's backends keep up with."""

    def check(kind: CheckType, **fields: Any) -> HealthCheck:
        return HealthCheck(type=kind, interval_seconds=interval, timeout_seconds=interval, **fields)

    for kind in (CheckType.TCP, CheckType.HTTP):
        yield kind, check(kind, port=PORT), 1
        yield f"{kind}, reset", check(kind, port=PORT, reset=True), 1
    yield "http, body", check(CheckType.HTTP, port=PORT, expect_body="ok"), 1
    yield "http, regex", check(CheckType.HTTP, port=PORT, expect_body_regex="^ok$"), 1
    yield "udp", check(CheckType.UDP, port=OTHER_PORT, send="ping", expect="ping"), 1
    yield "dns", check(CheckType.DNS, port=OTHER_PORT, query_name="www.example.com", query_type="A"), 1
    yield "icmp", check(CheckType.ICMP), 1
    yield "https", check(CheckType.HTTPS, port=OTHER_PORT), 25
    yield "tls", check(CheckType.TLS, port=OTHER_PORT), 25
    yield "exec", check(CheckType.EXEC, command=("/bin/true",)), 50


def make_hosts(home: LabHome) -> None:
    """Make the namespace `balancer` and, connected with it, `backends`, which has all addresses from FAR on."""
    balancer, backends = home.prefix() + "balancer", home.prefix() + "backends"
    for name in (balancer, backends):
        netns.create(name)
    netns.configure(balancer, [f"link add eth0 type veth peer name eth0 netns {backends}"])
    for name, address in ((balancer, "10.99.32.1"), (backends, "10.99.16.1")):
        netns.configure(name, [f"address add {address}/16 dev eth0", "link set eth0 up"])
    netns.configure(backends, ["route add local 10.98.0.0/16 dev lo"])
    netns.configure(balancer, ["route add 10.98.0.0/16 via 10.99.16.1 dev eth0"])


def cost_of_checks(home: LabHome, check: HealthCheck, count: int, seconds: float) -> CostOfChecks:
    """Run checks of `count` addresses from FAR on, which the namespace `backends` has, for `seconds`."""
    line = netns.command(home.prefix() + "backends", [sys.executable, SERVICE, str(PORT)], dies_with_parent=True)
    with (
        subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as service,
        _other_protocols(home),
        command_runner(wanted=check.type is CheckType.EXEC) as commands,
    ):
        time.sleep(1)
        found = netns.inside(home.prefix() + "balancer", lambda: asyncio.run(_run(check, count, seconds, commands)))
        service.terminate()
        return replace(found, resets=int(service.communicate()[0]))


@contextmanager
def _other_protocols(home: LabHome) -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="xdplb-bench-") as folder:
        certificate, key = Authority(Path(folder)).sign("server", "/CN=server")
        given = [sys.executable, PROTOCOLS, str(OTHER_PORT), str(certificate), str(key)]
        line = netns.command(home.prefix() + "backends", given, dies_with_parent=True)
        with subprocess.Popen(line) as service:
            yield
            service.terminate()


def _row(home: LabHome, name: str, check: HealthCheck, count: int, seconds: float) -> tuple[str, ...]:
    found = cost_of_checks(home, check, count, seconds)
    each = 1e6 * found.cpu_seconds / max(1, found.checks)
    figures = (f"{found.checks / seconds:.0f}", str(found.failures), str(found.not_run), f"{each:.0f}")
    return (name, *figures, str(found.time_wait), str(found.resets))


async def _run(check: HealthCheck, count: int, seconds: float, commands: Commands | None) -> CostOfChecks:
    checker, book = Checker(raise_limit(), commands), HealthBook(lambda: datetime.now(UTC))
    await checker.start(book.flip, Events())
    checker.watch({i: (CheckTarget(0, FAR + i, check.port or 0, check),) for i in range(count)}, book.known)
    began, cpu = time.monotonic(), time.process_time()
    not_run = 0
    while time.monotonic() < began + seconds:
        await asyncio.sleep(1)
        tallies = [tally for each in checker.tallies().values() for tally in each]
        not_run += sum(1 for tally in tallies if tally.last is not None and tally.last.passed is None)
    cpu = time.process_time() - cpu
    tallies = [tally for each in checker.tallies().values() for tally in each]
    time_wait = _time_wait()
    await checker.stop()
    return CostOfChecks(
        checks=sum(tally.passes + tally.failures for tally in tallies),
        failures=sum(tally.failures for tally in tallies),
        not_run=not_run,
        cpu_seconds=cpu,
        time_wait=time_wait,
    )


def _time_wait() -> int:
    """Return how many connections of this thread's namespace are in TIME_WAIT."""
    found = re.search(r"TCP:.* tw (\d+)", Path("/proc/thread-self/net/sockstat").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1])
