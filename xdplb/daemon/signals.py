"""Signals: none of them ends the daemon without a line in the log.

Those that ask it to end stop it in order. The others have no meaning here: they are logged, and it goes on. A crash
(SIGSEGV and its like) leaves the traceback that faulthandler writes. Only SIGKILL leaves nothing.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType

__all__ = ["STOPPING", "Signals"]

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGXCPU, signal.SIGSYS, signal.SIGTRAP)
"""The signals that end it in order."""

_MEANINGLESS = (
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGIO, signal.SIGPWR),
    *(signal.SIGSTKFLT, *range(signal.SIGRTMIN, signal.SIGRTMAX + 1)),
)

_log = logging.getLogger("xdplb")


class Signals:
    """The daemon's handlers of signals."""

    def __init__(self) -> None:
        self._is_stopping = False

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle all signals while in the block. Only in the main thread: elsewhere it does nothing."""
        with ExitStack() as undo:
            with suppress(ValueError):
                for number in STOPPING:
                    undo.callback(signal.signal, number, signal.signal(number, self._stop))
                undo.callback(signal.signal, signal.SIGHUP, signal.signal(signal.SIGHUP, _hang_up))
                for number in _MEANINGLESS:
                    undo.callback(signal.signal, number, signal.signal(number, _go_on))
            if not faulthandler.is_enabled():
                faulthandler.enable()
                undo.callback(faulthandler.disable)
            yield

    @contextmanager
    def calling(self, stop: Callable[[], None]) -> Iterator[None]:
        """In the block, call `stop` in the running event loop at each signal that asks the daemon to end."""
        loop = asyncio.get_running_loop()

        def stopped(number: int) -> None:
            self.stopping(number)
            stop()

        with ExitStack() as undo:
            for number in STOPPING:
                with suppress(RuntimeError, ValueError):  # not in the main thread
                    before = signal.getsignal(number)
                    loop.add_signal_handler(number, stopped, number)
                    undo.callback(signal.signal, number, before)
                    undo.callback(loop.remove_signal_handler, number)
            yield

    def stopping(self, number: int) -> None:
        """Log that it stops; from now on no signal interrupts that."""
        _log.info("%s: stopping", _name(number))
        self._is_stopping = True

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        """End the start, which undoes what it has begun; what is stopping already goes on to its end."""
        if self._is_stopping:
            _log.info("%s: it is stopping already", _name(number))
            return
        self.stopping(number)
        raise SystemExit(0)


def _hang_up(number: int, _frame: FrameType | None) -> None:
    _log.info("%s: there is no configuration file to read again; it goes on as before", _name(number))


def _go_on(number: int, _frame: FrameType | None) -> None:
    _log.info("%s has no meaning for xdplb; it goes on as before", _name(number))


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
