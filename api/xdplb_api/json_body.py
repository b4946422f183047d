# SPDX-License-Identifier: Apache-2.0
"""Reading large JSON bodies without keeping the interpreter: the checks run beside it.

json.loads does all of a body in one go, in which no other thread runs: a tenth of a second for some megabytes. The same
parser in Python, which the standard library has too, takes a few times as long, but others can go on after each value.
"""

from __future__ import annotations

import asyncio
import json
import json.decoder
import json.scanner
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from .unambiguous import Once

__all__ = ["JsonRoute"]

SMALL = 64 << 10
"""In bytes. What takes less than a millisecond is read in one go."""


class _Decoder(json.JSONDecoder):
    """Decodes as json.loads does, with the functions that are written in Python."""

    def __init__(self, once: Once) -> None:
        super().__init__(object_pairs_hook=once)
        self.parse_array = json.decoder.JSONArray  # type: ignore[attr-defined]
        self.parse_object = json.decoder.JSONObject  # type: ignore[attr-defined]
        self.scan_once = json.scanner.py_make_scanner(self)  # type: ignore[attr-defined]


class _Request(Request):
    """A request whose large body is decoded in a thread, so that other requests are answered meanwhile."""

    async def json(self) -> Any:
        """Return the decoded body. Raises JSONDecodeError, without the body in it."""
        body, once = await self.body(), Once()
        if len(body) <= SMALL:
            value = _decode(json.loads, body, once)
        else:
            value = await asyncio.to_thread(_decode, _loads_beside, body, once)
        # Raised here: an exception that comes with the parser's frames, from a thread, keeps the body and a thousand
        # frames of deep nesting in memory until a full collection of garbage.
        if isinstance(value, _NotJson):
            raise json.JSONDecodeError(value.why, "", value.position)
        once.note(self.scope, value)
        return value


@dataclass(frozen=True, slots=True)
class _NotJson:
    """What a body that is not JSON has in place of a value."""

    why: str
    position: int


def _decode(loads: Callable[..., Any], body: bytes, once: Once) -> Any:
    """Decode a body, which is UTF-8 (RFC 8259, 8.1): other readers on the way would not see what UTF-16 says."""
    try:
        return loads(body.decode(), object_pairs_hook=once)
    except json.JSONDecodeError as error:
        return _NotJson(error.msg, error.pos)
    except UnicodeDecodeError as error:
        return _NotJson(f"it is not {error.encoding}", error.start)
    except RecursionError:
        return _NotJson("it is nested too deeply", 0)


def _loads_beside(text: str, *, object_pairs_hook: Once) -> Any:
    """Decode as json.loads does, while other threads go on."""
    return _Decoder(object_pairs_hook).decode(text)


class JsonRoute(APIRoute):
    """A route whose large bodies are read in this way."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        handle = super().get_route_handler()

        async def handle_it(request: Request) -> Response:
            return await handle(_Request(request.scope, request.receive))

        return handle_it
