# SPDX-License-Identifier: Apache-2.0
"""Whether JSON that anybody may have written has the types that a class's fields have. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from functools import cache
from math import isfinite
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from xdplb.model.errors import InvalidError

__all__ = ["require_kinds"]

_PLAIN = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", NoneType: "null"}


def require_kinds(kind: type, fields: Mapping[str, Any]) -> None:
    """Raise InvalidError for the first of these fields that is not of the type that `kind`, a dataclass, gives it.

    Only texts, numbers, true, false and null are looked at: what reads the others says itself what is wrong.
    """
    for name, kinds in _kinds_of(kind).items():
        if name in fields and not _is_one_of(fields[name], kinds):
            wanted = " or ".join(_PLAIN[each] for each in kinds)
            raise InvalidError.field(f"/{name}", f"{name} is {ascii(fields[name])[:40]}, and not {wanted}")


@cache
def _kinds_of(kind: type) -> dict[str, tuple[type, ...]]:
    """Return the types that each field may have in JSON, of those with plain ones."""
    found = {}
    for name, hint in get_type_hints(kind).items():
        kinds = tuple(_in_json(each) for each in (get_args(hint) if get_origin(hint) is UnionType else (hint,)))
        if all(each in _PLAIN for each in kinds):
            found[name] = kinds
    return found


def _in_json(hint: Any) -> Any:
    return str if isinstance(hint, type) and issubclass(hint, str) and issubclass(hint, Enum) else hint


def _is_one_of(value: object, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, float) and not isfinite(value):
        return False
    if isinstance(value, str) and not _can_be_stored(value):
        return False
    return type(value) in kinds or (float in kinds and type(value) is int)


def _can_be_stored(text: str) -> bool:
    """Return whether a text can be written: JSON may have halves of a surrogate pair, which no encoding takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
