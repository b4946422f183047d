"""Reading the files of another balancer."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO

from .notes import ConvertError

__all__ = ["STDIN", "read_file", "read_stdin"]

STDIN = "<stdin>"
_MOST_BYTES = 64 << 20


def read_file(file: str) -> str:
    """Return the text of a file. Raises ConvertError if it cannot be read."""
    return _text_of(file, lambda: Path(file).open("rb"))


def read_stdin() -> str:
    """Return what is on stdin. Raises ConvertError if it is too much."""
    return _text_of(STDIN, lambda: nullcontext(sys.stdin.buffer))


def _text_of(name: str, opened: Callable[[], AbstractContextManager[BinaryIO]]) -> str:
    try:
        with opened() as stream:
            content = stream.read(_MOST_BYTES + 1)
    except OSError as error:
        hint = "give the path of a file that you may read, or - for stdin"
        raise ConvertError(f"{name} cannot be read: {error.strerror}", hint=hint) from None
    except ValueError:
        raise ConvertError(f"{name!r} cannot be read: its name has a null character") from None
    if len(content) > _MOST_BYTES:
        raise ConvertError(f"{name} has more than {_MOST_BYTES >> 20} MiB", hint="is this the right file?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")  # comments and names of people in old files; keepalived takes any bytes
