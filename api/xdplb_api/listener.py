"""The socket of the API: a Unix socket that only root and its group may use, or a TCP port on loopback."""

from __future__ import annotations

import errno
import grp
import os
import socket
import stat
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from xdplb.model.errors import ConflictError, InvalidError, PlatformError
from xdplb.private_files import make_folder, require_trusted

from .peer import peer_process

__all__ = ["SOCKET_GROUP", "SOCKET_MODE", "Listener", "listen"]

SOCKET_MODE = 0o660
FOLDER_MODE = 0o755
"""Of the socket's folder, if it is made here: members of the group pass through it."""
SOCKET_GROUP = "xdplb"
"""Members of this group, if the host has it, may use the socket besides root."""

_BACKLOG = 1024  # connections beyond the cap wait here until they are refused, which takes microseconds each


@dataclass(slots=True)
class Listener:
    """A listening socket. `path` and `inode` are those of a Unix socket."""

    socket: socket.socket
    path: Path | None = None
    inode: int = 0

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        host, port = self.socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def close(self) -> None:
        """Close the socket and remove its file, unless the file is another process's by now. May be called twice."""
        self.socket.close()
        if self.path is not None and _inode(self.path) == self.inode:
            self.path.unlink(missing_ok=True)


def listen(where: str, *, group: str = SOCKET_GROUP) -> Listener:
    """Bind `where`, `unix:PATH` or `HOST:PORT`, and return the socket.

    The Unix socket is given to `group` if the host has that group. Raises ConflictError if another process serves
    there, InvalidError if `where` is not an allowed address, PlatformError if it cannot be bound.
    """
    if where.startswith("unix:"):
        return _listen_unix(_socket_path(where.removeprefix("unix:")), group)
    return _listen_tcp(where)


def _socket_path(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        wrong = f"{text!r} is not an absolute path" if text else "unix: has no path"
        raise InvalidError.field("/listen", wrong, hint="write it like unix:/run/xdplb/api.sock")
    return path


def _listen_unix(path: Path, group: str) -> Listener:
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _make_folder(path.parent)
        _remove_stale(path)
        # The file has its mode from the beginning, so that others cannot connect at any moment, and nothing is changed
        # by a path that might lead to another file.
        before = os.umask(0o777 & ~SOCKET_MODE)
        try:
            bound.bind(str(path))
        finally:
            os.umask(before)
        _hand_to_group(path, group)
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        raise _cannot_bind(f"unix:{path}", error) from error
    except BaseException:
        bound.close()
        raise
    return Listener(bound, path, _inode(path))


def _make_folder(folder: Path) -> None:
    """Make the folder, such as /run/xdplb after a boot. Without a parent folder, the path is misspelled.

    PlatformError if another user could put a socket of his own in the place of this one.
    """
    if not folder.parent.exists():
        raise PlatformError(
            f"cannot make {folder} for the socket: the folder {folder.parent} does not exist",
            hint=f"mkdir -p {folder}, or use another --listen",
        )
    require_trusted(folder, "the API's socket")
    make_folder(folder, FOLDER_MODE)


def _remove_stale(path: Path) -> None:
    """Remove the socket of a dead daemon. ConflictError if a running one serves it, or if it is not a socket."""
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise ConflictError(f"{path} exists and is not a socket", hint="remove it or use another --listen")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.settimeout(1)
        try:
            trial.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except (TimeoutError, BlockingIOError):  # the latter: its queue is full of connections that it does not take
            holder = "a process that does not answer"
        else:
            pid, _ = peer_process(trial)
            holder = f"process {pid}"
    raise ConflictError(f"{path} is served by {holder}", hint="stop that daemon, or use another --listen")


def _hand_to_group(path: Path, group: str) -> None:
    try:
        gid = grp.getgrnam(group).gr_gid
    except KeyError:
        return
    if os.geteuid() == 0:
        os.chown(path, -1, gid, follow_symlinks=False)


def _inode(path: Path) -> int:
    try:
        return path.lstat().st_ino
    except OSError:
        return 0


def _listen_tcp(where: str) -> Listener:
    host, port = _loopback(where)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A restart need not wait for connections in TIME_WAIT; the port of a running daemon is still refused.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        raise _cannot_bind(where, error) from error
    return Listener(bound)


def _loopback(where: str) -> tuple[str, int]:
    """Return address and port of `where`; InvalidError if malformed or not on loopback. Port 0: any free port."""
    host, colon, port = where.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise InvalidError.field(
            "/listen",
            f"{where!r} is not an address to listen on",
            hint="write unix:/run/xdplb/api.sock or 127.0.0.1:8780",
        )
    name = host.removeprefix("[").removesuffix("]")
    name = "127.0.0.1" if name == "localhost" else name
    try:
        on_loopback = ip_address(name).is_loopback
    except ValueError:
        on_loopback = False
    if not on_loopback:
        raise InvalidError.field(
            "/listen",
            f"the API is not served on {host}: it has no authentication yet, so over TCP only loopback is allowed",
            hint="use 127.0.0.1 or the Unix socket, and ssh to reach it from another host",
        )
    return name, int(port)


def _cannot_bind(where: str, error: OSError) -> Exception:
    if error.errno == errno.EADDRINUSE:
        return ConflictError(f"{where} is in use by another process", hint="use another --listen")
    if error.errno == errno.EROFS:
        return PlatformError(
            f"cannot listen on {where}: its file system is read-only",
            hint="mount it writable (mount -o remount,rw), or use another --listen",
        )
    if error.errno == errno.ENOSPC:
        return PlatformError(
            f"cannot listen on {where}: its file system is full", hint="make room, or use another --listen"
        )
    if error.errno in {errno.EACCES, errno.EPERM}:
        return PlatformError(f"cannot listen on {where}: {error.strerror}", hint="run it as root")
    return PlatformError(f"cannot listen on {where}: {error.strerror or error}", hint="use another --listen")
