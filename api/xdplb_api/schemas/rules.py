"""Rules between fields, as JSON schemas: OpenAPI tells them, and the model holds to them."""

from __future__ import annotations

from pydantic.config import JsonDict, JsonValue

__all__ = ["when"]


def when(field: str, values: list[JsonValue], **then: JsonValue) -> JsonDict:
    """Return the JSON schema that the properties `then` hold where `field` is one of `values`."""
    has: JsonDict = {"properties": {field: {"enum": values}}, "required": [field]}
    return {"if": has, "then": {"properties": then}}
