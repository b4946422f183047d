# SPDX-License-Identifier: Apache-2.0
"""Starts a process that runs commands of exec checks or notifications, before the daemon gives up what that takes."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import xdplb
from xdplb.control.health.commands import Commands

__all__ = ["command_runner"]

_RUNNER = "xdplb.daemon.command_runner"
_END_SECONDS = 2.0


@contextmanager
def command_runner(*, wanted: bool, allows_root: bool = False) -> Iterator[Commands | None]:
    """Yield what has commands run, None if that is not wanted; also as root with `allows_root`.

    At the end, all commands are killed.
    """
    if not wanted:
        yield None
        return
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            line = [sys.executable, "-P", "-m", _RUNNER, str(theirs.fileno()), *(["root"] if allows_root else [])]
            # The same xdplb as this one, wherever that was found.
            environment = {**os.environ, "PYTHONPATH": str(Path(xdplb.__file__).parents[1])}
            process = subprocess.Popen(
                line, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, cwd="/", env=environment
            )
        try:
            yield Commands(ours)
        finally:
            ours.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_SECONDS)
