# SPDX-License-Identifier: Apache-2.0
"""`scripts/fuzz`: as many packets as there is time for, on as many CPUs as there are."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from tests.fuzz.comparison import Run
from tests.fuzz.profiles import PROFILES
from tests.fuzz.seeds import SEEDS
from tests.fuzz.worker import begin, run_once

RUN_PACKETS = 5000
REPORT_SECONDS = 10.0


def main() -> int:
    """Run what is asked; 1 where something differed."""
    arguments = _parse()
    if os.geteuid() != 0:
        print("scripts/fuzz: needs root; try sudo", file=sys.stderr)
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):  # a shell starts what runs in the background with SIGINT ignored
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    runs = _runs(arguments.packets, arguments.seed, arguments.profile or list(PROFILES))
    with _bpffs() as folder:
        tally = _run_all(runs, folder, arguments.processes)
    print(f"scripts/fuzz: {tally.packets:,} packets in {tally.runs} runs, {tally.differences} of which differed")
    return 1 if tally.differences else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description="Compare the program with the reference model.")
    parser.add_argument("--packets", type=int, default=10_000_000, help="number of packets (10000000)")
    parser.add_argument("--seed", type=int, help="seed of the first run; each run uses the next number (random)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="number of processes (one per CPU)")
    parser.add_argument("--profile", action="append", choices=list(PROFILES), help="what to compile for (all in turn)")
    return parser.parse_args()


def _runs(packets: int, seed: int | None, profiles: list[str]) -> Iterator[Run]:
    """Yield those that once differed, then new ones."""
    first = secrets.randbelow(1 << 32) if seed is None else seed
    yield from (run for run in SEEDS if run.profile in profiles)
    for number, profile in zip(range(-(-packets // RUN_PACKETS)), cycle(profiles), strict=False):
        yield Run(profile, first + number, min(RUN_PACKETS, packets - number * RUN_PACKETS))


@dataclass
class _Tally:
    """What is done."""

    runs: int = 0
    packets: int = 0
    differences: int = 0

    def add(self, run: Run, difference: str | None) -> None:
        """Count a run, and tell what differed in it."""
        self.runs += 1
        self.packets += run.packets
        if difference is not None:
            self.differences += 1
            print(difference, flush=True)


def _run_all(runs: Iterator[Run], folder: Path, processes: int) -> _Tally:
    """Run them, telling what differs, and now and then how far it is."""
    context = multiprocessing.get_context("spawn")
    tally, told = _Tally(), time.monotonic()
    with _pool(ProcessPoolExecutor(processes, context, begin, (context.Value("i", 0), folder))) as pool:
        waiting: dict[Future[str | None], Run] = {}
        for run in runs:
            waiting[pool.submit(run_once, run)] = run
            if len(waiting) >= 2 * processes:
                _collect(waiting, tally)
            if time.monotonic() - told > REPORT_SECONDS:
                told = time.monotonic()
                print(f"{tally.packets:,} packets, {tally.differences} runs differed", file=sys.stderr)
        while waiting:
            _collect(waiting, tally)
    return tally


@contextmanager
def _pool(pool: ProcessPoolExecutor) -> Iterator[ProcessPoolExecutor]:
    """Let what is running come to its end, and no more."""
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _collect(waiting: dict[Future[str | None], Run], tally: _Tally) -> None:
    """Take what is finished out of `waiting`."""
    for future in wait(waiting, return_when=FIRST_COMPLETED).done:
        tally.add(waiting.pop(future), future.result())


@contextmanager
def _bpffs() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="xdplb-fuzz-") as name:
        path = Path(name) / "bpffs"
        path.mkdir()
        subprocess.run(["mount", "-t", "bpf", "bpf", path], check=True)
        try:
            yield path
        finally:
            subprocess.run(["umount", "--lazy", path], check=True)


if __name__ == "__main__":
    sys.exit(main())
