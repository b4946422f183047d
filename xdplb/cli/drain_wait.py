"""Wait for a drain: what `xdplb backend drain --wait` does after it has started one."""

from __future__ import annotations

import sys
import time

import click

from xdplb.client import Answer, BusyError, Client, DaemonDownError, TimedOutError
from xdplb.client.bodies import BackendOut, DrainOut
from xdplb.model.errors import ConflictError

from .output import note
from .params import duration_text

__all__ = ["wait_for_drain"]

_POLL_SECONDS = 0.5


def wait_for_drain(client: Client, vip: str, address: str, timeout: float) -> Answer[BackendOut]:
    """Poll until no connection is left; return the last answer about the backend.

    If the daemon restarts, this waits for it: the drain continues then. Raises TimedOutError, which says how many
    connections are left, and ConflictError if somebody cancels the drain. Ctrl-C does not stop the drain.
    """
    progress = _Progress(f"draining {address}")
    deadline = time.monotonic() + timeout
    try:
        return _poll(client, vip, address, deadline, progress)
    except _DeadlineError as late:
        progress.end()
        raise TimedOutError(
            f"backend {address} of {vip} is not drained after {duration_text(timeout)}: {late.left}",
            hint="no connection was cut and the drain continues; wait again, or cut them with: "
            f"xdplb backend rm {vip} {address}",
        ) from None
    except KeyboardInterrupt:
        progress.end()
        note(f"the drain of {address} continues; cancel it with: xdplb backend undrain {vip} {address}")
        raise
    finally:
        progress.end()


def _poll(client: Client, vip: str, address: str, deadline: float, progress: _Progress) -> Answer[BackendOut]:
    left = "the daemon has not answered"
    while True:
        try:
            answer = client.backends.get(vip, address, within=deadline - time.monotonic())
        except (BusyError, DaemonDownError, TimedOutError):
            left = "the daemon does not answer"
        else:
            status = _drain_of(answer, address)
            # At the timeout no connection may be left, but not yet for the quiet time. That is as good as drained.
            if status["state"] == "drained" or (status["state"] == "timed_out" and status["flows"] == 0):
                return answer
            left = _left(status["flows"])
        rest = deadline - time.monotonic()
        if rest <= 0:
            raise _DeadlineError(left)
        progress.show(f"{left}, {duration_text(int(rest))} until the timeout")
        time.sleep(min(_POLL_SECONDS, rest))


def _drain_of(answer: Answer[BackendOut], address: str) -> DrainOut:
    status = answer.json()["status"]["drain"]
    if status is None:
        raise ConflictError(f"the drain of {address} was cancelled", hint="it was undrained or set to maint")
    return status


def _left(flows: int | None) -> str:
    if flows is None:
        return "its connections are not counted"
    return f"{flows} connection{'' if flows == 1 else 's'} left"


class _DeadlineError(Exception):
    """The time is over; `left` says what is left."""

    def __init__(self, left: str) -> None:
        super().__init__(left)
        self.left = left


class _Progress:
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
