# SPDX-License-Identifier: Apache-2.0
"""A lab's folder on disk, with a lock that shows whether its owner is alive: it ends with the owner's process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path

from xdplb.model.errors import PlatformError
from xdplb.private_files import open_private_folder

from . import netns

__all__ = ["LabHome", "kept_labs", "reap"]

ROOT = Path("/run/xdplb-lab")


class LabHome:
    """The folder of a lab, with a bpffs in it. `reap` does not touch it while its owner lives."""

    def __init__(self) -> None:
        with _registry():
            self.id = secrets.token_hex(3)
            self.folder = ROOT / self.id
            self.folder.mkdir(mode=0o700)
            self._lock = os.open(self.folder / "owner", os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.bpffs = self.folder / "bpf"
        self.bpffs.mkdir()
        try:
            _run("mount", "-t", "bpf", "bpf", str(self.bpffs))
        except PlatformError:
            self.remove()
            raise

    def prefix(self) -> str:
        """Return the prefix of the names of all namespaces of the lab."""
        return f"xdplb-{self.id}-"

    def keep(self) -> None:
        """Let the lab outlive its owner: then only a `reap` that names it removes it."""
        (self.folder / "kept").touch()

    def remove(self) -> None:
        """Remove the namespaces, the bpffs with all that is pinned in it, and the folder."""
        with _registry():
            _remove(self.folder)
        os.close(self._lock)


def reap(*, kept: Collection[str] = ()) -> list[str]:
    """Remove the labs whose owner has ended; return their ids. Those kept on purpose only if `kept` has their id."""
    removed: list[str] = []
    with _registry():
        for folder in _folders():
            if (folder.name in kept or not _is_kept(folder)) and _is_orphan(folder):
                _remove(folder)
                removed.append(folder.name)
    return removed


def kept_labs() -> list[str]:
    """Return the ids of the labs kept on purpose."""
    with _registry():
        return [folder.name for folder in _folders() if _is_kept(folder)]


def _folders() -> list[Path]:
    return sorted(path for path in ROOT.iterdir() if path.is_dir())


def _is_kept(folder: Path) -> bool:
    return (folder / "kept").exists()


def _is_orphan(folder: Path) -> bool:
    try:
        lock = os.open(folder / "owner", os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


def _remove(folder: Path) -> None:
    names = [name for name in netns.names() if name.startswith(f"xdplb-{folder.name}-")]
    netns.kill_inside(names)
    for name in names:
        netns.remove(name)
    if os.path.ismount(folder / "bpf"):
        _run("umount", "-l", str(folder / "bpf"))
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _registry() -> Iterator[None]:
    """Keep other processes from making and reaping labs: a folder must not be seen before its lock is held."""
    descriptor = _lock_root()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            ROOT.rmdir()  # after the last lab; it fails if there are others
        os.close(descriptor)


def _lock_root() -> int:
    """Return a locked descriptor of the root folder. Create it again if the last lab has removed it meanwhile."""
    while True:
        with contextlib.suppress(FileNotFoundError):
            descriptor = open_private_folder(ROOT)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), ROOT.stat()):
                    return descriptor
            os.close(descriptor)


def _run(*argv: str) -> None:
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    if result.returncode:
        raise PlatformError(f"{' '.join(argv)} failed: {result.stderr.strip()}", hint="a lab needs root")
