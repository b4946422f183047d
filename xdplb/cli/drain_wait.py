"""Wait for a drain: what `xdplb backend drain --wait` does after it has started one."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import click

from xdplb.client import Answer, BusyError, Client, DaemonDownError, TimedOutError
from xdplb.client.bodies import BackendOut, DrainOut
from xdplb.model.errors import ConflictError

from .output import note
from .params import duration_text

__all__ = ["POLL_SECONDS", "TO_CUT_SECONDS", "Progress", "Waited", "wait_for_drain"]

POLL_SECONDS = 0.5

TO_CUT_SECONDS = 30.0
"""How long after the deadline the daemon may take to cut what is left, on a busy host with a full flow table."""


@dataclass(frozen=True, slots=True)
class Waited:
    """What came of waiting: the last answer about the backend, None if there was none; `late` if it is not drained."""

    answer: Answer[BackendOut] | None
    late: TimedOutError | None = None


def wait_for_drain(client: Client, vip: str, address: str, timeout: float, *, cut: bool = False) -> Waited:
    """Poll until no connection is left, or until the time is over: `late` then says how many are left.

    With `cut`, the daemon ends those when the time is over, and this waits for that. If the daemon restarts, this waits
    for it: the drain continues then. Raises ConflictError if somebody cancels the drain. Ctrl-C does not stop it.
    """
    progress = Progress(f"draining {address}")
    deadline = time.monotonic() + timeout + (TO_CUT_SECONDS if cut else 0.0)
    try:
        answer, left = _poll(client, vip, address, deadline, progress)
    except KeyboardInterrupt:
        progress.end()
        note(f"the drain of {address} continues; cancel it with: xdplb backend undrain {vip} {address}")
        raise
    finally:
        progress.end()
    if not left:
        return Waited(answer)
    return Waited(
        answer,
        TimedOutError(
            f"backend {address} of {vip} is not drained after {duration_text(timeout)}: {left}",
            hint="no connection was cut and the drain continues; wait again, or cut them with: "
            f"xdplb backend rm {vip} {address}",
        ),
    )


def _poll(
    client: Client, vip: str, address: str, deadline: float, progress: Progress
) -> tuple[Answer[BackendOut] | None, str]:
    """Return the last answer, and what is left when the time is over; empty if nothing is."""
    answer, left = None, "the daemon has not answered"
    while True:
        try:
            answer = client.backends.get(vip, address, within=deadline - time.monotonic())
        except (BusyError, DaemonDownError, TimedOutError):
            left = "the daemon does not answer"
        else:
            status = _drain_of(answer, address)
            # At the timeout no connection may be left, but not yet for the quiet time. That is as good as drained.
            if status["state"] in {"drained", "cut"} or (status["state"] == "timed_out" and status["flows"] == 0):
                return answer, ""
            left = _left(status["flows"])
        rest = deadline - time.monotonic()
        if rest <= 0:
            return answer, left
        progress.show(f"{left}, {duration_text(int(rest))} until the timeout")
        time.sleep(min(POLL_SECONDS, rest))


def _drain_of(answer: Answer[BackendOut], address: str) -> DrainOut:
    status = answer.json()["status"]["drain"]
    if status is None:
        raise ConflictError(f"the drain of {address} was cancelled", hint="it was undrained or set to maint")
    return status


def _left(flows: int | None) -> str:
    if flows is None:
        return "its connections are not counted"
    return f"{flows} connection{'' if flows == 1 else 's'} left"


class Progress:
    """A progress line on stderr that is overwritten each time. Only on a terminal."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._width = 0

    def show(self, text: str) -> None:
        """Replace the line with `text`."""
        if not sys.stderr.isatty():
            return
        line = f"{self._title}: {text}"
        click.echo("\r" + line.ljust(self._width), err=True, nl=False)
        self._width = len(line)

    def end(self) -> None:
        """Erase the line."""
        if self._width:
            click.echo("\r" + " " * self._width + "\r", err=True, nl=False)
            self._width = 0
