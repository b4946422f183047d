# SPDX-License-Identifier: Apache-2.0
"""The text of a file of another balancer."""

from __future__ import annotations

from xdplb.config.given_file import read_file, read_stdin

__all__ = ["file_text", "stdin_text"]

_HINT = "give the path of a file that you may read, or - for stdin"


def file_text(file: str) -> str:
    """Return the text of a file. Raises UnreadableError if it cannot be read."""
    return _text(read_file(file, _HINT))


def stdin_text() -> str:
    """Return what is on stdin. Raises UnreadableError if it cannot be read."""
    return _text(read_stdin(_HINT))


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")  # comments and names of people in old files; keepalived takes any bytes
