# SPDX-License-Identifier: Apache-2.0
"""The sockets of the API: a Unix socket, or a TCP port, which beyond loopback has TLS."""

from __future__ import annotations

import errno
import os
import socket
import stat
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from xdplb.model.errors import ConflictError, InvalidError, PlatformError
from xdplb.private_files import make_folder, require_trusted

from .peer import peer_process
from .rights.socket_roles import SocketRoles
from .rights.tls import Tls

__all__ = ["Listener", "listen", "listen_for_metrics"]

FOLDER_MODE = 0o755
"""Of the socket's folder, if it is made here: members of the groups pass through it."""

_BACKLOG = 1024  # connections beyond the cap wait here until they are refused, which takes microseconds each


@dataclass(slots=True)
class Listener:
    """A listening socket. `path`, `inode` and `roles` are those of a Unix socket; `tls` is for TCP with TLS.

    `is_open`: whoever connects may read what is served there.
    """

    socket: socket.socket
    path: Path | None = None
    inode: int = 0
    roles: SocketRoles = field(default_factory=SocketRoles)
    tls: Tls | None = None
    is_open: bool = False

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        host, port = self.socket.getsockname()[:2]
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    def close(self) -> None:
        """Close the socket and remove its file, unless the file is another process's by now. May be called twice."""
        self.socket.close()
        if self.path is not None and _inode(self.path) == self.inode:
            self.path.unlink(missing_ok=True)


def listen(where: str, roles: SocketRoles | None = None, tls: Tls | None = None) -> Listener:
    """Bind `where`, `unix:PATH` or `HOST:PORT`, and return the socket.

    The Unix socket's file lets the groups in `roles` connect. Raises ConflictError if another process serves there,
    InvalidError if `where` is not an allowed address, PlatformError if it cannot be bound.
    """
    if where.startswith("unix:"):
        return _listen_unix(_socket_path(where.removeprefix("unix:")), roles or SocketRoles())
    host, port = _address(where, "/listen", "unix:/run/xdplb/api.sock or 127.0.0.1:8780")
    if tls is None and not ip_address(host).is_loopback:
        raise InvalidError.field(
            "/listen",
            f"the API is not served on {where} without TLS: whoever is on the way could read tokens",
            hint="give --tls-cert FILE and --tls-key FILE, or use 127.0.0.1 or the Unix socket",
        )
    return _listen_tcp(where, host, port, tls)


def listen_for_metrics(where: str) -> Listener:
    """Bind `where`, `HOST:PORT`, for readers of metrics, who say nothing of themselves. Raises as `listen` does."""
    host, port = _address(where, "/metrics-listen", "10.0.0.2:9780, or 0.0.0.0:9780 for all addresses")
    listener = _listen_tcp(where, host, port, None)
    listener.is_open = True
    return listener


def _socket_path(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        wrong = f"{text!r} is not an absolute path" if text else "unix: has no path"
        raise InvalidError.field("/listen", wrong, hint="write it like unix:/run/xdplb/api.sock")
    return path


def _listen_unix(path: Path, roles: SocketRoles) -> Listener:
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _make_folder(path.parent)
        _remove_stale(path)
        # The file has its mode from the beginning, so that others cannot connect at any moment, and nothing is changed
        # by a path that might lead to another file.
        before = os.umask(0o777 & ~roles.file_mode)
        try:
            bound.bind(str(path))
        finally:
            os.umask(before)
        _hand_to_group(path, roles.file_group)
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        raise _cannot_bind(f"unix:{path}", error) from error
    except BaseException:
        bound.close()
        raise
    return Listener(bound, path, _inode(path), roles)


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


def _hand_to_group(path: Path, group: int | None) -> None:
    if group is not None and os.geteuid() == 0:
        os.chown(path, -1, group, follow_symlinks=False)


def _inode(path: Path) -> int:
    try:
        return path.lstat().st_ino
    except OSError:
        return 0


def _listen_tcp(where: str, host: str, port: int, tls: Tls | None) -> Listener:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A restart need not wait for connections in TIME_WAIT; the port of a running daemon is still refused.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted connections have it too: else a body waits for the client's delayed ACK of the headers, 40 ms.
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        bound.bind((host, port))
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        raise _cannot_bind(where, error) from error
    return Listener(bound, tls=tls)


def _address(where: str, option: str, such_as: str) -> tuple[str, int]:
    """Return address and port of `where`; InvalidError if malformed. Port 0: any free port."""
    host, _, port = where.rpartition(":")
    name = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    name = "127.0.0.1" if name == "localhost" else name
    is_port = port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535
    try:
        if not is_port or ("[" in host) != (ip_address(name).version == 6):
            raise ValueError
    except ValueError:
        raise InvalidError.field(
            option, f"{where!r} is not an address to listen on", hint=f"write an address and a port: {such_as}"
        ) from None
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
