# SPDX-License-Identifier: Apache-2.0
"""A YAML text to data, with the spots of keys and values. Plain words are read as YAML 1.2 reads them.

So `no` and `on` are texts, and so is `22:22`: YAML 1.1, which the library reads by itself, makes false, true and 1342
of them. The data is made from the library's events, which takes no recursion, and no tag makes a Python object.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from .faults import ConfigError, Fault, Spot
from .spots import Duplicate, Spots, below

__all__ = ["yaml_data", "yaml_spots"]

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DEEPEST = 100
"""How deep the data may be nested; a config file needs a few levels."""

_MOST_VALUES = 2_000_000
"""How many values the data may have, with each alias counted as all that it stands for."""

_MERGE = "<<"
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_WORDS |= {spelt: value for word, value in tuple(_WORDS.items()) for spelt in (word.capitalize(), word.upper())}
_WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,4000})")
_DECIMAL = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9].*")
_STR, _MAP, _SEQ = (f"tag:yaml.org,2002:{name}" for name in ("str", "map", "seq"))


def yaml_data(text: str, file: str) -> Any:
    """Return the data in a YAML text, None if it is empty. Raises ConfigError with the places of what is wrong."""
    builder = _Builder(file)
    builder.build(text)
    if builder.spots.duplicates:
        raise ConfigError([_given_twice(twice, file) for twice in builder.spots.duplicates])
    return builder.data


def yaml_spots(text: str) -> Spots:
    """Return where the keys and values of a YAML text are, which is valid."""
    builder = _Builder("", all_spots=True)
    builder.build(text)
    return builder.spots


def _given_twice(twice: Duplicate, file: str) -> Fault:
    name = twice.pointer.rpartition("/")[2].replace("~1", "/").replace("~0", "~")
    return Fault(file, twice.spot, f"{name} is given twice", "remove one of them", twice.pointer, twice.first)


@dataclass(slots=True)
class _Open:
    """An object or array that has not ended yet. `key` is the key whose value comes next."""

    value: dict[str, Any] | list[Any]
    pointer: str
    anchor: str | None
    size: int = 1
    key: str | None = None
    merged: dict[str, Any] | None = None
    keys: dict[str, Spot] | None = None


class _Builder:
    def __init__(self, file: str, *, all_spots: bool = False) -> None:
        self.data: Any = None
        self.spots = Spots()
        self._file = file
        self._all_spots = all_spots
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._values = 0
        self._documents = 0

    def build(self, text: str) -> None:
        """Read the text."""
        try:
            for event in yaml.parse(text, Loader=_LOADER):
                self._take(event)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            context = f" {error.context}" if error.context else ""
            detail = f"this is not YAML: {error.problem or 'it cannot be read'}{context}"
            raise ConfigError([Fault(self._file, None if mark is None else _spot(mark), detail)]) from None
        except yaml.YAMLError as error:
            detail = " ".join(str(error).split())
            raise ConfigError([Fault(self._file, None, f"this is not YAML: {detail}")]) from None

    def _take(self, event: yaml.Event) -> None:
        match event:
            case yaml.ScalarEvent():
                self._scalar(event)
            case yaml.MappingStartEvent():
                self._begin({}, event, _MAP)
            case yaml.SequenceStartEvent():
                self._begin([], event, _SEQ)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._end(event)
            case yaml.AliasEvent():
                self._alias(event)
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise self._refused(event, "a second document begins", "a config file is one document")

    def _begin(self, value: dict[str, Any] | list[Any], event: yaml.CollectionStartEvent, tag: str) -> None:
        if self._expects_key():
            raise self._refused(event, "a key must be a text", "write key: value")
        if len(self._open) >= _DEEPEST:
            raise self._refused(event, "the data is nested too deep", "")
        self._refuse_tag(event, event.tag, tag)
        pointer = self._pointer()
        self._note(pointer, event)
        self._open.append(_Open(value, pointer, event.anchor))

    def _end(self, event: yaml.Event) -> None:
        ended = self._open.pop()
        if ended.merged is not None:
            assert isinstance(ended.value, dict)
            ended.value = {**ended.merged, **ended.value}
        if ended.anchor is not None:
            self._anchors[ended.anchor] = ended.value, ended.size
        self._put(ended.value, ended.size, event)

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        if self._expects_key():
            self._key(event.value, event)
            return
        self._refuse_tag(event, event.tag, _STR)
        self._note(self._pointer(), event)
        value = event.value if event.tag or not event.implicit[0] else _plain(event.value)
        if event.anchor is not None:
            self._anchors[event.anchor] = value, 1
        self._put(value, 1, event)

    def _alias(self, event: yaml.AliasEvent) -> None:
        if event.anchor not in self._anchors:
            raise self._refused(event, f"there is no anchor &{event.anchor} before this", "")
        value, size = self._anchors[event.anchor]
        if self._expects_key():
            self._key(str(value), event)
            return
        self._note(self._pointer(), event)
        self._put(value, size, event)

    def _key(self, name: str, event: yaml.Event) -> None:
        top = self._open[-1]
        top.key = name
        pointer, spot = below(top.pointer, name), _spot(event.start_mark)
        top.keys = top.keys or {}
        if (first := top.keys.setdefault(name, spot)) is not spot:
            self.spots.duplicates.append(Duplicate(pointer, spot, first))
        if self._all_spots:
            self.spots.keys.setdefault(pointer, spot)

    def _put(self, value: Any, size: int, event: yaml.Event) -> None:
        """Put a value where it belongs."""
        if not self._open:
            self.data = value
            return
        top = self._open[-1]
        top.size += size
        self._values += 1
        if top.size > _MOST_VALUES or self._values > _MOST_VALUES:
            raise self._refused(event, f"there are more than {_MOST_VALUES} values", "")
        if isinstance(top.value, list):
            top.value.append(value)
            return
        assert top.key is not None
        if top.key == _MERGE:
            top.merged = {**(top.merged or {}), **self._merged(value, event)}
        else:
            top.value[top.key] = value
        top.key = None

    def _merged(self, value: Any, event: yaml.Event) -> dict[str, Any]:
        """Return the fields that `<<: *anchor` or `<<: [*one, *other]` add; of several, the first one wins."""
        found: dict[str, Any] = {}
        for each in value if isinstance(value, list) else [value]:
            if not isinstance(each, dict):
                raise self._refused(event, "<< needs an object", "write <<: *anchor")
            found = {**each, **found}
        return found

    def _expects_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1].value, dict) and self._open[-1].key is None

    def _pointer(self) -> str:
        """Return the pointer of the value that comes next."""
        if not self._open or not self._all_spots:
            return ""
        top = self._open[-1]
        return below(top.pointer, len(top.value) if isinstance(top.value, list) else top.key or "")

    def _note(self, pointer: str, event: yaml.Event) -> None:
        if self._all_spots:
            self.spots.values.setdefault(pointer, _spot(event.start_mark))

    def _refuse_tag(self, event: yaml.Event, tag: str | None, fitting: str) -> None:
        if tag not in {None, "!", fitting}:
            raise self._refused(event, f"the tag {tag} is not supported", "leave it out")

    def _refused(self, event: yaml.Event, detail: str, hint: str) -> ConfigError:
        return ConfigError([Fault(self._file, _spot(event.start_mark), detail, hint)])


def _plain(text: str) -> Any:
    """Return the value of a word without quotes."""
    if text in _WORDS:
        return _WORDS[text]
    if _WHOLE.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text) and not _LEADING_ZERO.fullmatch(text):
        return float(text)
    return text


def _spot(mark: Any) -> Spot:
    return Spot(mark.line + 1, mark.column + 1)
