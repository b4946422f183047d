# SPDX-License-Identifier: Apache-2.0
"""Writing a file so that it is there whole, or as it was before, whenever it is read and whatever fails."""

from __future__ import annotations

import errno
import os
from pathlib import Path

__all__ = ["place"]

_ANYBODY = 0o666


def place(path: Path, content: bytes, *, mode: int | None, overwrite: bool) -> None:
    """Write a file: it is complete and on the disk when this returns. Its mode is `mode`, None for what the umask says.

    Raises FileExistsError if something is there, unless `overwrite`; OSError if it cannot be written, or if what is
    there is no file: root could put one in the place of /dev/null. Then nothing has changed.
    """
    if overwrite and path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    staged = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(staged, flags, _ANYBODY if mode is None else mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if mode is not None:
                os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        if overwrite:
            staged.replace(path)
        else:
            os.link(staged, path)
    finally:
        staged.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
