# SPDX-License-Identifier: Apache-2.0
"""The options of `up` that say what the API takes on at once and how long it waits for a client."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import TypeVar

import click

from .params import Whole, positive_duration

__all__ = ["api_options"]

_Decorated = TypeVar("_Decorated", bound=Callable[..., object])


def _mebibytes(_context: click.Context, _parameter: click.Parameter, number: int) -> int:
    return number << 20


def _number(name: str, field: str, default: int, most: int, text: str) -> Callable[[_Decorated], _Decorated]:
    return click.option(name, field, type=Whole(1, most), default=default, show_default=True, metavar="N", help=text)


def _time(name: str, field: str, default: str, text: str) -> Callable[[_Decorated], _Decorated]:
    return click.option(
        name, field, default=default, show_default=True, callback=positive_duration, metavar="TIME", help=text
    )


# The defaults are those of xdplb_api.limits, repeated here: --help must not import the API.
def _options() -> list[Callable[[_Decorated], _Decorated]]:
    return [
        _number(
            "--api-connections",
            "connections",
            256,
            65536,
            "Connections to the API at a time; more are answered with 503. Fewer if few files may be opened.",
        ),
        _number(
            "--api-requests",
            "requests",
            16,
            1024,
            "Requests worked on at a time; others wait for up to 5 s, and then get a 503.",
        ),
        _number(
            "--api-event-readers",
            "event_readers",
            32,
            1024,
            "Readers that follow the events at a time, of the connections half at most; others get a 503.",
        ),
        _time(
            "--api-head-timeout",
            "head_seconds",
            "10s",
            "Time for the request line and the headers, and the longest pause in a body.",
        ),
        _time("--api-body-timeout", "body_seconds", "1m", "Time for a body."),
        _time("--api-idle-timeout", "idle_seconds", "30s", "How long a connection is kept for the next request."),
        click.option(
            "--api-max-body",
            "body_bytes",
            type=Whole(1, 1024),
            default=48,
            show_default=True,
            callback=_mebibytes,
            metavar="MIB",
            help="The largest body, in MiB. Only that of an access list may have more than 8.",
        ),
    ]


def api_options(command: _Decorated) -> _Decorated:
    """Add the options; the command gets them under the names of the fields of Limits."""
    return reduce(lambda made, option: option(made), reversed(_options()), command)
