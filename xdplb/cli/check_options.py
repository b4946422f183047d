"""The options that describe a health check, for `xdplb health set` and, with a prefix, `xdplb vip add`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from xdplb.model.health import CheckType, HealthCheck

from .params import duration, duration_text

__all__ = ["check_body", "check_options"]

_Command = TypeVar("_Command", bound=Callable[..., object])

_DEFAULTS = HealthCheck()
_FIELDS: dict[str, tuple[str, dict[str, Any]]] = {
    "port": ("port", {"type": click.IntRange(1, 65535), "help": "The port checked; the VIP's when not given."}),
    "path": ("path", {"help": f"What an http check asks for.  [{_DEFAULTS.path}]"}),
    "expect-status": (
        "expect_status",
        {
            "type": int,
            "multiple": True,
            "help": f"A status an http check accepts; may be repeated.  [{_DEFAULTS.expect_status[0]}]",
        },
    ),
    "interval": (
        "interval_seconds",
        {
            "type": duration,
            "metavar": "TIME",
            "help": f"The time between checks.  [{duration_text(_DEFAULTS.interval_seconds)}]",
        },
    ),
    "timeout": (
        "timeout_seconds",
        {
            "type": duration,
            "metavar": "TIME",
            "help": f"When a check without answer fails.  [{duration_text(_DEFAULTS.timeout_seconds)}]",
        },
    ),
    "rise": ("rise", {"type": int, "help": f"Passes in a row that make a backend up.  [{_DEFAULTS.rise}]"}),
    "fall": ("fall", {"type": int, "help": f"Failures in a row that make it down.  [{_DEFAULTS.fall}]"}),
}


def check_options(prefix: str = "") -> Callable[[_Command], _Command]:
    """Add --type (with a prefix `check-`: --check) and one option for each field of a check."""

    def add(command: _Command) -> _Command:
        for name, (field, settings) in reversed(_FIELDS.items()):
            command = click.option(f"--{prefix}{name}", _parameter(prefix, field), **settings)(command)
        type_option = f"--{prefix.rstrip('-') or 'type'}"
        return click.option(
            type_option,
            _parameter(prefix, "type"),
            type=click.Choice(["http", "tcp"]),
            required=not prefix,
            help="What a health check does: an HTTP GET, or a TCP connect.",
        )(command)

    return add


def check_body(prefix: str, given: dict[str, Any]) -> dict[str, Any] | None:
    """Take the options of a check out of `given` and return the API's body, None where none was given.

    Raises click.UsageError where there are fields of a check but not its type, and InvalidError for a value that
    cannot be right: nothing of what comes with the check has been asked for then.
    """
    body: dict[str, Any] = {}
    for field in ("type", *(field for field, _ in _FIELDS.values())):
        value = given.pop(_parameter(prefix, field))
        if value not in {None, ()}:
            body[field] = list(value) if field == "expect_status" else value
    if body and "type" not in body:
        raise click.UsageError("the options of a check need --check http or --check tcp")
    if not body:
        return None
    _refuse_what_cannot_be_right(body)
    return body


def _refuse_what_cannot_be_right(body: dict[str, Any]) -> None:
    """Raise the InvalidError that the daemon would answer with, before it is asked for anything."""
    expected = tuple(body.get("expect_status", _DEFAULTS.expect_status))
    HealthCheck(**{**body, "type": CheckType(body["type"]), "expect_status": expected})


def _parameter(prefix: str, field: str) -> str:
    return f"{prefix.replace('-', '_')}{field}"
