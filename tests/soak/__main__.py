# SPDX-License-Identifier: Apache-2.0
"""`scripts/soak`: random faults under traffic for as long as there is time, with a report."""

from __future__ import annotations

import argparse
import os
import random
import secrets
import signal
import sys
import time

from tests.netns.balancer import Balancer
from tests.netns.conftest import new_lab
from tests.netns.random_changes import HOSTS, PORTS, Backends
from tests.netns.talking import Talk, serve_talks
from tests.soak.faults import FAULTS, NICS, World
from tests.soak.ledger import Ledger
from tests.soak.report import Report, held_by
from tests.soak.transfers import transfer
from tests.waiting import until

CONNECTIONS = 150


def main() -> int:
    """Run what is asked; 1 if something went wrong."""
    arguments = _parse()
    if os.geteuid() != 0:
        print("scripts/soak: needs root; try sudo", file=sys.stderr)
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):  # so that the lab is removed
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    if arguments.transfers is not None:
        wrong = transfer(arguments.transfers)
        print("\n".join(wrong) or "every byte arrived as it was sent, and nothing was dropped")
        return 1 if wrong else 0
    seed = secrets.randbelow(1 << 32) if arguments.seed is None else arguments.seed
    print(f"scripts/soak: seed {seed}, {arguments.minutes:g} minutes", flush=True)
    random.seed(seed)
    report = Report()
    with new_lab() as lab:
        try:
            _soak(Balancer(lab), arguments.minutes * 60, arguments.fault or list(FAULTS), report)
        except AssertionError as error:
            report.wrong.append(str(error))
        if report.wrong and arguments.keep:
            lab.keep()
            print(f"the lab is in {lab.folder}, its namespaces are {lab.namespace('*')}")
    print(report.text())
    return 1 if report.wrong else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/soak", description="Random faults under traffic, with a report.")
    parser.add_argument("--minutes", type=float, default=60, help="how long (60)")
    parser.add_argument("--seed", type=int, help="seed of the faults (random)")
    parser.add_argument("--fault", action="append", choices=list(FAULTS), help="only these (all)")
    parser.add_argument(
        "--transfers",
        type=int,
        nargs="?",
        const=1000,
        metavar="MB",
        help="instead: move so much each way by NAT (1000)",
    )
    parser.add_argument("--keep", action="store_true", help="leave the lab up if something goes wrong")
    return parser.parse_args()


def _soak(balancer: Balancer, seconds: float, faults: list[str], report: Report) -> None:
    balancer.prepare(*HOSTS)
    serve_talks(balancer)
    balancer.start(nics=NICS)
    backends = Backends(balancer)
    backends.make_vips()
    for host in HOSTS:
        backends.add(host)
    until(backends.serve)
    ledger = Ledger(balancer.socket)
    world = World(balancer, backends, ledger)
    talks = {tracking: Talk(balancer, port, CONNECTIONS) for tracking, port in PORTS.items()}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()  # the clock of the connections that broke
        (name,) = random.choices(faults, [FAULTS[fault][0] for fault in faults])
        try:
            figures = FAULTS[name][1](world)
            figures = world.recovered() | figures
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error
        report.note(name, figures)
        measured = ", ".join(f"{what} {value:.2f}" for what, value in figures.items())
        print(f"{began:.2f} {name}: {measured}", flush=True)
        assert balancer.daemon is not None
        report.held.append(held_by(balancer.daemon.pid, balancer.log_file))
        time.sleep(random.choice((0.0, 0.3, 2.0, 6.0)))
    ledger.stop()
    if lost := ledger.lost():
        report.wrong.append(f"acknowledged, but not there or there again: {sorted(lost)}")
    report.note("ledger", {"acknowledged": ledger.acknowledged, "unanswered": ledger.unanswered})
    for tracking, talk in talks.items():
        _judge(talk, tracking, backends, report)


def _judge(talk: Talk, tracking: str, backends: Backends, report: Report) -> None:
    """Report the connections that ended although nothing was done to their backend."""
    ended, summary = talk.finish()
    broken = [one for one in ended if not backends.excuses(one)]
    report.note(f"talk-{tracking}", {"ended": len(ended), "broken": len(broken), "said": summary["said"]})
    if broken:
        report.wrong.append(f"{tracking}: {len(broken)} connections of surviving backends broke:")
        report.wrong += [str(one) for one in broken[:20]]


if __name__ == "__main__":
    sys.exit(main())
