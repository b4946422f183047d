"""The options of `up` that say what the API takes on at once and how long it waits for a client."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import reduce
from typing import Any, TypeVar

import click

from .params import positive_duration

__all__ = ["api_options"]

_Decorated = TypeVar("_Decorated", bound=Callable[..., object])


class _Number(click.ParamType[int]):
    """A whole number from 1 to `most`; the option means so many times `unit`."""

    name = "number"

    def __init__(self, most: int, *, unit: int = 1) -> None:
        self._most, self._unit = most, unit

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        if not re.fullmatch("[0-9]{1,9}", value) or not 1 <= int(value) <= self._most:
            self.fail(f"{value!r} is not a whole number from 1 to {self._most}", param, ctx)
        return int(value) * self._unit


# The defaults are those of xdplb_api.limits, repeated here: --help must not import the API.
_OPTIONS = (
    click.option(
        "--api-connections",
        "connections",
        type=_Number(65536),
        default="256",
        show_default=True,
        metavar="N",
        help="Connections to the API at a time; more are answered with 503. Fewer if few files may be opened.",
    ),
    click.option(
        "--api-requests",
        "requests",
        type=_Number(1024),
        default="16",
        show_default=True,
        metavar="N",
        help="Requests worked on at a time; others wait for up to 5 s, and then get a 503.",
    ),
    click.option(
        "--api-head-timeout",
        "head_seconds",
        default="10s",
        show_default=True,
        callback=positive_duration,
        metavar="TIME",
        help="Time for the request line and the headers, and the longest pause in a body.",
    ),
    click.option(
        "--api-body-timeout",
        "body_seconds",
        default="1m",
        show_default=True,
        callback=positive_duration,
        metavar="TIME",
        help="Time for a body.",
    ),
    click.option(
        "--api-idle-timeout",
        "idle_seconds",
        default="30s",
        show_default=True,
        callback=positive_duration,
        metavar="TIME",
        help="How long a connection is kept for the next request.",
    ),
    click.option(
        "--api-max-body",
        "body_bytes",
        type=_Number(1024, unit=1 << 20),
        default="48",
        show_default=True,
        metavar="MIB",
        help="The largest body, in MiB. Only that of an access list may have more than 8.",
    ),
)


def api_options(command: _Decorated) -> _Decorated:
    """Add the options; the command gets them under the names of the fields of Limits."""
    return reduce(lambda made, option: option(made), reversed(_OPTIONS), command)
