# SPDX-License-Identifier: Apache-2.0
"""Signals: none of them ends the daemon without a line in the log.

Those that ask it to end stop it in order. SIGHUP has it read its config file again, and never ends it. The others have
no meaning here: they are logged, and it goes on. A crash
(SIGSEGV and its like) leaves the traceback that faulthandler writes. Only SIGKILL leaves nothing.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
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
        self._reload: Callable[[], object] | None = None
        self._is_hung_up = False
        """Whether SIGHUP has come before there was anything to call."""

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle all signals while in the block. Only in the main thread: elsewhere it does nothing."""
        with ExitStack() as undo:
            with suppress(ValueError):
                for number in STOPPING:
                    undo.callback(signal.signal, number, signal.signal(number, self._stop))
                undo.callback(signal.signal, signal.SIGHUP, signal.signal(signal.SIGHUP, self._hang_up))
                for number in _MEANINGLESS:
                    undo.callback(signal.signal, number, signal.signal(number, _go_on))
            if not faulthandler.is_enabled():
                faulthandler.enable()
                undo.callback(faulthandler.disable)
            yield

    @contextmanager
    def calling(self, stop: Callable[[], None], reload: Callable[[], None]) -> Iterator[None]:
        """In the block, call `stop` in the running event loop at each signal that asks the daemon to end.

        Call `reload` at each SIGHUP, also at one that came before.
        """
        loop = asyncio.get_running_loop()

        def stopped(number: int) -> None:
            self.stopping(number)
            stop()

        # Not a handler of the loop: when that is removed, the signal would end the daemon for a moment.
        self._reload = partial(loop.call_soon_threadsafe, reload)
        with ExitStack() as undo:
            undo.callback(setattr, self, "_reload", None)
            for number in STOPPING:
                with suppress(RuntimeError, ValueError):  # not in the main thread
                    before = signal.getsignal(number)
                    loop.add_signal_handler(number, stopped, number)
                    undo.callback(signal.signal, number, before)
                    undo.callback(loop.remove_signal_handler, number)
            if self._is_hung_up:
                self._is_hung_up = False
                self._reload()
            yield

    def stopping(self, number: int) -> None:
        """Log that it stops; from now on no signal interrupts that."""
        _log.info("%s: stopping", _name(number))
        self._is_stopping = True

    def _hang_up(self, _number: int, _frame: FrameType | None) -> None:
        if self._is_stopping:
            _log.info("SIGHUP: it is stopping already")
        elif self._reload is None:
            _log.info("SIGHUP: it is starting, and reloads after that")
            self._is_hung_up = True
        else:
            _log.info("SIGHUP: reloading")
            self._reload()

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        """End the start, which undoes what it has begun; what is stopping already goes on to its end."""
        if self._is_stopping:
            _log.info("%s: it is stopping already", _name(number))
            return
        self.stopping(number)
        raise SystemExit(0)


def _go_on(number: int, _frame: FrameType | None) -> None:
    _log.info("%s has no meaning for xdplb; it goes on as before", _name(number))


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
