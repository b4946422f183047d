# SPDX-License-Identifier: Apache-2.0
"""The content of a file that a person names, or of stdin: whole, bounded, and if it cannot be read a sentence."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO

from xdplb.model.errors import InvalidError
from xdplb.model.printable import printable

__all__ = ["STDIN", "STDIN_NAME", "UnreadableError", "read_file", "read_stdin"]

STDIN = "-"
"""How people write that stdin is meant."""

STDIN_NAME = "<stdin>"
"""How messages call it."""

_MOST_BYTES = 64 << 20
_RIGHT_HINT = "change its owner or its mode: a running daemon, though root, has no right to read files of others"


class UnreadableError(InvalidError):
    """A file that cannot be read. `problem` is the sentence without the name of the file."""

    def __init__(self, name: str, problem: str, hint: str) -> None:
        super().__init__(printable(f"{name} {problem}"), hint=hint)
        self.problem = problem


def read_file(path: str | Path, hint: str) -> bytes:
    """Return what is in a file, whatever its name. Raises UnreadableError, with `hint` if there is no such file."""
    try:
        return _read(Path(path).open("rb"), str(path))
    except PermissionError as error:
        raise UnreadableError(str(path), f"cannot be read: {error.strerror}", _RIGHT_HINT) from None
    except OSError as error:
        raise UnreadableError(str(path), f"cannot be read: {error.strerror}", hint) from None
    except ValueError:
        raise UnreadableError(str(path), "cannot be read: its name has a null character", hint) from None


def read_stdin(hint: str) -> bytes:
    """Return what is on stdin. Raises UnreadableError, with `hint` if it cannot be read."""
    try:
        return _read(nullcontext(sys.stdin.buffer), STDIN_NAME)
    except OSError as error:
        raise UnreadableError(STDIN_NAME, f"cannot be read: {error.strerror}", hint) from None


def _read(opened: AbstractContextManager[BinaryIO], name: str) -> bytes:
    with opened as stream:
        content = stream.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise UnreadableError(name, f"has more than {_MOST_BYTES >> 20} MiB", "is this the right file?")
    return content
