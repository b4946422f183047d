"""Locks, so that each NIC, pin dir and state dir has at most one daemon.

A daemon keeps an flock on a file under /run/xdplb for each of them. The kernel releases the lock when the daemon ends,
however it ends. The file says which daemon it is. What a killed daemon leaves there, the next `up` or `down` removes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from xdplb.model.errors import ConflictError, XdplbError

__all__ = ["RUN_DIR", "Detaching", "Holder", "detaching_from", "find_holder", "hold", "remove_stale", "told_to_detach"]

RUN_DIR = Path("/run/xdplb")
_READ_TRIES = 20
_LOCK_TRIES = 10


@dataclass(frozen=True, slots=True)
class Holder:
    """A daemon: its process, the NICs it serves and the folders that only it uses."""

    pid: int
    interfaces: tuple[str, ...]
    pin_dir: str
    state_dir: str

    def __str__(self) -> str:
        return f"pid {self.pid}, on {', '.join(self.interfaces)}, pins in {self.pin_dir}"


@dataclass(frozen=True, slots=True)
class Detaching:
    """An `xdplb down` that stops a daemon first: the daemon's pid, and the NICs it detaches from, empty for all."""

    pid: int
    interfaces: tuple[str, ...]


@contextmanager
def detaching_from(pin_dir: Path, what: Detaching, run_dir: Path = RUN_DIR) -> Iterator[None]:
    """Leave word for the daemon while in the block, so that it ends knowing that its program goes too."""
    path = _folder_file("pins", str(pin_dir), run_dir).with_suffix(".down")
    with suppress(OSError):  # the word is for the log only
        path.write_text(json.dumps(asdict(what)), encoding="utf-8")
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def told_to_detach(pin_dir: Path, pid: int, run_dir: Path = RUN_DIR) -> Detaching | None:
    """Return the `xdplb down` that stops the daemon `pid`, None if it was stopped otherwise."""
    path = _folder_file("pins", str(pin_dir), run_dir).with_suffix(".down")
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        word = Detaching(fields["pid"], tuple(fields["interfaces"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return word if word.pid == pid else None


@contextmanager
def hold(holder: Holder, run_dir: Path = RUN_DIR) -> Iterator[None]:
    """Hold the NICs and folders of `holder` while in the block.

    Raises ConflictError, which names the other daemon, if one of them is held already.
    """
    remove_stale(run_dir)
    with ExitStack() as stack:
        for interface in holder.interfaces:
            stack.enter_context(_lock(_interface_file(interface, run_dir), interface, holder))
        stack.enter_context(_lock(_folder_file("pins", holder.pin_dir, run_dir), f"pin dir {holder.pin_dir}", holder))
        stack.enter_context(
            _lock(_folder_file("state", holder.state_dir, run_dir), f"state dir {holder.state_dir}", holder)
        )
        yield


def find_holder(pin_dir: Path, run_dir: Path = RUN_DIR) -> Holder | None:
    """Return the running daemon of this pin dir, None if there is none.

    Raises ConflictError if a process holds it that does not say who it is.
    """
    path = _folder_file("pins", str(pin_dir), run_dir)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        if _try_lock(descriptor, fcntl.LOCK_SH):
            return None
        holder = _read(descriptor)
    finally:
        os.close(descriptor)
    if holder is None:
        raise ConflictError(
            f"{pin_dir} is held by a process that does not say who it is", hint=f"find it with: fuser {path}"
        )
    return holder


def remove_stale(run_dir: Path = RUN_DIR) -> None:
    """Remove the files of daemons that were killed. Files that are held or may not be removed stay."""
    for path in run_dir.glob("*.lock"):
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(path, descriptor):
                    # A daemon that starts now may have opened this file before it is unlinked. It then gets the lock
                    # of a file that has no path any more, sees that (`_is_at`), and opens again: see `_acquire`.
                    path.unlink()
            finally:
                os.close(descriptor)


def _interface_file(interface: str, run_dir: Path) -> Path:
    """Return the file of a NIC. It has the network namespace in its name: NICs of two may be called the same."""
    return run_dir / f"{Path('/proc/thread-self/ns/net').stat().st_ino}-{interface}.lock"


def _folder_file(kind: str, folder: str, run_dir: Path) -> Path:
    """Return the file of a folder. It has the filesystem in its name: two mount namespaces may differ at one path."""
    path = Path(folder).resolve()
    present = next(parent for parent in (path, *path.parents) if parent.exists())
    name = hashlib.sha256(f"{present.stat().st_dev}:{path}".encode()).hexdigest()[:16]
    return run_dir / f"{kind}-{name}.lock"


@contextmanager
def _lock(path: Path, what: str, holder: Holder) -> Iterator[None]:
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = _acquire(path, what)
    except OSError as error:
        raise XdplbError(f"cannot lock {what}: {path}: {error.strerror}", hint="run it as root") from None
    try:
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(holder)).encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)  # before the lock is released: after it the file may be another daemon's
        os.close(descriptor)


def _acquire(path: Path, what: str) -> int:
    """Return a locked descriptor of the file that is at `path` now; its last holder may just have unlinked it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if not _try_lock(descriptor, fcntl.LOCK_EX):
                raise ConflictError(
                    f"{what} is held by another xdplb ({_read(descriptor) or 'it does not say who it is'})",
                    hint="stop it first, or give this one its own NIC, --pin-dir and --state-dir",
                )
            if _is_at(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    """Return whether the open file is the one that `path` names now."""
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


def _try_lock(descriptor: int, how: int) -> bool:
    """Lock it; return False if a daemon holds it. Others (`find_holder`, `remove_stale`) lock it for a moment only."""
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.01)
        else:
            return True
    return False


def _read(descriptor: int) -> Holder | None:
    """Return the daemon that the file names. Retry for a moment: a daemon first takes the lock and then writes."""
    for _ in range(_READ_TRIES):
        try:
            fields = json.loads(os.pread(descriptor, 65536, 0))
            return Holder(fields["pid"], tuple(fields["interfaces"]), fields["pin_dir"], fields["state_dir"])
        except (ValueError, KeyError, TypeError):
            time.sleep(0.02)
    return None
