# SPDX-License-Identifier: Apache-2.0
"""Files and folders of xdplb's own: nobody else may read, lock or replace them, whatever the umask is.

A folder is *trusted* if only root and this user can replace what is in it, as sshd asks of the folders of its keys.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from xdplb.model.errors import PlatformError

__all__ = [
    "FILE_MODE",
    "FOLDER_MODE",
    "is_open_to_others",
    "is_trusted",
    "make_folder",
    "open_private",
    "open_private_folder",
    "require_trusted",
    "shut_out_others",
]

FILE_MODE = 0o600
FOLDER_MODE = 0o700
_OTHERS = 0o077


def require_trusted(folder: Path, what: str) -> None:
    """Raise PlatformError if another user can replace `what` in `folder`, which need not exist yet.

    That is so if the folder, or one above it, belongs to another user, or if others may write to it and it is not
    sticky as /tmp is. Symlinks of root's and of this user are followed.
    """
    named, real = folder.absolute(), folder.resolve()
    for each in dict.fromkeys((*reversed(named.parents), named, *reversed(real.parents), real)):
        try:
            found = each.lstat()
            if stat.S_ISLNK(found.st_mode):
                _require_ours(each, found, what)
                found = each.stat()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise PlatformError(f"{each}, where {what} is, cannot be looked at: {error.strerror}") from None
        _require_ours(each, found, what)
        if stat.S_ISDIR(found.st_mode) and is_open_to_others(found):
            raise PlatformError(
                f"other users may write to {each}, and could replace {what}",
                hint=f"chmod go-w {each}, or use another folder",
            )


def _require_ours(path: Path, found: os.stat_result, what: str) -> None:
    if found.st_uid not in {0, os.geteuid()}:
        raise PlatformError(
            f"{path} belongs to user {found.st_uid}, who could replace {what}",
            hint=f"chown -h root {path}, or use another folder",
        )


def is_trusted(folder: Path) -> bool:
    """Return whether nobody else can make or replace a file in `folder`. Sticky ones such as /tmp are not."""
    found = folder.stat()
    return found.st_uid in {0, os.geteuid()} and not found.st_mode & (stat.S_IWOTH | stat.S_IWGRP)


def is_open_to_others(folder: os.stat_result) -> bool:
    """Return whether others can rename and remove what is in a folder. The group root counts as root."""
    writers = stat.S_IWOTH | (stat.S_IWGRP if folder.st_gid else 0)
    return bool(folder.st_mode & writers) and not folder.st_mode & stat.S_ISVTX


def make_folder(path: Path, mode: int) -> None:
    """Make a folder with exactly this mode, and those above it with it too. One that exists is left as it is."""
    if not path.parent.exists():
        make_folder(path.parent, mode)
    try:
        path.mkdir(mode=mode)
    except FileExistsError:
        return
    path.chmod(mode)


def open_private_folder(path: Path) -> int:
    """Return a descriptor of the folder, which is for this user only: made if it is missing, its mode repaired.

    Raises PlatformError if it is a symlink, belongs to another user, or is in a folder that is not trusted.
    """
    require_trusted(path.parent, str(path))
    make_folder(path, FOLDER_MODE)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in {errno.ELOOP, errno.ENOTDIR}:
            raise
        raise PlatformError(
            f"{path} is {'a symlink' if path.is_symlink() else 'a file'}, not a folder", hint=f"remove {path}"
        ) from None
    found = os.fstat(descriptor)
    if found.st_uid != os.geteuid():
        os.close(descriptor)
        raise PlatformError(
            f"{path} belongs to user {found.st_uid}", hint=f"remove it if nobody needs it: rm -r {path}"
        )
    if found.st_mode & _OTHERS:
        os.fchmod(descriptor, FOLDER_MODE)
    return descriptor


def open_private(name: str | Path, flags: int, folder: int | None = None) -> int:
    """Open a file of this user's own, with O_CREAT in `flags` for this user only; `folder` is a descriptor.

    Raises PermissionError if the file is another user's, no regular file, or has a second name, which may lie in a
    folder of somebody else; OSError with ELOOP for a symlink.
    """
    descriptor = os.open(
        name, flags & ~os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, FILE_MODE, dir_fd=folder
    )
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink > 1:
            raise PermissionError(errno.EPERM, "it is another user's, or no file of its own", str(name))
        if found.st_mode & _OTHERS:
            os.fchmod(descriptor, FILE_MODE)
        if flags & os.O_TRUNC:
            os.truncate(descriptor, 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def shut_out_others(path: Path) -> None:
    """Make a file private that may have been made without care; it is no error if there is none.

    Raises PlatformError if it is another user's, or a symlink into a folder that is not trusted.
    """
    try:
        if path.is_symlink():
            _require_ours(path, path.lstat(), "it")
            require_trusted(path.resolve().parent, str(path))
        descriptor = os.open(path.resolve(), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise PlatformError(f"{path.parent} is not a folder", hint="move it away, or use another folder") from None
    except OSError as error:
        raise PlatformError(f"{path} cannot be opened: {error.strerror}", hint=f"ls -l {path}") from None
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid():
            raise PlatformError(f"{path} belongs to user {found.st_uid}", hint=f"chown root {path}, or remove it")
        if found.st_mode & _OTHERS:
            os.fchmod(descriptor, FILE_MODE)
    finally:
        os.close(descriptor)
