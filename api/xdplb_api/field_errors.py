# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a field, in words, from the errors of pydantic."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["json_pointer", "sentence_of"]

_RULES = {
    "bool_parsing": "should be true or false",
    "bool_type": "should be true or false",
    "dict_type": "should be an object",
    "finite_number": "should be a number",
    "float_type": "should be a number",
    "greater_than": "should be above {gt}",
    "greater_than_equal": "should be at least {ge}",
    "int_type": "should be a whole number",
    "less_than_equal": "should be at most {le}",
    "list_type": "should be an array",
    "model_attributes_type": "should be an object",
    "model_type": "should be an object",
    "string_too_long": "should have at most {max_length} characters",
    "string_type": "should be a string",
    "string_unicode": "should be a string of valid Unicode characters",
    "too_long": "should have at most {max_length} items",
    "too_short": "should have at least {min_length} items",
}
"""By pydantic's error type: the rule that was broken, in words."""

_SENTENCES = {
    "extra_forbidden": "{name} is not a field of {within}",
    "missing": "{name} is missing",
    "union_tag_not_found": "kind is missing",
    "string_pattern_mismatch": "{given} is not a valid {name}",
}
"""Errors with a sentence of their own, instead of a rule and the given value."""

_SHOWN = 60
"""Characters of a value that are shown."""


def json_pointer(place: Sequence[str | int]) -> str:
    """Return the JSON pointer (RFC 6901) of a place in a body: the names and numbers that lead to it."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in place)


def sentence_of(error: Mapping[str, Any], within: str = "this request") -> str:
    """Return an error of pydantic as a sentence; `within` is what a field is not one of, if it is unknown.

    The first step of its place is what the place is in, such as `body`.
    """
    kind, loc, given = error["type"], error["loc"], error.get("input")
    name = "the body" if len(loc) < 2 else f"item {loc[-1]}" if isinstance(loc[-1], int) else _short(loc[-1])
    if kind == "invalid":
        return str(error["msg"])
    if kind in _SENTENCES:
        return _SENTENCES[kind].format(name=name, given=_json(given), within=within)
    if kind == "union_tag_invalid":
        return f"there is no kind {_json(error['ctx']['tag'])} of edit"
    if kind in {"enum", "literal_error"}:
        return f"{name} {_json(given)} is not supported; this version has {error['ctx']['expected']}"
    if kind not in _RULES:
        return f"{name} is not accepted: {error['msg']}"
    rule = _RULES[kind].format_map(error.get("ctx", {}))
    return f"{name} {rule}, not {_json(given)}"


def _json(value: object) -> str:
    # Only what is shown is written: the value may be a body of megabytes.
    return _short(json.dumps(value[:_SHOWN] if isinstance(value, list | str) else value, default=str))


def _short(text: str, length: int = _SHOWN) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
