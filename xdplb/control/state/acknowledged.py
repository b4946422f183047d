# SPDX-License-Identifier: Apache-2.0
"""A file beside the state that says which generation was acknowledged last: by it, a state that lost some is known.

The database alone cannot tell: a write-ahead log that was cut is a shorter one that is whole. The file is written after
each change and not synced, which would double what a change costs: it outlives the process, not a loss of power in the
next half minute or so. It may therefore say less than the state holds, and never more.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from xdplb.dataplane.plane import Mark

__all__ = ["Acknowledged"]

_FORM = re.compile(r"([0-9a-f]{16}) ([0-9]{20})\n")


class Acknowledged:
    """The file for the database at `database`. It is made with the first generation that is written to it."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(f"{database.name}-acknowledged")
        self._file: int | None = None

    def read(self) -> Mark | None:
        """Return what was acknowledged last, and by the state of which instance; None if that is not known."""
        try:
            found = _FORM.fullmatch(self._path.read_text("ascii"))
        except (OSError, UnicodeDecodeError):
            return None
        return None if found is None else Mark(int(found[1], 16), int(found[2]))

    def write(self, mark: Mark) -> None:
        """Write it, as far as the disk takes it: a change is saved without this."""
        with suppress(OSError):
            if self._file is None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                self._file = os.open(self._path, flags, 0o600)
                os.truncate(self._file, len(_text(mark)))
            os.pwrite(self._file, _text(mark), 0)

    def close(self) -> None:
        """Close the file; what was written to it is on the disk then."""
        if self._file is not None:
            with suppress(OSError):
                os.fsync(self._file)
            os.close(self._file)
            self._file = None


def _text(mark: Mark) -> bytes:
    return f"{mark.instance:016x} {mark.generation:020d}\n".encode()
