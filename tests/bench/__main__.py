"""What `scripts/bench` runs: `packet` (the packet path, then the control plane) or `control` alone."""

from __future__ import annotations

import argparse
import ctypes
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.control import measure_control
from tests.bench.packet import measure_packets
from xdplb.dataplane.bcc_plane import BccPlane
from xdplb.dataplane.compile import compile_program
from xdplb.dataplane.libbpf import obj_get
from xdplb.dataplane.pins import Maps
from xdplb.dataplane.plane import Capacity
from xdplb.dataplane.source import compile_flags, flatten, source_dir

CLONE_NEWNS = 0x00020000
CAPACITY = Capacity(flows=1 << 22)
"""Room for every flow of all cases, so that what is measured is not eviction."""


def main() -> None:
    """Parse the arguments, load the data plane on no NIC and measure it."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("what", choices=["packet", "control"])
    parser.add_argument("--trials", type=int, default=15, help="measurements of each case (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=1 << 21, help="packets a measurement (default: %(default)s)")
    arguments = parser.parse_args()
    print(f"{_machine()}; xdplb {_commit()}\n")
    with _private_bpffs() as pin_dir:
        plane = BccPlane(Maps.create(pin_dir, CAPACITY))
        if arguments.what == "packet":
            program = pin_dir / "program"
            compile_program(flatten(source_dir() / "xdplb.c"), compile_flags(pin_dir, CAPACITY), {"xdplb": program})
            measure_packets(plane, obj_get(program), pin_dir, trials=arguments.trials, turns=arguments.turns)
        measure_control(plane)


@contextmanager
def _private_bpffs() -> Iterator[Path]:
    """A bpffs that only this process sees and that goes with it, whatever happens."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS):
        raise SystemExit("scripts/bench: needs root, for BPF and a mount of its own")
    with tempfile.TemporaryDirectory(prefix="xdplb-bench-") as folder:
        subprocess.run(["/bin/mount", "--make-rprivate", "/"], check=True)
        subprocess.run(["/bin/mount", "-t", "bpf", "bpf", folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["/bin/umount", "-l", folder], check=True)


def _machine() -> str:
    model = next(
        (line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    return f"{model}, {os.cpu_count()} CPUs, Linux {platform.release()}"


def _commit() -> str:
    command = ["/usr/bin/git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "without git"


if __name__ == "__main__":
    main()
