# SPDX-License-Identifier: Apache-2.0
"""What the commands on config files share: how a file is written, and how they say what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

import click

from .layout import Output, chosen_output
from .output import note

__all__ = ["format_option", "telling_faults"]

_Command = TypeVar("_Command", bound=Callable[..., object])
_MOST = 100


def format_option(command: _Command) -> _Command:
    """Add --format: how a config file is written. The command gets it as `written`."""
    return click.option(
        "--format",
        "written",
        type=click.Choice(["toml", "yaml"]),
        help="How it is written.  [by its name: .toml, .yaml, .yml, .json; else TOML]",
    )(command)


def telling_faults(command: Callable[..., int | None]) -> Callable[..., int | None]:
    """Make a command print each fault of a config file in a line of its own, as compilers do, and end with 2."""

    @wraps(command)
    def invoke(*arguments: object, **given: object) -> int | None:
        from xdplb.config.faults import ConfigError

        try:
            return command(*arguments, **given)
        except ConfigError as error:
            if chosen_output.get() is Output.JSON:
                raise
            for fault in error.faults[:_MOST]:
                note(str(fault))
                if fault.hint:
                    note(f"    hint: {fault.hint}")
            if len(error.faults) > _MOST:
                note(f"and {len(error.faults) - _MOST} more")
            return error.exit_code

    return invoke
