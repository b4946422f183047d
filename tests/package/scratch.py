# SPDX-License-Identifier: Apache-2.0
"""A folder for roots of Debian, which is removed however the run ends: first what runs and is mounted in it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

END_SECONDS = 10


def mounts_in(folder: Path) -> list[Path]:
    """Return where something is mounted in a folder, in the order to unmount it."""
    points = [line.split()[4].encode().decode("unicode_escape") for line in _mountinfo()]
    inside = [Path(point) for point in points if Path(point).is_relative_to(folder.resolve())]
    return sorted(inside, reverse=True)


def require_unmounted(folder: Path) -> None:
    """Raise RuntimeError if something is mounted in a folder: what copies or removes it would reach into that."""
    if found := mounts_in(folder):
        raise RuntimeError(f"{folder} is left alone, since {', '.join(map(str, found))} is mounted: umount it first")


def remove(folder: Path) -> None:
    """End what runs in a root under this folder, unmount what is mounted in it, and remove it."""
    end = time.monotonic() + END_SECONDS
    while running := _running_in(folder):
        assert time.monotonic() < end, f"processes {running} do not end in {folder}"
        for pid in running:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    for point in mounts_in(folder):
        subprocess.run(["umount", point], check=False)
    require_unmounted(folder)
    subprocess.run(["rm", "-rf", "--one-file-system", folder], check=True)


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A new folder while in the block. SIGTERM ends the block as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, _leave)
    folder = Path(tempfile.mkdtemp(prefix="xdplb-package-", dir=parent))
    try:
        yield folder
    finally:
        remove(folder)
        signal.signal(signal.SIGTERM, before)


def _leave(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not cut the cleaning up short
    sys.exit(128 + number)


def _mountinfo() -> list[str]:
    return Path("/proc/self/mountinfo").read_text().splitlines()


def _running_in(folder: Path) -> list[int]:
    """Return the processes whose root is this folder or one in it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "root").readlink().is_relative_to(folder.resolve()):
                found.append(int(process.name))
    return found
