# SPDX-License-Identifier: Apache-2.0
"""For all tests: those marked `root` or `browser` run only where there is what they need, else they are skipped."""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import importlib.util
import os
import shutil
import signal
import struct
import tempfile
from pathlib import Path

import pytest

XDP_PASS_PROGRAM = struct.pack("<BBhi", 0xB7, 0, 0, 2) + struct.pack("<BBhi", 0x95, 0, 0, 0)
"""r0 = XDP_PASS; exit."""

BPF_PROG_TYPE_XDP = 6


def _xdp_refusal() -> str:
    """Load the smallest possible XDP program; return why the kernel refused it, or an empty string."""
    libbpf = ctypes.CDLL("libbpf.so.1", use_errno=True)
    fd = libbpf.bpf_prog_load(BPF_PROG_TYPE_XDP, None, b"GPL", XDP_PASS_PROGRAM, len(XDP_PASS_PROGRAM) // 8, None)
    if fd < 0:
        return f"the kernel refuses an XDP program ({os.strerror(-fd)})"
    os.close(fd)
    return ""


@functools.cache
def _missing() -> str:
    """Return what this machine lacks for tests marked `root`, or an empty string."""
    if os.geteuid() != 0:
        return "not root"
    if importlib.util.find_spec("bcc") is None:
        return "no bcc: scripts/setup installs it"
    try:
        return _xdp_refusal()
    except OSError as error:
        return f"no libbpf ({error})"


@functools.cache
def _missing_browser() -> str:
    """Return what this machine lacks for tests marked `browser`, or an empty string."""
    for command in ("chromium", "node"):
        if shutil.which(command) is None:
            return f"no {command}: scripts/setup --dev installs it"
    packages = Path(__file__).parent / "browser/node_modules/playwright-core"
    return "" if packages.exists() else "no playwright-core: scripts/setup --dev installs it"


NEEDS = {
    "root": ("needs root and XDP", _missing),
    "browser": ("needs Chromium and Node.js", _missing_browser),
}
"""By marker: what such a test needs, and what says which of it this machine lacks."""


KEPT_PROGRAMS = str(Path(__file__).with_name("kept_programs"))
COMPILED = "XDPLB_TESTS_COMPILED"
"""For both see kept_programs/sitecustomize.py."""


def _in_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def pytest_configure(config: pytest.Config) -> None:
    """Prepare what the commands under test inherit.

    They do not ignore SIGINT, as a runner in the background does. And they compile each program once a run: its first
    process makes the folder for that, which pytest-xdist's workers inherit.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if COMPILED not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="xdplb-compiled-")
        config.add_cleanup(folder.cleanup)
        os.environ[COMPILED] = folder.name
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (KEPT_PROGRAMS, os.environ.get("PYTHONPATH"))))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a marked test that cannot run here; in CI let it fail, since nobody reads about skips there."""
    for marker, (needs, missing) in NEEDS.items():
        if item.get_closest_marker(marker) is None or not (reason := missing()):
            continue
        if _in_ci():
            pytest.fail(f"{needs}, which CI must provide: {reason}", pytrace=False)
        pytest.skip(f"{needs}: {reason}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Report prominently how many tests did not run because what they need is missing."""
    skipped = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    counts = {needs: sum(needs in why for why in skipped) for needs, _ in NEEDS.values()}
    if any(counts.values()):
        terminalreporter.section("NOT EVERYTHING WAS TESTED", sep="!", red=True)
    for needs, missing in NEEDS.values():
        if counts[needs]:
            terminalreporter.line(f"{counts[needs]} tests skipped: each {needs} ({missing()})", red=True)
