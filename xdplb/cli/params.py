# SPDX-License-Identifier: Apache-2.0
"""Arguments and options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from xdplb.client import DEFAULT_SOCKET, Client
from xdplb.client.target import Target
from xdplb.client.transport import Waiting
from xdplb.model.errors import InvalidError
from xdplb.model.numbers import decimal_of, whole_of
from xdplb.model.printable import quoted

from .layout import Output, chosen_output
from .output import note
from .progress import is_shown, ticking

__all__ = [
    "AnyWhole",
    "Connection",
    "Decimal",
    "OrNone",
    "Whole",
    "dry_run_option",
    "duration",
    "duration_text",
    "file_option",
    "if_generation_option",
    "local_output_option",
    "mode_option",
    "output_option",
    "parsed",
    "pin_dir_option",
    "positive_duration",
    "state_dir_option",
]

# Whether a path can be used is said by the command, with its own sentence and exit code, not by the parser.
_ANY_PATH = click.Path(path_type=Path, readable=False)

_Decorated = TypeVar("_Decorated", bound=Callable[..., object])
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")


@dataclass(frozen=True, slots=True)
class Connection:
    """The daemon that the global options name."""

    socket_path: str = DEFAULT_SOCKET
    url: str | None = None
    token_file: str | None = None
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    request_timeout: float | None = None

    def target(self) -> Target:
        """Return which daemon it is, and how to reach it."""
        return Target(self.socket_path, self.url, self.token_file, self.tls_ca, self.tls_cert, self.tls_key)

    def client(self) -> Client:
        """Return a client for it, which is closed when the command ends."""
        client = self._client(note, _showing_that_it_waits if is_shown() else None)
        click.get_current_context().call_on_close(client.close)
        return client

    def silent_client(self) -> Client:
        """Return a client that never prints, for a command that has the whole terminal; the caller closes it."""
        return self._client(lambda _message: None, None)

    def _client(self, on_wait: Callable[[str], None], waiting: Waiting | None) -> Client:
        return Client(
            socket_path=self.socket_path,
            url=self.url,
            token_file=self.token_file,
            ca_file=self.tls_ca,
            cert_file=self.tls_cert,
            key_file=self.tls_key,
            timeout=self.request_timeout,
            on_wait=on_wait,
            waiting=waiting,
        )


def _showing_that_it_waits(what: str) -> AbstractContextManager[None]:
    return ticking(f"waiting for {what}")


class Whole(click.IntRange):
    """A whole number in a range, in digits without a sign, leading zeros or underscores."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number."""
        return super().convert(_in_digits(self, value, param, ctx), param, ctx)


class AnyWhole(click.types.IntParamType):
    """A whole number as `Whole`, whose range only the daemon knows."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number."""
        return super().convert(_in_digits(self, value, param, ctx), param, ctx)


class OrNone(click.ParamType[Any]):
    """A value of another type, or the word `none`, which stays that word."""

    def __init__(self, of: click.ParamType[Any]) -> None:
        self._of, self.name = of, of.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value or the word."""
        return value if value == "none" else self._of.convert(value, param, ctx)


def _in_digits(kind: Whole | AnyWhole, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
    """Return the value of an option, which is a usage error if it is a text that is not in digits."""
    if isinstance(value, str) and whole_of(value) is None:
        kind.fail(f"{quoted(value, 60)} is not a whole number; write it in digits, such as 80", param, ctx)
    return value


class Decimal(click.FloatRange):
    """A number in a range, in digits with at most one point."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number."""
        if isinstance(value, str) and decimal_of(value) is None:
            self.fail(f"{quoted(value, 60)} is not a number; write it in digits, such as 1.5", param, ctx)
        return super().convert(value, param, ctx)


def duration(text: str) -> float:
    """Return the seconds of a duration such as 500ms, 30s, 10m or 1h30m. A number without a unit is seconds."""
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return float(text)
    if not text or _PART.sub("", text):
        raise click.BadParameter(f"{text!r} is not a duration; write it like 500ms, 30s, 10m or 1h30m")
    return sum(float(count) * _UNITS[unit] for count, unit in _PART.findall(text))


def parsed(parse: Callable[[Any], Any]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """Return the callback of an option that gives what `parse` makes of its value; of each, if it may be repeated.

    An InvalidError becomes an error that names the option. A value that is not given stays None.
    """

    def callback(_context: click.Context, parameter: click.Parameter, value: Any) -> Any:
        try:
            if parameter.multiple:
                return tuple(dict.fromkeys(map(parse, value)))
            return None if value is None else parse(value)
        except InvalidError as error:
            raise click.BadParameter(str(error)) from None

    return callback


def positive_duration(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    """Return the seconds of a duration that must not be zero, None if it is not given: the callback of an option."""
    if text is None:
        return None
    seconds = duration(text)
    if seconds <= 0:
        raise click.BadParameter("it must be longer than 0; write it like 500ms, 30s or 2m")
    return seconds


def duration_text(seconds: float) -> str:
    """Return a duration as people write it: 500ms, 30s, 10m, 1h30m."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:g}ms"
    if seconds != int(seconds):
        return f"{seconds:g}s"
    parts, rest = [], int(seconds)
    for unit in ("d", "h", "m", "s"):
        count, rest = divmod(rest, int(_UNITS[unit]))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def file_option(name: str, text: str) -> Callable[[_Decorated], _Decorated]:
    """Return what adds an option for a file, which is opened later."""
    return click.option(name, type=_ANY_PATH, metavar="FILE", help=text)


def mode_option(command: _Decorated) -> _Decorated:
    """Add --mode: how XDP runs on a NIC."""
    return click.option(
        "--mode",
        type=click.Choice(["native", "skb", "auto"]),
        default="auto",
        show_default=True,
        help="Where XDP runs: in the driver (native), in the kernel's stack (skb, slow), or native if possible (auto).",
    )(command)


def output_option(command: _Decorated) -> _Decorated:
    """Add -o table|wide|json for answers of the API. The command gets it as `as_json`."""
    return _output(
        command,
        "How to print the result: a table, one with all columns and a row a line, or the API's answer, unchanged.",
    )


def local_output_option(command: _Decorated) -> _Decorated:
    """Add -o table|wide|json for results of this host. The command gets it as `as_json`."""
    return _output(command, "How to print the result: for people, the same without line breaks, or as JSON.")


def _chosen(_context: click.Context, _parameter: click.Parameter, value: str) -> bool:
    chosen_output.set(Output(value))
    return value == Output.JSON


def _output(command: _Decorated, text: str) -> _Decorated:
    return click.option(
        "-o",
        "--output",
        "as_json",
        type=click.Choice([each.value for each in Output]),
        default=Output.TABLE.value,
        callback=_chosen,
        is_eager=True,
        help=text,
    )(command)


def dry_run_option(command: _Decorated) -> _Decorated:
    """Add --dry-run."""
    return click.option("--dry-run", is_flag=True, help="Say what would change, but change nothing.")(command)


def if_generation_option(command: _Decorated) -> _Decorated:
    """Add --if-generation N."""
    return click.option(
        "--if-generation",
        type=Whole(min=0),
        metavar="N",
        help="Change it only if its generation is N, else exit 4.",
    )(command)


def pin_dir_option(command: _Decorated) -> _Decorated:
    """Add --pin-dir: where the program and maps are pinned."""
    return click.option(
        "--pin-dir",
        default="/sys/fs/bpf/xdplb",
        show_default=True,
        type=_ANY_PATH,
        help="Where the program and maps are pinned; on a bpffs.",
    )(command)


def state_dir_option(purpose: str) -> Callable[[_Decorated], _Decorated]:
    """Return a decorator that adds --state-dir with `purpose` as its help."""
    return click.option(
        "--state-dir",
        default="/var/lib/xdplb",
        show_default=True,
        type=_ANY_PATH,
        help=purpose,
    )
