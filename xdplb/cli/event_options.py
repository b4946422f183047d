# SPDX-License-Identifier: Apache-2.0
"""The options of `up` that say what becomes of events: how they are logged, and which are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from .params import Whole, positive_duration

__all__ = ["event_options"]

_Decorated = TypeVar("_Decorated", bound=Callable[..., object])
_SECONDS_A_DAY = 86400.0


def _days(context: click.Context, parameter: click.Parameter, text: str) -> float:
    return (positive_duration(context, parameter, text) or 0.0) / _SECONDS_A_DAY


# The defaults are those of xdplb.control.history, repeated here: --help must not import the control plane.
def event_options(command: _Decorated) -> _Decorated:
    """Add the options `log_format`, `event_rows`, `event_days` and `notify`."""
    command = click.option(
        "--notify",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="A file that says which commands and webhooks get which events: it is read now and at each SIGHUP.",
    )(command)
    command = click.option(
        "--events-max-age",
        "event_days",
        default="30d",
        show_default=True,
        callback=_days,
        metavar="TIME",
        help="How long events are kept.",
    )(command)
    command = click.option(
        "--events-max",
        "event_rows",
        type=Whole(100, 10_000_000),
        default=100_000,
        show_default=True,
        metavar="N",
        help="How many events are kept: the oldest go first.",
    )(command)
    return click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="How the log is written: a line of text or a JSON object for each message.",
    )(command)
