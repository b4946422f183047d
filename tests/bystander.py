# SPDX-License-Identifier: Apache-2.0
"""Another user of the host, who is nobody, for tests of what such a user cannot do."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["NOBODY", "as_nobody", "flocking", "open_a_way"]

NOBODY = 65534

_AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--")
_FLOCK = """
import fcntl, os, signal, sys
for path in sys.argv[1:]:
    try:
        fcntl.flock(os.open(path, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
        print("locked", flush=True)
    except OSError as error:
        print(error.strerror, flush=True)
signal.pause()
"""


def as_nobody(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command as nobody."""
    return subprocess.run([*_AS_NOBODY, *command], capture_output=True, text=True, check=False, timeout=60)


@contextmanager
def flocking(*paths: Path) -> Iterator[list[str]]:
    """Have nobody lock these files while in the block; yield what became of each: `locked` or an error."""
    # Not the interpreter of the venv, which nobody may not be able to reach.
    command = [*_AS_NOBODY, "/usr/bin/python3", "-c", _FLOCK, *map(str, paths)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            yield [child.stdout.readline().strip() for _ in paths]
        finally:
            child.kill()


def open_a_way(folder: Path) -> None:
    """Let other users pass through the folders of a test, which pytest makes for the tester only."""
    for each in (folder, *folder.parents):
        if each.stat().st_mode & 0o001 == 0:
            each.chmod(each.stat().st_mode | 0o011)
