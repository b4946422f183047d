# SPDX-License-Identifier: Apache-2.0
"""Where a benchmark runs: the description of the machine, a private bpffs, one CPU."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["COUNTING", "ahead_of_others", "describe", "pinned_cpu", "private_bpffs"]

CLONE_NEWNS = 0x00020000
COUNTING = (
    "the kernel counts and times the runs of BPF programs, which takes longer than many of them;\n"
    "  end who asks for it: sysctl kernel.bpf_stats_enabled, bpftool, or xdplb while it tries an upgrade"
)
"""Said where that made figures worthless."""


def describe() -> str:
    """Return CPU, kernel and commit, to be printed above every table."""
    return f"{_machine()}; xdplb {_commit()}"


@contextmanager
def private_bpffs() -> Iterator[Path]:
    """Yield a bpffs that only this process sees, and that always ends with it."""
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


@contextmanager
def pinned_cpu() -> Iterator[None]:
    """Stay on one CPU, the last allowed one, with a priority above ordinary processes."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        with ahead_of_others():
            yield
    finally:
        os.sched_setaffinity(0, allowed)


@contextmanager
def ahead_of_others() -> Iterator[None]:
    """Give this thread a priority above ordinary processes, which then take none of its time."""
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    with suppress(OSError):  # a container may not allow it
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, priority)


def _machine() -> str:
    model = next(
        (line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    return f"{model}, {os.cpu_count()} CPUs, Linux {platform.release()}"


def _commit() -> str:
    command = ["/usr/bin/git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "without git"
