# SPDX-License-Identifier: Apache-2.0
"""A config file that has been read: its data, and where everything in it is."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from .faults import ConfigError, Fault, Spot
from .given_file import STDIN, STDIN_NAME, UnreadableError, read_file, read_stdin
from .prefix_file import ListedPrefix, listed_prefixes
from .spots import Spots
from .toml_spots import toml_spots
from .toml_text import toml_data
from .yaml_text import yaml_data, yaml_spots

__all__ = ["Document", "Format", "read_document"]

_READ_HINT = "give the path of a TOML or YAML file, or - for stdin"
_SUFFIXES = {".toml": "toml", ".yaml": "yaml", ".yml": "yaml", ".json": "yaml"}


class Format(StrEnum):
    """How a config file is written. JSON is read as YAML, which includes it."""

    TOML = "toml"
    YAML = "yaml"


@dataclass(frozen=True, slots=True)
class _Included:
    """Prefixes from a file: they are the items of the array at a pointer, from place `start` on."""

    file: str
    start: int
    prefixes: tuple[ListedPrefix, ...]


@dataclass
class Document:
    """The data of a config file, with access lists by file put in place. `file` is its name in messages."""

    file: str
    text: str
    format: Format
    data: dict[str, Any]
    included: dict[str, _Included] = field(default_factory=dict)

    @property
    def files(self) -> tuple[str, ...]:
        """All files that were read: itself, and its access lists."""
        return self.file, *dict.fromkeys(included.file for included in self.included.values())

    @cached_property
    def _spots(self) -> Spots:
        return toml_spots(self.text) if self.format is Format.TOML else yaml_spots(self.text)

    def fault(self, pointer: str, detail: str, hint: str = "", *, at_key: bool = False, other: str = "") -> Fault:
        """Return a fault of the value at `pointer`, or with `at_key` of its key; `other` is what it conflicts with."""
        array, _, item = pointer.rpartition("/")
        if array in self.included and item.isdecimal():
            listed, place = self.included[array], int(item) - self.included[array].start
            if 0 <= place < len(listed.prefixes):
                return Fault(listed.file, listed.prefixes[place].spot, detail, hint, pointer)
        spot = self._spots.of_key(pointer) if at_key else self._spots.of_value(pointer)
        found = self._spots.of_value(other) if other else None
        return Fault(self.file, spot or Spot(1, 1), detail, hint, pointer, found)


def read_document(file: str, written: str | None = None) -> Document:
    """Read a config file; `-` is stdin. Without `written`, its name says how it is written, else its first character.

    Raises ConfigError with all that is wrong with it as far as it is not about its fields.
    """
    name = STDIN_NAME if file == STDIN else file
    text = _text(file)
    kind = _format_of(file, text) if written is None else Format(written)
    data = toml_data(text, name) if kind is Format.TOML else yaml_data(text, name)
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise ConfigError([Fault(name, Spot(1, 1), "a config file is an object", "write settings: and vips:")])
    document = Document(name, text, kind, data)
    _include_prefixes(document, Path() if file == STDIN else Path(file).parent)
    return document


def _text(file: str | Path) -> str:
    """Return the text of a file; the str `-` is stdin, and a Path of that name a file. ConfigError if it has none."""
    name = STDIN_NAME if file == STDIN else str(file)
    try:
        content = read_stdin(_READ_HINT) if file == STDIN else read_file(file, _READ_HINT)
    except UnreadableError as error:
        raise ConfigError([Fault(name, None, f"it {error.problem}", error.hint)]) from None
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        spot = Spot(before.count(b"\n") + 1, len(before.rpartition(b"\n")[2].decode("utf-8-sig")) + 1)
        raise ConfigError([Fault(name, spot, "it is not text in UTF-8", "save it as UTF-8")]) from None


def _format_of(file: str, text: str) -> Format:
    if known := _SUFFIXES.get(Path(file).suffix.lower()):
        return Format(known)
    return Format.YAML if text.lstrip().startswith("{") else Format.TOML


def _include_prefixes(document: Document, folder: Path) -> None:
    """Put the prefixes of `allow_file` and `deny_file` at the ends of `allow` and `deny`, for all VIPs.

    What has another form than it should is left for the schema to refuse. A folder of a file is that of the config.
    """
    faults = []
    vips = document.data.get("vips")
    for number, vip in enumerate(vips if isinstance(vips, list) else ()):
        access = vip.get("access") if isinstance(vip, Mapping) else None
        if not isinstance(access, dict):
            continue
        access = vip["access"] = dict(access)  # several VIPs may share one, by an alias of YAML
        for name in ("allow", "deny"):
            try:
                _include(document, access, f"/vips/{number}/access", name, folder)
            except ConfigError as error:
                pointer = f"/vips/{number}/access/{name}_file"
                first = error.faults[0]
                faults.append(document.fault(pointer, f"{first.where}: {first.detail}"))
    if faults:
        raise ConfigError(faults)


def _include(document: Document, access: dict[str, Any], pointer: str, name: str, folder: Path) -> None:
    given, listed = access.get(f"{name}_file"), access.get(name, [])
    if not isinstance(given, str) or not given or not isinstance(listed, list):
        return
    path = folder / given
    with suppress(OSError, ValueError):  # whoever reads it says so
        if path.exists() and not path.is_file():  # a pipe might keep a reload of the daemon waiting for ever
            raise ConfigError([Fault(str(path), None, "it is no regular file")])
    prefixes = tuple(listed_prefixes(_text(path)))
    del access[f"{name}_file"]
    access[name] = [*listed, *(prefix.text for prefix in prefixes)]
    document.included[f"{pointer}/{name}"] = _Included(str(path), len(listed), prefixes)
