# SPDX-License-Identifier: Apache-2.0
"""How long a change takes from one balancer to the maps of the others: with real daemons, and the etcd they share.

Whether it is there is read from the maps themselves: asking the daemons each millisecond would slow them down.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from tests.asking import ApiConnection
from tests.bench.tables import print_table
from tests.netns.sharing_daemons import Daemons
from xdplb.dataplane.mark_map import MarkMap
from xdplb.dataplane.single import pass_program
from xdplb.net.lab_cluster import BALANCERS, ClusterLab

__all__ = ["measure_store"]

_VIP = "/v1/vips/203.0.113.10:80:tcp"
_BACKEND = f"{_VIP}/backends/10.0.0.21"
_POLL_SECONDS = 0.0005
_WEIGHTS = itertools.cycle(range(1, 60_000))


def measure_store(changes: int) -> None:
    """Measure and print the table."""
    with pass_program() as program, ClusterLab(port_program=program.fileno()) as lab, _running(lab) as daemons:
        rows = []
        used = {host: daemons.cpu_seconds(host) for host in (*BALANCERS, "shared")}
        for pause in (0.2, 0.0):
            answered, others = _turns(daemons, changes, pause)
            when = "one after the other" if pause == 0.0 else f"one each {pause:g} s"
            rows.append((f"answered by the balancer that is asked, {when}", *_quantiles(answered)))
            rows.append((f"in the maps of both others, {when}", *_quantiles(others)))
        rows.append(("answered, three ask three at once", *_quantiles(_all_at_once(daemons, changes // 3))))
        daemons.agree()
        print_table((f"three balancers, one etcd, {changes} changes each", "p50 ms", "p99 ms", "most ms"), rows)
        print(_cpu(daemons, used, changes * 3))


def _cpu(daemons: Daemons, before: Mapping[str, float], changes: int) -> str:
    """Return the CPU time of a change in each process, with all else that it does meanwhile."""
    used = {host: (daemons.cpu_seconds(host) - seconds) / changes * 1e3 for host, seconds in before.items()}
    return "CPU ms a change: " + ", ".join(f"{host} {milliseconds:.1f}" for host, milliseconds in used.items())


@contextmanager
def _running(lab: ClusterLab) -> Iterator[Daemons]:
    daemons = Daemons(lab)
    daemons.start_etcd()
    for host in BALANCERS:
        daemons.spawn(host)
    daemons.wait_ready(*BALANCERS)
    daemons.cli(BALANCERS[0], "vip", "add", "203.0.113.10:80/tcp")
    for last in (21, 22):
        daemons.cli(BALANCERS[0], "backend", "add", "203.0.113.10:80/tcp", f"10.0.0.{last}")
    daemons.agree()
    yield daemons


def _turns(daemons: Daemons, changes: int, pause: float) -> tuple[list[float], list[float]]:
    """Return for each change after how many seconds it was answered, and after how many both others had it."""
    answered, others = [], []
    marks = [MarkMap.open(daemons.pin_dir(host)) for host in BALANCERS[1:]]
    with daemons.asking(BALANCERS[0]) as asked:
        for _ in range(changes):
            began = time.perf_counter()
            generation = _change(asked)
            answered.append(time.perf_counter() - began)
            others.append(max(_until_there(mark, generation) for mark in marks) - began)
            time.sleep(pause)
    return answered, others


def _all_at_once(daemons: Daemons, changes: int) -> list[float]:
    """Return how long changes take that are asked for of all balancers at the same time, by one client each."""
    found: list[float] = []

    def ask(host: str) -> None:
        with daemons.asking(host) as connection:
            for _ in range(changes):
                began = time.perf_counter()
                _change(connection)
                found.append(time.perf_counter() - began)

    threads = [threading.Thread(target=ask, args=(host,)) for host in BALANCERS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def _change(connection: ApiConnection) -> int:
    """Give the backend another weight; return the generation that this makes."""
    body = json.dumps({"weight": next(_WEIGHTS)})
    connection.request("PATCH", _BACKEND, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    told = json.loads(answer.read())
    if answer.status == 409:  # others were first too often: a client asks again
        return _change(connection)
    if answer.status != 200:
        raise RuntimeError(f"{answer.status}: {told}")
    return int(told["generation"])


def _until_there(marks: MarkMap, generation: int) -> float:
    """Return when the maps of a balancer have a generation."""
    while (mark := marks.read()) is None or mark.generation < generation:
        time.sleep(_POLL_SECONDS)
    return time.perf_counter()


def _quantiles(times: Sequence[float]) -> tuple[str, str, str]:
    ordered = sorted(times)
    half, most, last = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)], ordered[-1]
    return f"{half * 1e3:.1f}", f"{most * 1e3:.1f}", f"{last * 1e3:.1f}"
