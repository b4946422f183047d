# SPDX-License-Identifier: Apache-2.0
"""Network namespaces by name: create and remove them, and run a function or a command inside one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from pyroute2 import netns

from xdplb.model.errors import PlatformError

__all__ = ["RUN", "command", "configure", "create", "inside", "kill_inside", "names", "remove"]

RUN = Path("/run/netns")

T = TypeVar("T")


def create(name: str) -> None:
    """Create a namespace called `name`, with loopback up. Raises PlatformError."""
    try:
        netns.create(name)
    except OSError as error:
        raise PlatformError(f"the network namespace {name} cannot be created: {error.strerror}") from error
    configure(name, ["link set lo up"])


def remove(name: str) -> None:
    """Remove the name of a namespace, if it exists. Processes in it keep the namespace itself alive."""
    if (RUN / name).exists():
        netns.remove(name)


def names() -> list[str]:
    """Return the names of all namespaces."""
    return sorted(path.name for path in RUN.iterdir()) if RUN.is_dir() else []


def kill_inside(namespaces: Sequence[str]) -> None:
    """Kill all processes in these namespaces, whoever started them."""
    inodes = {(RUN / name).stat().st_ino for name in namespaces}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended by itself
            # The pidfd is opened before the check, so that a pid that is reused in between is not killed.
            handle = os.pidfd_open(int(process.name))
            try:
                if (process / "ns/net").stat().st_ino in inodes:
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
            finally:
                os.close(handle)


def configure(name: str, lines: Sequence[str]) -> None:
    """Run these lines with `ip -batch` in the namespace. Raises PlatformError with ip's error message."""
    result = subprocess.run(
        ["ip", "-n", name, "-batch", "-"],  # noqa: S607  # ip lives in /sbin or /usr/sbin
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise PlatformError(f"ip failed in the namespace {name}: {result.stderr.strip()}")


def command(name: str, argv: Sequence[str], *, dies_with_parent: bool) -> list[str]:
    """Return the command line that runs `argv` in the namespace.

    Only the network namespace is entered. `ip netns exec` would also mount a new /sys, without bpffs.
    """
    enter = ["nsenter", f"--net={RUN / name}", "--", *argv]
    return ["setpriv", "--pdeathsig", "KILL", "--", *enter] if dies_with_parent else enter


def inside(name: str, function: Callable[[], T]) -> T:
    """Run `function` inside the namespace, in its own thread; return what it returns, or raise what it raises."""
    results: list[T] = []
    errors: list[BaseException] = []

    def enter() -> None:
        try:
            netns.setns(name)
            results.append(function())
        except BaseException as error:  # raised again in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=enter, name=f"in {name}")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
