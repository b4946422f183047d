# SPDX-License-Identifier: Apache-2.0
"""What a large configuration costs: failover, restart, start, stop, changes, memory. Figures to reach beside measured.

Everything runs as users run it: `xdplb up` as a process of its own on a veth with native XDP, changes by REST over its
Unix socket, health checks of real services. CPU seconds are the daemon's, with the compiler's; they say more than
seconds by the clock where others use the machine too.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from statistics import median, quantiles
from urllib.parse import quote

from tests.bench.checks import cost_of_checks
from tests.bench.scale_config import Applied, apply_config, config_text
from tests.bench.scale_failover import Tables
from tests.bench.scale_host import Cost, Daemon, ScaleHost, Spent
from tests.bench.scale_state import Load, change_check, write_state
from tests.bench.tables import print_table
from xdplb.daemon.loop import PAUSE_WINDOW_SECONDS
from xdplb.model.health import CheckType, HealthCheck

__all__ = ["ROWS", "measure_scale"]

CHECK = HealthCheck(interval_seconds=20, timeout_seconds=5, fall=1)
"""At 20,000 checks that is 1000 a second: the service that dies is missed by every VIP within the interval."""
DEAD = 7
CHANGES = 40
IDLE_SECONDS = 20
MEMORY = "110 MB"
"""What the daemon may take with 1000 VIPs of 20 backends."""
APPLIES = 10
WRITES = 300
WRITTEN = Load(100, 100)
WIDE = Load(1, 16_000)
MANY = Load(8100, 8)
"""64,800 backends, nearly as many as there are ids, and room for some VIPs more."""

Row = tuple[str, str, str, str, str]
HEAD = ("with", "to reach", "measured", "CPU s", "counts")


def measure_scale(load: Load, rows: Sequence[str]) -> None:
    """Measure the rows whose name contains one of `rows` (all without any), and print each once it is known."""
    wanted = [name for name in ROWS if not rows or any(text in name for text in rows)]
    found: list[Row] = []
    for name in wanted:
        with ScaleHost() as host:
            for row in ROWS[name](host, load):
                print(" | ".join(row), flush=True)
                found.append(row)
    print(f"\n{load.vips} VIPs with the same {load.backends} backends; checks every {CHECK.interval_seconds:g} s\n")
    print_table(HEAD, found)


def _start(host: ScaleHost, load: Load) -> Iterator[Row]:
    """Cold start, stop, restart, and a restart after kill -9."""
    host.serve(load.backends, load.addresses[DEAD])
    write_state(host.state_dir, load, CHECK)
    with _ran(Daemon(host, *load.options)) as daemon:
        yield _row("cold start to ready, nothing pinned", "15 s", daemon.start())
        with Cost(daemon) as cost:
            _wait_until_all_up(daemon, load)
        yield _row("then until every check has passed", "", cost.spent, f"{load.vips * load.backends} checks")
        yield _row("stop", "1 s", daemon.stop())
        yield _row("restart to ready, tables found", "2 s", daemon.start())
        yield _row("stop right after", "1 s", daemon.stop())
        daemon.start()
        daemon.stop(signal.SIGKILL)
        yield _row("restart after kill -9", "2 s", daemon.start())
        daemon.stop()


def _failover(host: ScaleHost, load: Load) -> Iterator[Row]:
    """A service of all VIPs dies; then a host is gone."""
    host.serve(load.backends, load.addresses[DEAD])
    write_state(host.state_dir, load, CHECK)
    with _ran(Daemon(host, *load.options)) as daemon:
        daemon.start()
        _wait_until_all_up(daemon, load)
        tables = Tables(host.pin_dir)
        places = {number: number * load.backends + DEAD + 1 for number in range(load.vips)}
        _forget_pauses()
        with daemon.watched() as answers:
            died = tables.watch(daemon, places, lambda: host.stop_service("alone"))
        flips = _since(daemon, load)
        lags, last = died.lags(flips), max(died.at.values()) - max(flips.values())
        counts = f"p50 {_ms(median(lags))}, most {_ms(lags[-1])}"
        yield ("one service dead: first VIP out after its check", "20 ms", _ms(lags[0]), f"{died.cpu:.2f}", counts)
        yield ("one service dead: last VIP out after the last check", "1000 ms", _ms(last), "", f"{len(lags)} tables")
        yield from _pause("one service dead", answers, daemon)
        host.start_service("alone", str(load.addresses[DEAD]))
        _wait_until_all_up(daemon, load)
        _forget_pauses()
        lost = load.addresses[DEAD + 1]
        with daemon.watched() as answers:
            died = tables.watch(
                daemon, {number: place + 1 for number, place in places.items()}, lambda: host.lose(lost)
            )
        lags = died.lags(dict.fromkeys(places, died.began))
        counts = f"p50 {_ms(median(lags))}"
        yield ("one host's MAC gone: first VIP out", "20 ms", _ms(lags[0]), f"{died.cpu:.2f}", counts)
        yield ("one host's MAC gone: last VIP out", "1000 ms", _ms(lags[-1]), "", f"{len(lags)} tables")
        yield from _pause("one host's MAC gone", answers, daemon)
        host.find(lost)


def _changes(host: ScaleHost, load: Load) -> Iterator[Row]:
    """VIPs added, weights changed, and the event loop meanwhile and at rest, in scrapes and verifying."""
    yield from _change_rows(host, load, f"{load.vips} x {load.backends}", None)


def _wide(host: ScaleHost, _: Load) -> Iterator[Row]:
    """One VIP with very many backends."""
    yield from _change_rows(host, WIDE, f"1 x {WIDE.backends}", "1 s")


def _many(host: ScaleHost, _: Load) -> Iterator[Row]:
    """As many VIPs as there can be."""
    yield from _change_rows(host, MANY, f"{MANY.vips} x {MANY.backends}", "")


def _change_rows(host: ScaleHost, load: Load, what: str, start: str | None) -> Iterator[Row]:
    write_state(host.state_dir, load, None)
    with _ran(Daemon(host, *load.options)) as daemon:
        first = daemon.start()
        if start is not None:
            yield _row(f"{what}: cold start", start, first)
            daemon.stop()
            yield _row(f"{what}: restart", start, daemon.start())
        _forget_pauses()
        with daemon.watched() as answers:
            yield _quantiles(f"{what}: VIP added", "15 ms", _each(daemon, _add_vip))
            yield _quantiles(f"{what}: weight changed", "15 ms", _each(daemon, lambda one, n: _weigh(one, load, n)))
        yield from _pause(f"{what}: changing", answers, daemon)
        _forget_pauses()
        with daemon.watched() as answers:
            yield _quantiles(f"{what}: scraped", "", _each(daemon, lambda one, _: one.ask("GET", "/metrics"), 5))
            yield _quantiles(
                f"{what}: scraped, VIPs only", "", _each(daemon, lambda one, _: one.ask("GET", "/metrics?level=vip"), 5)
            )
        yield from _pause(f"{what}: scraping", answers, daemon)
        _forget_pauses()
        with daemon.watched() as answers:
            time.sleep(12)
        yield from _pause(f"{what}: verifying", answers, daemon)
        yield _memory(what, daemon)


def _idle(host: ScaleHost, load: Load) -> Iterator[Row]:
    """Memory and CPU at rest: without checks, then with them."""
    host.serve(load.backends, load.addresses[DEAD])
    write_state(host.state_dir, load, None)
    with _ran(Daemon(host, *load.options)) as daemon:
        daemon.start()
        daemon.stop()
        daemon.start()
        yield _at_rest("idle, no checks", "1 %", daemon)
        daemon.stop()
        change_check(host.state_dir, CHECK)
        daemon.start()
        _wait_until_all_up(daemon, load)
        time.sleep(5)
        rate = load.vips * load.backends / CHECK.interval_seconds
        yield _at_rest(f"idle, {rate:.0f} checks a second", "", daemon)


def _writes(host: ScaleHost, _: Load) -> Iterator[Row]:
    """How long a write takes until it is acknowledged, one after the other."""
    what = f"{WRITTEN.vips} x {WRITTEN.backends}"
    write_state(host.state_dir, WRITTEN, None)
    with _ran(Daemon(host, *WRITTEN.options)) as daemon:
        daemon.start()
        weighed = _each(daemon, lambda one, n: _weigh(one, WRITTEN, n), WRITES)
        yield _quantiles(f"{what}: weight changed", "p99 10 ms", weighed)
        yield _quantiles(f"{what}: VIP added", "p99 10 ms", _each(daemon, _add_vip))
        yield _quantiles(f"{what}: backend drained", "p99 10 ms", _each(daemon, lambda one, n: _drain(one, WRITTEN, n)))


def _config(host: ScaleHost, load: Load) -> Iterator[Row]:
    """A file applied to nothing, then again and again with one weight changed; memory and CPU at rest afterwards."""
    file = host.home.folder / "config.toml"
    with _ran(Daemon(host, *load.options)) as daemon:
        daemon.start()
        yield _memory("empty, after the start", daemon)
        file.write_text(config_text(load))
        yield _applied("config apply from nothing", "20 s", [apply_config(daemon, file)])
        yield _applied("config apply again, all equal", "0.5 s", [apply_config(daemon, file)])
        each = []
        for number in range(APPLIES):
            file.write_text(config_text(load, {(number % load.vips, number % load.backends): 2}))
            each.append(apply_config(daemon, file))
        yield _applied("config apply, a weight or two changed", "0.5 s", each)
        yield _memory("after applies", daemon)
        yield _at_rest("idle after applies", "1 %", daemon)
        daemon.stop()
        yield _row("restart to ready without compiling", "2 s", daemon.start())
        yield _memory("after a restart", daemon)
        daemon.stop()


def _applied(what: str, reach: str, each: list[Applied]) -> Row:
    middle = sorted(each, key=lambda one: one.spent.wall)[len(each) // 2]
    slowest = max(one.spent.wall for one in each)
    return _row(what, reach, middle.spent, f"{middle.counts}; the slowest of {len(each)}: {slowest:.2f} s")


def _checks(host: ScaleHost, _: Load) -> Iterator[Row]:
    """Checks alone, without the rest of the daemon."""
    for kind in CheckType:
        check = HealthCheck(type=kind, port=8080, interval_seconds=2, timeout_seconds=2)
        found = cost_of_checks(host.home, check, 5000, 20)
        share = 100 * found.cpu_seconds / 20
        counts = f"{found.checks} checks, {found.failures} failed"
        yield (f"5000 {kind} checks every 2 s", "30 % of a core", f"{share:.0f} %", f"{found.cpu_seconds:.2f}", counts)


ROWS: dict[str, Callable[[ScaleHost, Load], Iterator[Row]]] = {
    "start": _start,
    "failover": _failover,
    "changes": _changes,
    "idle": _idle,
    "writes": _writes,
    "config": _config,
    "checks": _checks,
    "wide": _wide,
    "many": _many,
}
"""The groups of rows, each on a host of its own."""


def _ran(daemon: Daemon) -> Daemon:
    daemon.log.unlink(missing_ok=True)
    return daemon


def _add_vip(daemon: Daemon, number: int) -> None:
    daemon.ask("POST", "/v1/vips", {"address": f"10.201.0.{number + 1}", "port": 80, "protocol": "tcp"})


def _weigh(daemon: Daemon, load: Load, number: int) -> None:
    vip = list(load.vip_keys())[number % load.vips]
    address = load.addresses[number % load.backends]
    daemon.ask("PATCH", f"{_path(str(vip))}/backends/{address}", {"weight": 2 + number})


def _drain(daemon: Daemon, load: Load, number: int) -> None:
    vip = list(load.vip_keys())[number % load.vips]
    daemon.ask("POST", f"{_path(str(vip))}/backends/{load.addresses[number % load.backends]}/drain", {})


def _path(vip: str) -> str:
    return f"/v1/vips/{quote(vip, safe=':')}"


def _each(daemon: Daemon, work: Callable[[Daemon, int], object], count: int = CHANGES) -> list[Spent]:
    found = []
    for number in range(count):
        with Cost(daemon) as cost:
            work(daemon, number)
        found.append(cost.spent)
    return found


def _wait_until_all_up(daemon: Daemon, load: Load) -> None:
    """Return when all checks have passed since the start, and the maps hold all."""
    while True:
        status = daemon.ask("GET", "/v1/status")
        vips = daemon.ask("GET", "/v1/vips")["vips"]
        up = sum(vip["status"]["backends_serving"] for vip in vips)
        if up == load.vips * load.backends and status["observed_generation"] == status["generation"]:
            return
        time.sleep(0.5)


def _since(daemon: Daemon, load: Load) -> dict[int, float]:
    """Return since when the dead service is down, by VIP id, in seconds since the epoch."""
    since = {}
    for number, key in enumerate(load.vip_keys()):
        status = daemon.ask("GET", f"{_path(str(key))}/backends/{load.addresses[DEAD]}")["status"]
        if status["health"] != "down":
            raise SystemExit(f"scripts/bench: {key} has no dead backend: {status}")
        since[number] = datetime.fromisoformat(status["since"]).timestamp()
    return since


def _row(what: str, reach: str, spent: Spent, counts: str = "") -> Row:
    return (what, reach, f"{spent.wall:.2f} s", f"{spent.cpu:.2f}", counts)


def _quantiles(what: str, reach: str, each: list[Spent]) -> Row:
    walls = [spent.wall for spent in each]
    slowest = quantiles(walls, n=100, method="inclusive")[98]
    return (
        f"{what}, p50 / p99",
        reach,
        f"{_ms(median(walls))} / {_ms(slowest)}",
        f"{median(spent.cpu for spent in each):.4f}",
        f"{len(each)}",
    )


def _pause(what: str, answers: list[Spent], daemon: Daemon) -> Iterator[Row]:
    """The longest pause of the control loop, as the daemon knows it, and the longest wait for an answer of the API."""
    longest = max(answers, key=lambda answer: answer.wall)
    yield (f"{what}: longest pause of the control loop", "20 ms", _ms(daemon.longest_pause()), "", "")
    yield (f"{what}: longest wait for /healthz", "", _ms(longest.wall), f"{longest.cpu:.3f}", f"{len(answers)} looks")


def _forget_pauses() -> None:
    """Wait until the daemon tells only of pauses that begin after this."""
    time.sleep(2 * PAUSE_WINDOW_SECONDS)


def _memory(what: str, daemon: Daemon) -> Row:
    resident, proportional = daemon.memory()
    return (f"{what}: memory (PSS)", MEMORY, f"{proportional:.0f} MB", "", f"RSS {resident:.0f} MB")


def _at_rest(what: str, reach: str, daemon: Daemon) -> Row:
    time.sleep(5)
    with Cost(daemon) as cost:
        time.sleep(IDLE_SECONDS)
    share = 100 * cost.spent.cpu / cost.spent.wall
    resident, proportional = daemon.memory()
    memory = f"PSS {proportional:.0f} MB, RSS {resident:.0f} MB (to reach: {MEMORY})"
    return (what, reach, f"{share:.1f} %", f"{cost.spent.cpu:.2f}", memory)


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.1f} ms"
