# SPDX-License-Identifier: Apache-2.0
"""The file of a capture: packets are private, and root writes it, perhaps into a folder where others write too."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from xdplb.model.errors import ConflictError
from xdplb.private_files import FILE_MODE, is_trusted

__all__ = ["open_capture"]

_PCAPNG = b"\x0a\x0d\x0d\x0a"
"""The type of the block that every pcapng file begins with."""


def open_capture(path: Path) -> int:
    """Return a descriptor to write a capture to: a new file, an old capture's, a pipe or a device.

    A file is for its owner only, also one that was not before. Raises ConflictError for a file that is no capture, and,
    in a folder where others may write, for a symlink and for a file that others have made. OSError as open(2).
    """
    trusted = is_trusted(path.absolute().parent)
    if not trusted and path.is_symlink():
        raise ConflictError(
            f"{path} is a symlink in a folder where other users may write", hint="name another file with -w"
        )
    flags = os.O_RDWR if path.is_file() or not path.exists() else os.O_WRONLY  # a pipe opened both ways has no end
    descriptor = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | (0 if trusted else os.O_NOFOLLOW), FILE_MODE)
    try:
        _prepare(descriptor, path, trusted=trusted)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _prepare(descriptor: int, path: Path, *, trusted: bool) -> None:
    found = os.fstat(descriptor)
    if not trusted and (found.st_uid != os.geteuid() or found.st_nlink > 1):
        raise ConflictError(
            f"{path} was made by another user, in a folder where others may write",
            hint="remove it, or name another file with -w",
        )
    if not stat.S_ISREG(found.st_mode):
        return
    if found.st_size and os.pread(descriptor, len(_PCAPNG), 0) != _PCAPNG:
        raise ConflictError(f"{path} exists and is no capture", hint="remove it, or name another file with -w")
    os.fchmod(descriptor, FILE_MODE)
    os.truncate(descriptor, 0)
