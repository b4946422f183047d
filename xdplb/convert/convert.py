# SPDX-License-Identifier: Apache-2.0
"""A file of another balancer as the text of a config file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from xdplb.config.dump import toml_text
from xdplb.config.given_file import STDIN, STDIN_NAME
from xdplb.model.printable import printable

from . import ipvsadm
from .keepalived import file as keepalived
from .notes import Note, Notes
from .service import Converted, vips_of
from .source_file import file_text, stdin_text

__all__ = ["Source", "convert"]


class Source(StrEnum):
    """What a file is of."""

    KEEPALIVED = "keepalived"
    IPVSADM = "ipvsadm"


def convert(source: Source, file: str, config_id: str) -> tuple[str, list[Note]]:
    """Return the text of a config file with the VIPs of `file` (`-` is stdin), and all that is to be told.

    `config_id` is what keepalived's conditions are compared with. Raises InvalidError if the file, or one that it
    includes, cannot be read as what it is said to be.
    """
    name, text = (STDIN_NAME, stdin_text()) if file == STDIN else (file, file_text(file))
    notes = Notes()
    if source is Source.KEEPALIVED:
        services = keepalived.read(text, name, config_id=config_id, open_file=file_text, notes=notes)
    else:
        services = ipvsadm.read(text, name, notes)
    vips = vips_of(services, notes)
    every = sorted((*notes, *(note for vip in vips for note in vip.notes)), key=_Order(name))
    return _text(f"{name} ({source})", notes, vips), every


class _Order:
    """Sorts notes by file, that of `first` before the others, and by line."""

    def __init__(self, first: str) -> None:
        self._first = first

    def __call__(self, note: Note) -> tuple[bool, str, int]:
        return note.where.file != self._first, note.where.file, note.where.line


def _text(source: str, notes: Notes, vips: list[Converted]) -> str:
    """Return the text, with each note as a comment above what it is about."""
    lines = [
        f"# Made by xdplb config convert from {printable(source)}.",
        "# Look at the comments, and then check it: xdplb config check -f FILE",
        *_comments(notes),
    ]
    for vip in vips:
        where = f"{Path(vip.where.file).name}:{vip.where.line}"
        lines += ["", f"# from {printable(where)}", *_comments(vip.notes)]
        lines.append(toml_text({"vips": [vip.data]}, {}).strip("\n"))
    if not vips:
        lines += ["", "vips = []"]
    return "\n".join(lines) + "\n"


def _comments(notes: Notes) -> list[str]:
    return [f"# {note.comment()}" for note in sorted(notes, key=_Order(""))]
