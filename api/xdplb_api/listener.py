"""The socket the API is served on: a Unix socket that only its group may use, or a loopback port."""

from __future__ import annotations

import errno
import grp
import os
import socket
import stat
import struct
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from xdplb.model.errors import ConflictError, InvalidError, PlatformError

__all__ = ["SOCKET_GROUP", "SOCKET_MODE", "Listener", "listen"]

SOCKET_MODE = 0o660
SOCKET_GROUP = "xdplb"
"""Who of this group, where the host has it, may use the socket besides root."""

_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid


@dataclass(slots=True)
class Listener:
    """A socket that is bound and takes connections. `path` and `inode` are those of a Unix socket."""

    socket: socket.socket
    path: Path | None = None
    inode: int = 0

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        host, port = self.socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def close(self) -> None:
        """Close the socket and remove its file, unless somebody else's is there by now. Twice does no harm."""
        self.socket.close()
        if self.path is not None and _inode(self.path) == self.inode:
            self.path.unlink(missing_ok=True)


def listen(where: str, *, group: str = SOCKET_GROUP) -> Listener:
    """Bind `where`, `unix:PATH` or `HOST:PORT`, and return the socket.

    ConflictError: somebody else serves there. InvalidError: it cannot be served there at all. `group` is given the
    Unix socket where the host has such a group.
    """
    if where.startswith("unix:"):
        return _listen_unix(_socket_path(where.removeprefix("unix:")), group)
    return _listen_tcp(where)


def _socket_path(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        wrong = f"{text!r} is no absolute path" if text else "unix: is without a path"
        raise InvalidError.field("/listen", wrong, hint="write it like unix:/run/xdplb/api.sock")
    return path


def _listen_unix(path: Path, group: str) -> Listener:
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _make_folder(path.parent)
        _remove_stale(path)
        # Linux gives the file the mode of the unbound socket: at no moment may others connect.
        os.fchmod(bound.fileno(), SOCKET_MODE)
        bound.bind(str(path))
        _hand_to_group(path, group)
        path.chmod(SOCKET_MODE)
        bound.listen()
    except OSError as error:
        bound.close()
        raise _cannot_bind(f"unix:{path}", error) from error
    except BaseException:
        bound.close()
        raise
    return Listener(bound, path, _inode(path))


def _make_folder(folder: Path) -> None:
    """Make it, such as /run/xdplb after a boot, but not what it is to be in: that would be a misspelled path."""
    try:
        folder.mkdir(mode=0o755, exist_ok=True)
    except FileNotFoundError:
        raise PlatformError(
            f"{folder} cannot be made for the socket: there is no folder {folder.parent}",
            hint=f"mkdir -p {folder}, or give another place to --listen",
        ) from None


def _remove_stale(path: Path) -> None:
    """Remove the socket a dead daemon left. ConflictError where a living one serves or it is no socket."""
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise ConflictError(f"{path} is there and is not a socket", hint="remove it or give another path to --listen")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except TimeoutError:
            holder = "a process that does not answer"
        else:
            pid, _, _ = _PEER.unpack(probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
            holder = f"process {pid}"
    raise ConflictError(f"{path} is served by {holder}", hint="stop that daemon, or give another path to --listen")


def _hand_to_group(path: Path, group: str) -> None:
    try:
        gid = grp.getgrnam(group).gr_gid
    except KeyError:
        return
    if os.geteuid() == 0:
        os.chown(path, -1, gid)


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
        # So that a restart does not wait for connections in TIME_WAIT; a living daemon is refused all the same.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen()
    except OSError as error:
        bound.close()
        raise _cannot_bind(where, error) from error
    return Listener(bound)


def _loopback(where: str) -> tuple[str, int]:
    """Return address and port of `where`; InvalidError when it is none or not on loopback. Port 0: any free one."""
    host, colon, port = where.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise InvalidError.field(
            "/listen",
            f"{where!r} is no place to listen",
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
            hint="use 127.0.0.1 or the Unix socket, and ssh to reach it from afar",
        )
    return name, int(port)


def _cannot_bind(where: str, error: OSError) -> Exception:
    if error.errno == errno.EADDRINUSE:
        return ConflictError(f"{where} is in use by another process", hint="give another place to --listen")
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return PlatformError(f"cannot listen on {where}: {error.strerror}", hint="run it as root")
    return PlatformError(f"cannot listen on {where}: {error.strerror or error}", hint="give another place to --listen")
