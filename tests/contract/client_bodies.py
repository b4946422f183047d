# SPDX-License-Identifier: Apache-2.0
"""Writes xdplb/client/bodies.py: the bodies of the API as types, made from its OpenAPI document.

Run `python -m tests.contract.client_bodies` after a change in api/xdplb_api/schemas. A test compares the file.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from keyword import iskeyword
from pathlib import Path
from typing import Any

from xdplb_api.app import create_app

__all__ = ["FILE", "text"]

FILE = Path(__file__).parents[2] / "xdplb/client/bodies.py"

_TOP = '''# SPDX-License-Identifier: Apache-2.0
"""The bodies of the API, under their names in /openapi.json. docs/reference/ explains their fields.

Made by `python -m tests.contract.client_bodies`: do not edit it.
"""

from __future__ import annotations

'''
_PLAIN = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}

_Schema = Mapping[str, Any]


def text() -> str:
    """Return what the file has to say."""
    schemas = dict(sorted(create_app(None, version="0").openapi()["components"]["schemas"].items()))  # type: ignore[arg-type]
    words = {name: schema for name, schema in schemas.items() if "enum" in schema}
    bodies = {name: schema for name, schema in schemas.items() if "properties" in schema}
    others = {name: schema for name, schema in schemas.items() if name not in {*words, *bodies}}
    below = "".join(
        [
            "__all__ = [\n",
            *(f'    "{name}",\n' for name in schemas),
            "]\n\n",
            *(f"{name} = {_type(schema)}\n" for name, schema in words.items()),
            *(f"\n\n{_class(name, schema)}" for name, schema in bodies.items()),
            "\n\n",
            *(f"{name} = {_type(schema)}\n" for name, schema in others.items()),
        ]
    )
    used = [name for name in ("Any", "Literal", "NotRequired", "TypedDict") if re.search(rf"\b{name}\b", below)]
    ruff = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(FILE), "-"]
    given = f"{_TOP}from typing import {', '.join(used)}\n\n{below}"
    return subprocess.run(ruff, input=given, capture_output=True, text=True, check=True).stdout


def _class(name: str, schema: _Schema) -> str:
    needed = schema.get("required", ())
    typed = {field: _type(value) for field, value in schema["properties"].items()}
    if any(iskeyword(field) for field in typed):  # such as `from`, which no class can have as a field
        shown = "".join(f"    {field!r}: {kind},\n" for field, kind in typed.items())
        return f'{name} = TypedDict("{name}", {{\n{shown}}})\n"""{_first_sentence(schema["description"])}"""\n'
    fields = (f"    {name}: {kind if name in needed else f'NotRequired[{kind}]'}\n" for name, kind in typed.items())
    return f'class {name}(TypedDict):\n    """{_first_sentence(schema["description"])}"""\n\n{"".join(fields)}'


def _first_sentence(description: str) -> str:
    return " ".join(description.split("\n\n", maxsplit=1)[0].split()).split(". ")[0].rstrip(".") + "."


def _type(schema: _Schema) -> str:
    """Return the type of a value, as it is written in Python."""
    match schema:
        case {"$ref": str() as reference}:
            kind = reference.rpartition("/")[2]
        case {"anyOf": options} | {"oneOf": options}:
            kind = " | ".join(dict.fromkeys(_type(each) for each in options))
        case {"enum": words}:
            kind = f"Literal[{', '.join(map(_quoted, words))}]"
        case {"const": word}:
            kind = f"Literal[{_quoted(word)}]"
        case {"type": "array"}:
            kind = f"list[{_type(schema.get('items', {}))}]"
        case {"type": "object"}:
            inner = schema.get("additionalProperties")
            kind = f"dict[str, {_type(inner) if isinstance(inner, Mapping) else 'Any'}]"
        case {"type": str() as plain}:
            kind = _PLAIN[plain]
        case _:
            kind = "Any"
    return kind


def _quoted(word: object) -> str:
    return f'"{word}"' if isinstance(word, str) else str(word)


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
