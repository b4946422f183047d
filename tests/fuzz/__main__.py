"""`scripts/fuzz`: as many packets as there is time for, on as many CPUs as there are."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
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
    runs = _runs(arguments.packets, arguments.seed, arguments.profile or list(PROFILES))
    with _bpffs() as folder:
        differences = _run_all(runs, folder, arguments.processes, arguments.packets)
    for text in differences:
        print(text)
    print(f"scripts/fuzz: {arguments.packets:,} packets, {len(differences)} runs differed")
    return 1 if differences else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description="Compare the program with the reference model.")
    parser.add_argument("--packets", type=int, default=10_000_000, help="how many (10000000)")
    parser.add_argument("--seed", type=int, help="the first run's; each run has the next one (random)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="one a CPU")
    parser.add_argument("--profile", action="append", choices=list(PROFILES), help="what to compile for (all in turn)")
    return parser.parse_args()


def _runs(packets: int, seed: int | None, profiles: list[str]) -> Iterator[Run]:
    """Yield those that once differed, then new ones."""
    first = secrets.randbelow(1 << 32) if seed is None else seed
    yield from (run for run in SEEDS if run.profile in profiles)
    for number, profile in zip(range(-(-packets // RUN_PACKETS)), cycle(profiles), strict=False):
        yield Run(profile, first + number, min(RUN_PACKETS, packets - number * RUN_PACKETS))


def _run_all(runs: Iterator[Run], folder: Path, processes: int, packets: int) -> list[str]:
    """Return what differed, a text a run."""
    context = multiprocessing.get_context("spawn")
    number = context.Value("i", 0)
    differences: list[str] = []
    done, told = 0, time.monotonic()
    with ProcessPoolExecutor(processes, context, begin, (number, folder)) as pool:
        waiting: dict[Future[str | None], Run] = {}
        for run in runs:
            waiting[pool.submit(run_once, run)] = run
            if len(waiting) < 2 * processes:
                continue
            done += _collect(waiting, differences)
            if time.monotonic() - told > REPORT_SECONDS:
                told = time.monotonic()
                print(f"{done:,} of {packets:,} packets, {len(differences)} runs differed", file=sys.stderr)
        while waiting:
            done += _collect(waiting, differences)
    return differences


def _collect(waiting: dict[Future[str | None], Run], differences: list[str]) -> int:
    """Take what is finished out of `waiting`; return how many packets that were."""
    finished = wait(waiting, return_when=FIRST_COMPLETED).done
    differences += [text for future in finished if (text := future.result()) is not None]
    return sum(waiting.pop(future).packets for future in finished)


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
