"""Requests that say one thing twice are refused: two readers of the same request could each take another value."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError
from starlette.datastructures import QueryParams
from starlette.responses import Response

from xdplb.model.errors import InvalidError
from xdplb.model.numbers import decimal_of, whole_of
from xdplb.model.printable import quoted

__all__ = ["DECIMAL", "FLAG", "WHOLE", "BodyRoute", "said_once"]

_SINGLE_HEADERS = ("If-Match", "Content-Type", "Host", "Origin", "Sec-Fetch-Site", "Authorization")
_TWICE = "xdplb.twice"


async def said_once(request: Request) -> None:
    """Refuse a query parameter, a header or a field of the body that is given more than once."""
    _refuse_parameters(request.query_params)
    for name in _SINGLE_HEADERS:
        if len(request.headers.getlist(name)) > 1:
            raise InvalidError.field(f"/header/{name}", f"the header {name} is given more than once", hint="send one")
    if (pointer := request.scope.get(_TWICE)) is not None:
        name = pointer.rpartition("/")[2].replace("~1", "/").replace("~0", "~")
        raise InvalidError.field(pointer, f"{quoted(name, 60)} is given more than once in one object", hint="send one")


def _refuse_parameters(parameters: QueryParams) -> None:
    seen = set()
    for name, _ in parameters.multi_items():
        if name in seen:
            raise InvalidError.field(
                f"/query/{name}", f"the parameter {quoted(name, 60)} is given more than once", hint="send one"
            )
        seen.add(name)


class _Twice(dict[str, Any]):
    """An object of a body that has a field twice."""

    name = ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) == len(pairs):
        return fields
    twice, seen = _Twice(fields), set[str]()
    for name, _ in pairs:
        if name in seen:
            twice.name = name
            break
        seen.add(name)
    return twice


def _pointers(value: Any, at: str) -> Iterator[str]:
    """Yield the JSON pointer of a field that is given twice, for each object in `value` that has one."""
    if isinstance(value, _Twice):
        yield f"{at}/{_step(value.name)}"
    if isinstance(value, (dict, list)):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(inner, (dict, list)):
                yield from _pointers(inner, f"{at}/{_step(str(name))}")


def _step(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


class _BodyRequest(Request):
    """A request whose body is read once, and which notes a field that an object of it has twice."""

    async def json(self) -> Any:
        """Return the body. The field is refused by `said_once`, since an error here would be one of the parser."""
        if not hasattr(self, "_json"):
            found: list[_Twice] = []

            def take(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
                taken = _object(pairs)
                if isinstance(taken, _Twice):
                    found.append(taken)
                return taken

            self._json = json.loads(await self.body(), object_pairs_hook=take)
            if found:
                self.scope[_TWICE] = next(_pointers(self._json, ""))
        return self._json


class BodyRoute(APIRoute):
    """A route whose JSON body must not have a field twice."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of this route."""
        handle = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            return await handle(_BodyRequest(request.scope, request.receive))

        return strictly


def _whole(given: object) -> object:
    return _in_digits(
        given, whole_of(given) if isinstance(given, str) else None, "a whole number in digits, such as 80"
    )


def _decimal(given: object) -> object:
    return _in_digits(given, decimal_of(given) if isinstance(given, str) else None, "a number in digits, such as 1.5")


def _in_digits(given: object, number: float | None, what: str) -> object:
    if isinstance(given, str) and number is None:
        raise PydanticCustomError(
            "invalid", "{reason}", {"reason": f"{quoted(given, 60)} is not {what}", "hint": f"give {what}"}
        )
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
