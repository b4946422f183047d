# SPDX-License-Identifier: Apache-2.0
"""Locks, so that each NIC, pin dir and state dir has at most one daemon.

A daemon keeps an flock on a file in /run/xdplb/locks for each of them. The kernel releases the lock when the daemon
ends, however it ends. What a killed daemon leaves there, the next `up` or `down` removes. Only root may open these
files. Still, who holds a lock is asked of the kernel; what the file says must agree with it, and a lock that another
user's process holds is none.
"""

from __future__ import annotations

import errno
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
from xdplb.private_files import make_folder, open_private, open_private_folder

from .process import Process, holder_of_lock

__all__ = [
    "LOCKS",
    "RUN_DIR",
    "Detaching",
    "Holder",
    "detaching_from",
    "find_holder",
    "hold",
    "read_note",
    "remove_note",
    "remove_stale",
    "told_to_detach",
    "write_note",
]

RUN_DIR = Path("/run/xdplb")
LOCKS = "locks"
"""The folder of the locks in RUN_DIR. RUN_DIR itself also has the socket, which a group may reach."""
_RUN_DIR_MODE = 0o755
_NO_LOCK = frozenset({errno.ENOENT, errno.EPERM, errno.EACCES, errno.ELOOP, errno.EISDIR, errno.ENXIO})
"""What opening a lock says if it is not there, or is no file of a daemon's: another user's, a symlink, a socket."""
_READ_TRIES = 20
_LOCK_TRIES = 10


@dataclass(frozen=True, slots=True)
class Holder:
    """A daemon: its process, the NICs it serves and the folders that only it uses."""

    process: Process
    interfaces: tuple[str, ...]
    pin_dir: str
    state_dir: str

    @property
    def pid(self) -> int:
        """The pid of its process."""
        return self.process.pid

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
    name = _word_file(pin_dir)
    with _folder(run_dir) as locks:
        with suppress(OSError):  # the word is for the log only
            _write(locks, name, json.dumps(asdict(what)))
        try:
            yield
        finally:
            _remove(locks, name)


def told_to_detach(pin_dir: Path, pid: int, run_dir: Path = RUN_DIR) -> Detaching | None:
    """Return the `xdplb down` that stops the daemon `pid`, None if it was stopped otherwise."""
    try:
        with _folder(run_dir) as locks, _opened(locks, _word_file(pin_dir)) as descriptor:
            fields = json.loads(os.pread(descriptor, 65536, 0))
        word = Detaching(fields["pid"], tuple(fields["interfaces"]))
    except (OSError, XdplbError, ValueError, KeyError, TypeError):
        return None
    return word if word.pid == pid else None


def write_note(pin_dir: Path, kind: str, text: str, run_dir: Path = RUN_DIR) -> None:
    """Keep a note about the daemon of a pin dir, until the next boot. OSError if it cannot be written."""
    with _folder(run_dir) as locks:
        _write(locks, _note_file(pin_dir, kind), text)


def read_note(pin_dir: Path, kind: str, run_dir: Path = RUN_DIR) -> str | None:
    """Return a note about the daemon of a pin dir, which may be gone; None if there is none."""
    if not (run_dir / LOCKS).exists():
        return None
    try:
        with _folder(run_dir) as locks, _opened(locks, _note_file(pin_dir, kind)) as descriptor:
            return os.pread(descriptor, 65536, 0).decode()
    except (OSError, XdplbError, ValueError):
        return None


def remove_note(pin_dir: Path, kind: str, run_dir: Path = RUN_DIR) -> None:
    """Remove a note. It is no error if there is none."""
    if (run_dir / LOCKS).exists():
        with suppress(OSError), _folder(run_dir) as locks:
            _remove(locks, _note_file(pin_dir, kind))


@contextmanager
def hold(holder: Holder, run_dir: Path = RUN_DIR) -> Iterator[None]:
    """Hold the NICs and folders of `holder` while in the block.

    Raises ConflictError, which names the other daemon, if one of them is held already, and PlatformError if the folder
    of the locks is somebody else's.
    """
    remove_stale(run_dir)
    with ExitStack() as stack:
        try:
            locks = stack.enter_context(_folder(run_dir))
        except OSError as error:
            raise XdplbError(f"cannot make {run_dir / LOCKS}: {error.strerror}", hint="run it as root") from None
        for interface in holder.interfaces:
            stack.enter_context(_lock(locks, _interface_file(interface), interface, holder))
        stack.enter_context(_lock(locks, _folder_file("pins", holder.pin_dir), f"pin dir {holder.pin_dir}", holder))
        stack.enter_context(
            _lock(locks, _folder_file("state", holder.state_dir), f"state dir {holder.state_dir}", holder)
        )
        yield


def find_holder(pin_dir: Path, run_dir: Path = RUN_DIR) -> Holder | None:
    """Return the running daemon of this pin dir, None if there is none.

    Raises ConflictError if a process holds it that is no daemon of xdplb, or cannot be seen from here.
    """
    if not (run_dir / LOCKS).exists():
        return None
    try:
        with _folder(run_dir) as locks, _opened(locks, _folder_file("pins", str(pin_dir))) as descriptor:
            if _try_lock(descriptor, fcntl.LOCK_SH):
                return None
            found = _locked_by(descriptor)
    except OSError as error:
        if error.errno not in _NO_LOCK:
            raise
        return None
    if isinstance(found, str):
        raise ConflictError(f"{pin_dir} is held by {found}", hint="look at that process, and stop it if it may be")
    return found


def remove_stale(run_dir: Path = RUN_DIR) -> None:
    """Remove the files of daemons that were killed. Files that are held stay."""
    if not (run_dir / LOCKS).exists():
        return
    with suppress(OSError), _folder(run_dir) as locks:
        for name in os.listdir(locks):  # noqa: PTH208  # a descriptor, not a path
            if name.endswith(".lock"):
                with suppress(OSError), _opened(locks, name) as descriptor:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if _is_at(locks, name, descriptor):
                        # A daemon that starts now may have opened this file before it is unlinked. It then gets the
                        # lock of a file that has no name any more, sees that (`_is_at`), and opens again: `_acquire`.
                        _remove(locks, name)


@contextmanager
def _folder(run_dir: Path) -> Iterator[int]:
    """Open the folder of the locks while in the block; it is made if it is missing."""
    make_folder(run_dir, _RUN_DIR_MODE)
    descriptor = open_private_folder(run_dir / LOCKS)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _opened(locks: int, name: str) -> Iterator[int]:
    descriptor = open_private(name, os.O_RDWR, locks)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write(locks: int, name: str, text: str) -> None:
    _remove(locks, name)
    descriptor = open_private(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, locks)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _remove(locks: int, name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=locks)


def _interface_file(interface: str) -> str:
    """Return the name of a NIC's file. It has the network namespace in it: NICs of two may be called the same."""
    return f"{Path('/proc/thread-self/ns/net').stat().st_ino}-{interface}.lock"


def _folder_file(kind: str, folder: str) -> str:
    """Return the name of a folder's file. It has the filesystem in it: two mount namespaces may differ at one path."""
    path = Path(folder).resolve()
    present = next(parent for parent in (path, *path.parents) if parent.exists())
    return f"{kind}-{hashlib.sha256(f'{present.stat().st_dev}:{path}'.encode()).hexdigest()[:16]}.lock"


def _word_file(pin_dir: Path) -> str:
    return _note_file(pin_dir, "down")


def _note_file(pin_dir: Path, kind: str) -> str:
    return _folder_file("pins", str(pin_dir)).removesuffix(".lock") + f".{kind}"


@contextmanager
def _lock(locks: int, name: str, what: str, holder: Holder) -> Iterator[None]:
    try:
        descriptor = _acquire(locks, name, what)
    except OSError as error:
        raise XdplbError(f"cannot lock {what}: {name}: {error.strerror}", hint="run it as root") from None
    try:
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(holder)).encode(), 0)
        yield
    finally:
        _remove(locks, name)  # before the lock is released: after it the file may be another daemon's
        os.close(descriptor)


def _acquire(locks: int, name: str, what: str) -> int:
    """Return a locked descriptor of the file that has this name now; its last holder may just have unlinked it.

    A file that is not ours, or is locked by another user's process, dates from a time when the folder was open to
    others: it is removed.
    """
    while True:
        try:
            descriptor = open_private(name, os.O_RDWR | os.O_CREAT, locks)
        except OSError:
            if not _is_foreign(locks, name):
                raise
            os.unlink(name, dir_fd=locks)
            continue
        try:
            if _try_lock(descriptor, fcntl.LOCK_EX):
                if _is_at(locks, name, descriptor):
                    return descriptor
            elif (found := _locked_by(descriptor)) is not None:
                by = found if isinstance(found, str) else f"another xdplb ({found})"
                raise ConflictError(
                    f"{what} is held by {by}",
                    hint="stop it first, or give this one its own NIC, --pin-dir and --state-dir",
                )
            elif _is_at(locks, name, descriptor):
                _remove(locks, name)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_foreign(locks: int, name: str) -> bool:
    """Return whether the file is there and is not one that this module made."""
    try:
        os.close(open_private(name, os.O_RDWR, locks))
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _is_at(locks: int, name: str, descriptor: int) -> bool:
    """Return whether the open file is the one that has this name now."""
    try:
        return os.path.samestat(os.stat(name, dir_fd=locks, follow_symlinks=False), os.fstat(descriptor))
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


def _locked_by(descriptor: int) -> Holder | str | None:
    """Return the daemon that has the file locked, else a phrase for who has; None if that does not count.

    A daemon first takes the lock and then writes who it is, so the file is read again for a moment.
    """
    said = _read(descriptor)
    process = holder_of_lock(descriptor, said.pid if said else None)
    try:
        if process is None:
            return None if _try_lock(descriptor, fcntl.LOCK_SH) else "a process that cannot be seen from here"
        if process.user != os.geteuid():
            return None
    except ProcessLookupError:
        return None
    for _ in range(_READ_TRIES):
        if said is not None and said.process == process:
            return said
        time.sleep(0.02)
        said = _read(descriptor)
    return f"process {process.pid} ({process.name}), which does not say who it is"


def _read(descriptor: int) -> Holder | None:
    """Return the daemon that the file names, None if it names none."""
    try:
        fields = json.loads(os.pread(descriptor, 65536, 0))
        return Holder(
            Process(fields["process"]["pid"], fields["process"]["started"]),
            tuple(fields["interfaces"]),
            fields["pin_dir"],
            fields["state_dir"],
        )
    except (ValueError, KeyError, TypeError):
        return None
