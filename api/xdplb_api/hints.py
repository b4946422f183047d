# SPDX-License-Identifier: Apache-2.0
"""Hints for requests that break a rule, made from the schema of the body."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from xdplb.model.backend import SERVER_ID_HINT, SERVER_ID_PATTERN
from xdplb.model.check_fields import FILE_HINT, FILE_PATTERN, HOST_HINT, HOST_PATTERN, PATH_HINT, PATH_PATTERN
from xdplb.model.vip import NAME_HINT, NAME_PATTERN

__all__ = ["Schema", "hint_for", "schema_of", "without_tags"]

Schema = Mapping[str, Any]

_NOTHING: Schema = {}
_SEE_ALL = "see /openapi.json"
_PATTERNS = {
    NAME_PATTERN: NAME_HINT,
    PATH_PATTERN: PATH_HINT,
    HOST_PATTERN: HOST_HINT,
    FILE_PATTERN: FILE_HINT,
    SERVER_ID_PATTERN: SERVER_ID_HINT,
}


@cache
def schema_of(kind: Any) -> Schema:
    """Return the JSON schema of a kind of body."""
    return TypeAdapter(kind).json_schema()


def hint_for(error: Mapping[str, Any], schema: Schema) -> str:
    """Return a hint for an error of pydantic in a body of this schema; never empty."""
    if given := error.get("ctx", {}).get("hint"):
        return str(given)
    place, *steps = error["loc"] or ("body",)
    if place != "body":
        return "give true or false" if error["type"].startswith("bool") else _SEE_ALL
    if error["type"] == "extra_forbidden":
        return _fields_hint(str(steps[-1]), _at(schema, steps[:-1], schema))
    return _value_hint(_at(schema, steps, schema), schema)


def _at(schema: Schema, steps: Sequence[str | int], root: Schema) -> Schema:
    """Return the schema at the path `steps`, an empty one if there is none."""
    schema = _plain(schema, root)
    if not steps:
        return schema
    step, *rest = steps
    if (tagged := _tagged(schema, step)) is not None:
        return _at({"$ref": tagged}, rest, root)
    inner = schema.get("items") if isinstance(step, int) else schema.get("properties", _NOTHING).get(step)
    return _at(inner or _NOTHING, rest, root)


def without_tags(steps: Sequence[str | int], schema: Schema) -> Sequence[str | int]:
    """Return the path of an error of pydantic without the kinds of objects, which it has after their places."""
    kept: list[str | int] = []
    for number, step in enumerate(steps):
        if _tagged(_at(schema, steps[:number], schema), step) is None:
            kept.append(step)
    return kept


def _tagged(schema: Schema, step: str | int) -> str | None:
    """Return the reference to the schema of the kind `step`, None if a step there is no kind."""
    found: str | None = schema.get("discriminator", _NOTHING).get("mapping", _NOTHING).get(step)
    return found


def _plain(schema: Schema, root: Schema) -> Schema:
    """Return a schema with its reference resolved; of a nullable value, the schema that is not null."""
    if schema.get("type") == "string":  # one text, in whichever of its forms
        return schema
    for option in schema.get("anyOf", ()):
        if option.get("type") != "null":
            return _plain({**schema, "anyOf": (), **option}, root)
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return {**root["$defs"][name], **{key: value for key, value in schema.items() if key != "$ref"}}
    return schema


def _fields_hint(name: str, schema: Schema) -> str:
    fields = [field for field, kind in schema.get("properties", _NOTHING).items() if not kind.get("readOnly")]
    begun = [field for field in fields if len(name) > 1 and field.startswith(name)]
    close = begun or difflib.get_close_matches(name, fields, n=1)
    return (f"did you mean {close[0]}? " if close else "") + f"the fields are {', '.join(fields)}"


def _value_hint(schema: Schema, root: Schema) -> str:
    hint = _SEE_ALL
    match schema:
        case {"enum": words}:
            hint = f"use {' or '.join(map(str, words))}"
        case {"const": word}:
            hint = f"use {word}"
        case {"type": "integer"}:
            hint = f"give a whole number{_range(schema)}"
        case {"type": "number"}:
            hint = f"give a number{_range(schema)}"
        case {"pattern": pattern} if pattern in _PATTERNS:
            hint = _PATTERNS[pattern]
        case {"format": "ip", "examples": [example, *_]}:
            hint = f"give an IP address in quotes, such as {json.dumps(example)}"
        case {"format": "ip-or-prefix", "examples": [example, *_]}:
            hint = f"give an IP address or a prefix in quotes, such as {json.dumps(example)}"
        case {"type": "array", "items": items}:
            hint = f"give an array of {_count(schema)}; for each: {_value_hint(_plain(items, root), root)}"
        case {"type": "object", "properties": properties}:
            hint = f"send a JSON object with {', '.join(schema.get('required', properties))}"
    return hint


def _range(schema: Schema) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    if "exclusiveMinimum" in schema:
        return f" above {schema['exclusiveMinimum']} and at most {most}"
    return "" if least is None or most is None else f" from {least} to {most}"


def _count(schema: Schema) -> str:
    return f"{schema.get('minItems', 0)} to {schema['maxItems']}" if "maxItems" in schema else "any length"
