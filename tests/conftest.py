# SPDX-License-Identifier: Apache-2.0
"""For all tests: those marked `root` run only with root, bcc and XDP, and are otherwise skipped with the reason."""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import importlib.util
import os
import signal
import struct

import pytest

XDP_PASS_PROGRAM = struct.pack("<BBhi", 0xB7, 0, 0, 2) + struct.pack("<BBhi", 0x95, 0, 0, 0)
"""r0 = XDP_PASS; exit."""

BPF_PROG_TYPE_XDP = 6

NEEDS = "needs root and XDP"


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


def _in_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def pytest_configure() -> None:
    """Stop ignoring SIGINT, as a runner in the background does: the commands under test would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test marked `root` if it cannot run; in CI let it fail, since nobody reads about skips there."""
    if item.get_closest_marker("root") is None or not (reason := _missing()):
        return
    if _in_ci():
        pytest.fail(f"{NEEDS}, which CI must provide: {reason}", pytrace=False)
    pytest.skip(f"{NEEDS}: {reason}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Report prominently how many tests did not run because root or XDP is missing."""
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if NEEDS in str(report.longrepr)]
    if skipped:
        terminalreporter.section("NOT EVERYTHING WAS TESTED", sep="!", red=True)
        terminalreporter.line(f"{len(skipped)} tests skipped, because they need root and XDP ({_missing()})", red=True)
