# SPDX-License-Identifier: Apache-2.0
"""Wait for a drain: what `xdplb backend drain --wait` does after it has started one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from xdplb.client import Answer, BusyError, Client, DaemonDownError, TimedOutError
from xdplb.client.bodies import BackendOut, BackendStatusOut, DrainOut
from xdplb.model.errors import ConflictError

from .output import note
from .params import duration_text
from .progress import erase_progress, show_progress

__all__ = ["Settling", "Waited", "is_cut", "is_over", "wait_for_drain", "wait_until_over"]

_POLL_SECONDS = 0.5

_TO_SETTLE_SECONDS = 3.0

_TO_CUT_SECONDS = 30.0
"""How long after the deadline the daemon may take to cut what is left, on a busy host with a full flow table."""


@dataclass(frozen=True, slots=True)
class Waited:
    """What came of waiting: the last answer about the backend, None if there was none; `late` if it is not drained."""

    answer: Answer[BackendOut] | None
    late: TimedOutError | None = None


def wait_for_drain(client: Client, vip: str, address: str, timeout: float, *, cut: bool = False) -> Waited:
    """Wait until no connection is left, or until the time is over: `late` then says how many are left.

    The rest is as in `wait_until_over`. Raises ConflictError if somebody cancels the drain.
    """
    answer: Answer[BackendOut] | None = None
    settling = Settling()

    def look(within: float) -> str:
        nonlocal answer
        answer = client.backends.get(vip, address, within=within)
        drain = _drain_of(answer, address)
        if not is_over(drain):
            return _left(drain["flows"])
        return "" if settling.is_done([answer.json()["status"]], within) else "what came of them is noted"

    goes_on = f"the drain of {address} continues; cancel it with: xdplb backend undrain {vip} {address}"
    left = wait_until_over(address, look, timeout, cut=cut, goes_on=goes_on)
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


def wait_until_over(address: str, look: Callable[[float], str], timeout: float, *, cut: bool, goes_on: str) -> str:
    """Look again and again until nothing is left, or until the time is over; return what is left then, else nothing.

    `look` gets the seconds until then, and returns what is left, nothing if the drain is over. With `cut`, the daemon
    ends what is left when the time is over, and this waits for that. If the daemon restarts, this waits for it: the
    drain continues then. Ctrl-C does not stop the drain, which `goes_on` says.
    """
    try:
        return _poll(address, look, time.monotonic() + timeout + (_TO_CUT_SECONDS if cut else 0.0))
    except KeyboardInterrupt:
        note(goes_on)
        raise
    finally:
        erase_progress()


class Settling:
    """The short time between the end of drains and that of their certificates, which come a moment later."""

    def __init__(self) -> None:
        self._over_at: float | None = None

    def is_done(self, drained: Iterable[BackendStatusOut], within: float) -> bool:
        """Return whether all certificates say how it ended; also if that is not to be waited for any longer."""
        now = time.monotonic()
        if self._over_at is None:
            self._over_at = now
        if now - self._over_at > _TO_SETTLE_SECONDS or within < _TO_SETTLE_SECONDS:
            return True
        certificates = [status.get("certificate") for status in drained]  # an older daemon has none
        return all(each is None or each["outcome"] != "draining" for each in certificates)


def is_over(drain: DrainOut) -> bool:
    """Return whether nothing is left to wait for."""
    # At the timeout no connection may be left, but not yet for the quiet time. That is as good as drained.
    return drain["state"] in {"drained", "cut"} or (drain["state"] == "timed_out" and drain["flows"] == 0)


def is_cut(status: BackendStatusOut) -> bool:
    """Return whether the deadline of the backend's drain has cut what was left."""
    return status["drain"] is not None and status["drain"]["state"] == "cut"


def _poll(address: str, look: Callable[[float], str], deadline: float) -> str:
    left = "the daemon has not answered"
    while True:
        try:
            left = look(deadline - time.monotonic())
        except (BusyError, DaemonDownError, TimedOutError):
            left = "the daemon does not answer"
        rest = deadline - time.monotonic()
        if not left or rest <= 0:
            return left
        show_progress(f"draining {address}: {left}, {duration_text(int(rest))} until the timeout")
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
