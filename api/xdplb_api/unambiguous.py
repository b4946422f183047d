# SPDX-License-Identifier: Apache-2.0
"""Requests that could be read in two ways are refused: what is said twice, and numbers that are not plain digits.

Two readers of the same request could each take another value.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from fastapi import Request
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError
from starlette.types import Scope

from xdplb.model.errors import InvalidError
from xdplb.model.numbers import decimal_of, whole_of
from xdplb.model.printable import quoted

from .field_errors import json_pointer
from .schemas.base import refused

__all__ = ["DECIMAL", "FLAG", "WHOLE", "Once", "said_once"]

_LISTS = {"/v1/events": {"kind"}, "/readyz": {"vip"}, "/metrics": {"vip"}}
_SINGLE_HEADERS = (
    *("If-Match", "Last-Event-ID", "Content-Type", "Host", "Origin", "Sec-Fetch-Site", "Authorization"),
    "Idempotency-Key",
)
_TWICE = "xdplb.twice"


async def said_once(request: Request) -> None:
    """Refuse a query parameter, a header or a field of the body that is given more than once."""
    lists = _lists(request)
    single = (name for name, _ in request.query_params.multi_items() if name not in lists)
    if (name := _repeated(single)) is not None:
        raise InvalidError.field(
            f"/query/{name}", f"the parameter {quoted(name, 60)} is given more than once", hint="send one"
        )
    for name in _SINGLE_HEADERS:
        if len(request.headers.getlist(name)) > 1:
            raise InvalidError.field(f"/header/{name}", f"the header {name} is given more than once", hint="send one")
    if (place := request.scope.get(_TWICE)) is not None:
        raise InvalidError.field(
            json_pointer(place), f"{quoted(place[-1], 60)} is given more than once in one object", hint="send one"
        )


def _lists(request: Request) -> Collection[str]:
    """Return the query parameters of a request that may be given several times."""
    return _LISTS.get(request.scope["path"], ())


def _repeated(names: Iterable[str]) -> str | None:
    """Return the first name that was there before, None if there is none."""
    seen = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


class _Twice(dict[str, Any]):
    """An object of a body that has the field `name` twice."""

    def __init__(self, fields: Mapping[str, Any], name: str) -> None:
        super().__init__(fields)
        self.name = name


class Once:
    """Makes the objects of a JSON body, and finds the fields that one of them has twice: a hook for `json`."""

    def __init__(self) -> None:
        self._found = False

    def __call__(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """Return the object with these fields."""
        fields = dict(pairs)
        if len(fields) == len(pairs):
            return fields
        self._found = True
        return _Twice(fields, _repeated(name for name, _ in pairs) or "")

    def note(self, scope: Scope, body: Any) -> None:
        """Note in the request's scope which field is given twice, for `said_once`: an error here is the parser's."""
        if self._found:
            scope[_TWICE] = next(_places(body, ()))


def _places(value: Any, at: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    """Yield the place of a field that is given twice, for each object in `value` that has one."""
    if isinstance(value, _Twice):
        yield (*at, value.name)
    if isinstance(value, (dict, list)):
        for step, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(inner, (dict, list)):
                yield from _places(inner, (*at, step))


def _whole(given: object) -> object:
    return _in_digits(
        given, whole_of(given) if isinstance(given, str) else None, "a whole number in digits, such as 80"
    )


def _decimal(given: object) -> object:
    return _in_digits(given, decimal_of(given) if isinstance(given, str) else None, "a number in digits, such as 1.5")


def _in_digits(given: object, number: float | None, what: str) -> object:
    if isinstance(given, str) and number is None:
        raise refused(InvalidError(f"{quoted(given, 60)} is not {what}", hint=f"give {what}"))
    return given if number is None else number


def _flag(given: object) -> object:
    if isinstance(given, str) and given not in {"true", "false"}:
        raise PydanticCustomError("bool_parsing", "should be true or false")
    return given


WHOLE = BeforeValidator(_whole)
"""Of a whole number in a query: it is written in one way, `80`, not `+80`, `080`, `8_0` or ` 80`."""

DECIMAL = BeforeValidator(_decimal)
"""Of a number in a query: it is written in digits with at most one point."""

FLAG = BeforeValidator(_flag)
"""Of a flag in a query: it is `true` or `false`."""
