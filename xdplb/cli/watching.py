# SPDX-License-Identifier: Apache-2.0
"""`--watch`: show the same again and again, in place on a terminal, else one after the other, until Ctrl-C."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from types import FrameType
from typing import Any, NoReturn, TypeVar

import click

from xdplb.client import DaemonDownError, TimedOutError
from xdplb.model.errors import PlatformError
from xdplb.model.printable import json_printable

from .layout import Output, chosen_output
from .output import note
from .params import duration_text, positive_duration

__all__ = ["watchable", "with_times"]

_Command = TypeVar("_Command", bound=Callable[..., object])
_Turn = Callable[[], None]

_OPTION = "--watch"
_USUALLY = "2s"
_TIME = re.compile(r"([0-9]+(\.[0-9]+)?(ms|s|m|h|d)?)+")
_STYLE = re.compile(r"\x1b\[[0-9;]*m")
# Switch to the screen that leaves no trace, and back; the cursor is hidden meanwhile: xterm's control sequences.
_BEGIN, _END = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


def watchable(function: _Command) -> Callable[..., Any]:
    """Add --watch to a command that shows something. The command is called anew each time."""

    @click.option(
        _OPTION,
        metavar="[TIME]",
        callback=positive_duration,
        help=f"Show it again and again, each TIME, until Ctrl-C.  [{_USUALLY}]",
    )
    @wraps(function)
    def invoke(*arguments: Any, watch: float | None, **given: Any) -> Any:
        if watch is None:
            return function(*arguments, **given)
        context = click.get_current_context()

        def turn() -> None:
            # In a context of its own, so that what it opens is closed each time.
            with click.Context(context.command, parent=context.parent, obj=context.obj):
                function(*arguments, **given)

        _watch(turn, watch, context.command_path)
        return 0

    return invoke


def with_times(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a command with a time for each --watch that has none: what follows it may be a VIP."""
    told: list[str] = []
    for place, argument in enumerate(arguments):
        if argument == "--":
            return [*told, *arguments[place:]]
        following = arguments[place + 1 : place + 2]
        has_time = bool(following) and _TIME.fullmatch(following[0]) is not None
        told.append(f"{_OPTION}={_USUALLY}" if argument == _OPTION and not has_time else argument)
    return told


@dataclass(slots=True)
class _Shown:
    """What was shown last, and a note about why it is not shown anew; all in the form of lines on a terminal."""

    title: str
    text: str = ""
    said: str = ""
    at: str = ""

    def lines(self) -> list[str]:
        return [f"{self.at}  {self.title}", "", *self.text.splitlines(), *([self.said] if self.said else [])]


class _Captured(io.StringIO):
    """What a command prints, as if it went where stdout goes."""

    def __init__(self) -> None:
        super().__init__()
        self._is_terminal = sys.stdout.isatty()

    def isatty(self) -> bool:
        """Return whether stdout is a terminal, since that decides about colours and the width."""
        return self._is_terminal


def _watch(turn: _Turn, seconds: float, command: str) -> None:
    in_place = (
        chosen_output.get() is not Output.JSON and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    )
    try:
        if in_place:
            _redraw(turn, seconds, f"{command}, every {duration_text(seconds)}; Ctrl-C ends it")
        else:
            _append(turn, seconds)
    except KeyboardInterrupt:
        return


def _append(turn: _Turn, seconds: float) -> None:
    """Print what the turns show one after the other: JSON in a line each, tables below the time."""
    is_json = chosen_output.get() is Output.JSON
    is_first, told = True, ""
    for _ in _moments(seconds):
        try:
            text = _text_of(turn, sys.stderr)
        except (DaemonDownError, TimedOutError, PlatformError) as error:
            if is_first:
                raise
            if not told:
                note(_away(error))
            told = error.detail
            continue
        if told:
            note("the daemon is there again")
        if is_json:
            text = json_printable(json.dumps(json.loads(text))) if text.strip() else ""
        else:
            text = f"{'' if is_first else chr(10)}{_now()}\n{text.rstrip()}"
        click.echo(text, color=sys.stdout.isatty())
        is_first, told = False, ""


def _redraw(turn: _Turn, seconds: float, title: str) -> None:
    """Show the last turn in place; when that ends, leave it on the terminal."""
    shown, is_first = _Shown(title), True
    with _ended_by_sigterm():
        try:
            for _ in _moments(seconds):
                said = io.StringIO()
                try:
                    text = _text_of(turn, said)
                except (DaemonDownError, TimedOutError, PlatformError) as error:
                    if is_first:
                        raise
                    shown.said = _away(error)
                else:
                    shown.text, shown.said, shown.at = text.rstrip(), said.getvalue().rstrip(), _now()
                    if is_first:
                        _write(_BEGIN)
                    is_first = False
                _write(_HOME + "".join(f"{line}{_REST_OF_LINE}\n" for line in _fitting(shown)) + _REST_OF_SCREEN)
        finally:
            if not is_first:
                _write(_END + "".join(f"{line}\n" for line in shown.lines()))


def _moments(seconds: float) -> Iterator[None]:
    """Yield now, and then every so many seconds; at once, if what is done takes longer."""
    while True:
        began = time.monotonic()
        yield
        time.sleep(max(0.0, began + seconds - time.monotonic()))


def _text_of(turn: _Turn, errors: Any) -> str:
    out = _Captured()
    with redirect_stdout(out), redirect_stderr(errors):
        turn()
    return out.getvalue()


def _fitting(shown: _Shown) -> list[str]:
    """Return the lines that a terminal has room for, the last of which says how many there are beside them."""
    size = shutil.get_terminal_size()
    lines, left = shown.lines(), size.lines - 1
    kept: list[str] = []
    for line in lines:
        left -= max(1, -(-len(_STYLE.sub("", line)) // size.columns))
        if left < 0:
            kept = kept[: size.lines - 2]
            return [*kept, f"… {len(lines) - len(kept)} more lines: the terminal is too low"]
        kept.append(line)
    return kept


def _away(error: DaemonDownError | TimedOutError | PlatformError) -> str:
    return f"{_now()}: {error.detail}: waiting until it is there again"


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """In the block, let SIGTERM end it in order, so that the terminal is left as it was."""

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
