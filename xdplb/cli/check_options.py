"""The options that describe a health check, for `xdplb health set` and, with a prefix, `xdplb vip add`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from xdplb.model.errors import InvalidError
from xdplb.model.health import CheckType, HealthCheck, check_fits, refuse_missing_check
from xdplb.model.key import VipKey

from .params import AnyWhole, Whole, duration, duration_text

__all__ = ["check_body", "check_options"]

_Command = TypeVar("_Command", bound=Callable[..., object])

_DEFAULTS = HealthCheck()
_FIELDS: dict[str, tuple[str, dict[str, Any]]] = {
    "port": ("port", {"type": Whole(1, 65535), "help": "The port to check.  [the VIP's]"}),
    "path": ("path", {"help": f"The path that an http check requests.  [{_DEFAULTS.path}]"}),
    "expect-status": (
        "expect_status",
        {
            "type": AnyWhole(),
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
            "help": f"How long a check waits for an answer.  [{duration_text(_DEFAULTS.timeout_seconds)}]",
        },
    ),
    "rise": ("rise", {"type": AnyWhole(), "help": f"Passes in a row until a backend is up.  [{_DEFAULTS.rise}]"}),
    "fall": ("fall", {"type": AnyWhole(), "help": f"Failures in a row until it is down.  [{_DEFAULTS.fall}]"}),
    "reset": (
        "reset",
        {
            "is_flag": True,
            "default": None,
            "help": "End the connections of checks with a RST: no TIME_WAIT, but many servers log it as an error.",
        },
    ),
}


class _TypeOfCheck(click.Choice[str]):
    """The types of checks; for one that xdplb does not have, the error says what to use instead."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            refuse_missing_check(value)
        except InvalidError as error:
            self.fail(f"{error.detail}: {error.hint}", param, ctx)
        return super().convert(value, param, ctx)


def check_options(prefix: str = "") -> Callable[[_Command], _Command]:
    """Add --type (--check if the prefix is `check-`) and one option for each field of a check."""

    def add(command: _Command) -> _Command:
        for name, (field, settings) in reversed(_FIELDS.items()):
            command = click.option(f"--{prefix}{name}", _parameter(prefix, field), **settings)(command)
        type_option = f"--{prefix.rstrip('-') or 'type'}"
        return click.option(
            type_option,
            _parameter(prefix, "type"),
            type=_TypeOfCheck([kind.value for kind in CheckType]),
            required=not prefix,
            help="What a health check does: an HTTP GET, or a TCP connect.",
        )(command)

    return add


def check_body(prefix: str, given: dict[str, Any], key: VipKey | None = None) -> dict[str, Any] | None:
    """Remove the options of a check from `given` and return them as the API's body, None if there are none.

    Raises click.UsageError if there are fields but no type, and InvalidError for a wrong value, or for a check that the
    VIP `key`, if given, cannot have. That is before anything is sent, so that no VIP is added without its check.
    """
    body: dict[str, Any] = {}
    for field in ("type", *(field for field, _ in _FIELDS.values())):
        value = given.pop(_parameter(prefix, field))
        if value not in {None, ()}:
            body[field] = list(value) if field == "expect_status" else value
    if body and "type" not in body:
        raise click.UsageError(f"the options of a check need {' or '.join(f'--check {kind}' for kind in CheckType)}")
    if not body:
        return None
    check = _check(body)
    if key is not None:
        try:
            check_fits(check, key)
        except InvalidError as error:
            raise InvalidError(error.detail, hint=f"give --{prefix}port") from None
    return body


def _check(body: dict[str, Any]) -> HealthCheck:
    """Return the check; raise the InvalidError that the daemon would answer with."""
    expected = tuple(body.get("expect_status", _DEFAULTS.expect_status))
    return HealthCheck(**{**body, "type": CheckType(body["type"]), "expect_status": expected})


def _parameter(prefix: str, field: str) -> str:
    return f"{prefix.replace('-', '_')}{field}"
