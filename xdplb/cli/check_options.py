# SPDX-License-Identifier: Apache-2.0
"""The options that describe a health check, for `xdplb health set` and `add` and, with a prefix, `xdplb vip add`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from xdplb.model.check_fields import METHODS, QUERY_TYPES, RANGES, RCODES
from xdplb.model.check_type import FIELDS_OF, default_of, types_with
from xdplb.model.errors import InvalidError
from xdplb.model.health import CheckType, HealthCheck, Target, fitted, refuse_missing_check
from xdplb.model.key import VipKey
from xdplb.model.numbers import whole_of

from .params import AnyWhole, Decimal, Whole, duration, duration_text

__all__ = ["check_body", "check_options"]

_Command = TypeVar("_Command", bound=Callable[..., object])

_DEFAULTS = HealthCheck()
_ESCAPES = {"r": "\r", "n": "\n", "t": "\t", "0": "\0", "\\": "\\"}
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|.|$)", re.DOTALL)


def _text(text: str) -> str:
    r"""Return the bytes of a text as characters: those of its UTF-8, with \r, \n, \t, \0, \\ and \xHH for bytes."""

    def byte(match: re.Match[str]) -> str:
        escape = match[1]
        if escape.startswith("x") and len(escape) > 1:
            return chr(int(escape[1:], 16))
        if escape not in _ESCAPES:
            raise click.BadParameter(rf"\{escape} is no escape; there are \r, \n, \t, \0, \\ and \xHH")
        return _ESCAPES[escape]

    return _ESCAPE.sub(byte, text.encode("utf-8", "surrogateescape").decode("latin-1"))


def _status(text: str) -> int | str:
    number = whole_of(text)
    return text if number is None else number


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise click.BadParameter(f"{text!r} is not a header; write it like 'X-Probe: xdplb'")
    return name.strip(), value.strip()


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} cannot be split into words: {error}") from None


def _of(field: str) -> str:
    """Return the types that have a field, for its help."""
    return ", ".join(types_with(field))


def _time(help_text: str) -> dict[str, Any]:
    return {"type": duration, "metavar": "TIME", "help": help_text}


def _flag(help_text: str) -> dict[str, Any]:
    return {"is_flag": True, "default": None, "help": help_text}


_FIELDS: dict[str, tuple[str, dict[str, Any]]] = {
    "name": ("name", {"help": "What it is called where a VIP has several checks."}),
    "port": ("port", {"type": Whole(1, 65535), "help": "The port to check.  [the VIP's]"}),
    "target": (
        "target",
        {
            "type": click.Choice([target.value for target in Target]),
            "help": "Where it goes: to the backend's own address, or to the VIP's on it, by the way of clients."
            "  [vip if it can]",
        },
    ),
    "interval": ("interval_seconds", _time(f"The time between checks.  [{duration_text(_DEFAULTS.interval_seconds)}]")),
    "fast-interval": ("fast_interval_seconds", _time("The same while a backend is between up and down.")),
    "timeout": (
        "timeout_seconds",
        _time(f"How long a check waits for an answer.  [{duration_text(_DEFAULTS.timeout_seconds)}]"),
    ),
    "rise": ("rise", {"type": AnyWhole(), "help": f"Passes in a row until a backend is up.  [{_DEFAULTS.rise}]"}),
    "fall": ("fall", {"type": AnyWhole(), "help": f"Failures in a row until it is down.  [{_DEFAULTS.fall}]"}),
    "jitter": (
        "jitter",
        {
            "type": Decimal(*RANGES["jitter"]),
            "help": f"How much a wait may vary, as a fraction.  [{_DEFAULTS.jitter:g}]",
        },
    ),
    "reset": (
        "reset",
        _flag("End the connections of checks with a RST: no TIME_WAIT, but many servers log it as an error."),
    ),
    "method": (
        "method",
        {"type": click.Choice(METHODS), "help": f"{_of('method')}: the method.  [{default_of('method')}]"},
    ),
    "path": ("path", {"help": f"{_of('path')}: the path.  [{default_of('path')}]"}),
    "host": ("host", {"help": f"{_of('host')}: the Host.  [the address that is asked]"}),
    "header": (
        "headers",
        {
            "type": _header,
            "multiple": True,
            "metavar": "'NAME: VALUE'",
            "help": f"{_of('headers')}: one more header; may be repeated.",
        },
    ),
    "expect-status": (
        "expect_status",
        {
            "type": _status,
            "multiple": True,
            "metavar": "STATUS",
            "help": f"{_of('expect_status')}: a status that passes, or a range: 200-299; may be repeated.  [200]",
        },
    ),
    "expect-body": ("expect_body", {"help": f"{_of('expect_body')}: a text in the first 64 KiB of the body."}),
    "expect-body-regex": (
        "expect_body_regex",
        {"metavar": "REGEX", "help": f"{_of('expect_body_regex')}: the same as a regular expression (RE2)."},
    ),
    "sni": ("sni", {"help": f"{_of('sni')}: the server name to ask for."}),
    "verify": ("verify", _flag(f"{_of('verify')}: the certificate must be valid for --sni.")),
    "ca-file": (
        "ca_file",
        {"metavar": "FILE", "help": f"{_of('ca_file')}: the balancer's file of authorities.  [the system's]"},
    ),
    "cert-file": (
        "cert_file",
        {"metavar": "FILE", "help": f"{_of('cert_file')}: the balancer's file with a certificate to show."},
    ),
    "key-file": ("key_file", {"metavar": "FILE", "help": f"{_of('key_file')}: the file with its key.  [the same]"}),
    "send": (
        "send",
        {"type": _text, "metavar": "TEXT", "help": rf"{_of('send')}: what to send; \r, \n and \xHH are bytes."},
    ),
    "expect": (
        "expect",
        {"type": _text, "metavar": "TEXT", "help": f"{_of('expect')}: what the answer must have; '' is any answer."},
    ),
    "query-name": ("query_name", {"help": f"{_of('query_name')}: the name to ask for.  [{default_of('query_name')}]"}),
    "query-type": (
        "query_type",
        {"type": click.Choice(QUERY_TYPES), "help": f"{_of('query_type')}: the type.  [{default_of('query_type')}]"},
    ),
    "expect-rcode": (
        "expect_rcode",
        {"type": click.Choice(RCODES), "help": f"{_of('expect_rcode')}: the code.  [{default_of('expect_rcode')}]"},
    ),
    "expect-answer": (
        "expect_answer",
        {"help": f"{_of('expect_answer')}: a record among the answers, as dig +short shows it."},
    ),
    "command": (
        "command",
        {
            "type": _words,
            "metavar": "'PATH WORD...'",
            "help": f"{_of('command')}: the command on the balancer. Quotes are heeded, but no shell reads it.",
        },
    ),
    "user": ("user", {"help": f"{_of('user')}: the user that it runs as.  [{default_of('user')}]"}),
}


_LONG_FIELD = re.compile(rf"\b(?:{'|'.join(field for field, _ in _FIELDS.values() if '_' in field)})\b")
_REMEDIES = {
    "give the port to check": "give {}port",
    "set target to": "give {}target",
    "set verify to true": "give {}verify",
    "set verify to false": "omit {}verify",
    "verify needs sni": "{0}verify needs {0}sni",
    "give it as host": "give it as {}host",
}
"""What errors say of fields whose names are words too, and what to say of their options."""


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
            help="What a health check does: a request, a connection, a query, a ping, a command or an agent's word.",
        )(command)

    return add


def check_body(prefix: str, given: dict[str, Any], key: VipKey | None = None) -> dict[str, Any] | None:
    """Remove the options of a check from `given` and return them as the API's body, None if there are none.

    Raises click.UsageError if there are fields but no type, and InvalidError for a wrong value, one that a check of
    this type does not have, or a check that the VIP `key`, if given, cannot have. That is before anything is sent, so
    that no VIP is added without its check.
    """
    body: dict[str, Any] = {}
    for field in ("type", *(field for field, _ in _FIELDS.values())):
        value = given.pop(_parameter(prefix, field))
        if value not in {None, ()} if not isinstance(value, list) else True:
            body[field] = list(value) if isinstance(value, tuple) else value
    if body and "type" not in body:
        raise click.UsageError(f"the options of a check need --check with its type: {', '.join(CheckType)}")
    if not body:
        return None
    check = _check(prefix, body)
    if key is not None:
        with _in_options(prefix):
            fitted(check, key)
    if "headers" in body:
        body["headers"] = dict(body["headers"])
    return body


def _check(prefix: str, body: dict[str, Any]) -> HealthCheck:
    """Return the check; raise the InvalidError that the daemon would answer with, or one that names the option."""
    kind = CheckType(body["type"])
    for field in body:
        if field not in FIELDS_OF[kind]:
            option = f"--{prefix}{_option(field)}"
            raise InvalidError(f"a check of type {kind} has no {option}", hint=f"omit it; it is for {_of(field)}")
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in body.items()}
    values["type"] = kind
    if "target" in values:
        values["target"] = Target(values["target"])
    with _in_options(prefix):
        return HealthCheck(**values)


@contextmanager
def _in_options(prefix: str) -> Iterator[None]:
    """Name the options in the place of the fields that an InvalidError is about."""
    try:
        yield
    except InvalidError as error:
        raise InvalidError(_as_options(error.detail, prefix), hint=_as_options(error.hint, prefix)) from None


def _as_options(text: str, prefix: str) -> str:
    for words, option in _REMEDIES.items():
        text = text.replace(words, option.format(f"--{prefix}"))
    return _LONG_FIELD.sub(lambda found: f"--{prefix}{_option(found[0])}", text)


def _option(field: str) -> str:
    """Return the name of the option for a field, without prefix."""
    return next((name for name, (own, _) in _FIELDS.items() if own == field), field)


def _parameter(prefix: str, field: str) -> str:
    return f"{prefix.replace('-', '_')}{field}"
