# SPDX-License-Identifier: Apache-2.0
"""A probe over a TCP connection, with TLS or without: it carries a talk, and ends the connection as servers like it."""

from __future__ import annotations

import select
import socket
from enum import IntEnum

from xdplb.control.health.ending import AT_ONCE_SECONDS, MOST_BYTES, patience, reset_on_close
from xdplb.control.health.local_end import asked_from
from xdplb.control.health.probes.aim import Aim
from xdplb.control.health.probes.probe import BROKEN, READABLE, Keeper, SocketProbe
from xdplb.control.health.probes.result import NOT_RUN, Finding, OnResult
from xdplb.control.health.probes.talk import Talk
from xdplb.control.health.probes.tls import Tls, TlsError
from xdplb.control.health.probes.tls_contexts import TlsWanted

__all__ = ["StreamProbe"]

_READ_BYTES = 4096
"""How much is read at a time, and of one connection in a row: what a backend can make of that takes milliseconds."""


class _State(IntEnum):
    CONNECTING = 0
    WAITING_FOR_FILES = 1
    SECURING = 2
    ASKED = 3
    LEAVING = 4


class StreamProbe(SocketProbe):
    """One TCP connection to a backend."""

    __slots__ = (
        "_is_left_to_server",
        "_left",
        "_said_fin",
        "_state",
        "_talk",
        "_tls",
        "_tls_wanted",
        "_unsent",
        "_until",
    )

    def __init__(self, aim: Aim, keeper: Keeper, on_result: OnResult, talk: Talk, tls: TlsWanted | None = None) -> None:
        super().__init__(aim, keeper, on_result)
        self._talk, self._tls_wanted = talk, tls
        self._tls: Tls | None = None
        self._state = _State.CONNECTING
        self._unsent = b""
        self._said_fin = False
        self._is_left_to_server = talk.leaves_to_peer
        self._left = MOST_BYTES
        self._until = 0.0

    def news(self, events: int) -> None:
        """Go on, since the socket has these events."""
        if self._sock is None:
            return
        if self._state is _State.CONNECTING:
            if events & BROKEN and (code := self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
                self._failed(code)
                return
            if not events & select.EPOLLOUT:
                return
            self._connected()
        elif self._state is _State.WAITING_FOR_FILES:
            self._secure_if_possible()
        elif self._unsent and events & select.EPOLLOUT:
            self._flush()
        if events & READABLE and self._sock is not None and self._state is not _State.WAITING_FOR_FILES:
            self._read(events)

    def cut(self) -> None:
        """Close the connection at once, without a result if it has none yet."""
        if self._sock is not None and self._tls is not None:
            self._tls.keep_session()
        super().cut()

    def _new_socket(self, family: int) -> socket.socket:
        return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)

    @property
    def _is_connected(self) -> bool:
        return self._state is not _State.CONNECTING

    def _silent(self, seconds: float) -> Finding:
        if self._state is _State.CONNECTING:
            return Finding(passed=False, reason=f"no answer to the connection attempt in {seconds:g} s")
        if self._state is _State.WAITING_FOR_FILES:
            return Finding(None, f"{NOT_RUN}: reading its certificate files took longer than {seconds:g} s")
        if self._state is _State.SECURING:
            return Finding(passed=False, reason=f"connected, but the TLS handshake did not end in {seconds:g} s")
        return self._talk.silent(seconds)

    def _connected(self) -> None:
        if self.aim.steps is not None:
            aim = self.aim
            place = f"{aim.name} on {aim.host}" if aim.name else f"{aim.host} port {aim.port}"
            self._step("connect", f"to {place}{asked_from(self._sock)}")
        if self._tls_wanted is None:
            self._ask()
            return
        self._state = _State.WAITING_FOR_FILES
        if not self._secure_if_possible():
            self._keeper.contexts.when_read(self._tls_wanted.files, self._files_are_read)

    def _files_are_read(self) -> None:
        """Go on in a turn of its own: thousands of probes may have waited for the same files."""
        self._keeper.again(self, select.EPOLLIN)

    def _secure_if_possible(self) -> bool:
        """Begin the handshake; return False if its files are still to be read."""
        assert self._tls_wanted is not None
        context = self._keeper.contexts.get(self._tls_wanted.files)
        if context is None:
            return False
        if context.error:
            self._found(Finding(None, f"{NOT_RUN}: {context.error}"))
            self.cut()  # the server was asked for nothing, so it would not close first
            return True
        self._state = _State.SECURING
        self._tls = Tls(context, self.aim.host, self.aim.port, self._tls_wanted.name)
        self._shake(b"")
        return True

    def _shake(self, data: bytes) -> None:
        """Go on with the handshake."""
        assert self._tls is not None
        try:
            is_done = self._tls.shake(data)
        except TlsError as failure:
            self._flush()  # the alert that says why
            if self._sock is not None:
                self._found(Finding(passed=False, reason=str(failure)))
                self.cut()
            return
        self._flush()
        if is_done and self._sock is not None:
            if self.aim.steps is not None:
                self._step("tls", self._tls.described())
            self._ask()
            if self._sock is not None:
                self._take_tls(b"")

    def _ask(self) -> None:
        self._state = _State.ASKED
        talk = self._talk
        if talk.opening:
            if self._tls is None:
                self._unsent = talk.opening
            else:
                self._tls.write(talk.opening)
            self._flush()
            if self.aim.steps is not None and self._state is _State.ASKED:
                self._step("sent", f"{talk.asks}, {len(talk.opening)} bytes")
        if talk.at_once is not None and self._state is _State.ASKED and self._sock is not None:
            self._found(talk.at_once)

    def _flush(self) -> None:
        if self._tls is not None:
            self._unsent += self._tls.outgoing()
        if not self._unsent:
            return
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError as error:
            self._unsent = b""
            self._hear_why(error)

    def _hear_why(self, error: OSError) -> None:
        """End after a failure to send. The backend may have said why before it reset the connection."""
        assert self._sock is not None
        try:
            data = self._sock.recv(_READ_BYTES)
        except OSError:
            data = b""
        if data:
            self._heard(data)
        if self._sock is not None:
            self._broke_off(error)

    def _read(self, events: int) -> None:
        """Read a piece of what is there. If there may be more, it has to wait until others have had their turn."""
        assert self._sock is not None
        try:
            data = self._sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._broke_off(error)
            return
        if not data:
            self._closed_by_backend()
            return
        self._heard(data)
        if self._sock is not None and (len(data) == _READ_BYTES or events & (select.EPOLLRDHUP | BROKEN)):
            self._keeper.again(self, events)

    def _heard(self, data: bytes) -> None:
        """Take what came from the socket."""
        self._left -= len(data)
        if self._tls is None:
            self._take(data)
        elif self._state is _State.SECURING:
            self._shake(data)
        else:
            self._take_tls(data)
        if self._left < 0 and self._sock is not None:
            self._too_much()

    def _take_tls(self, data: bytes) -> None:
        assert self._tls is not None
        try:
            plain = self._tls.read(data)
        except TlsError as failure:
            if self._state is _State.ASKED:
                self._found(Finding(passed=False, reason=str(failure)))
            self.cut()
            return
        self._flush()  # what TLS itself answers, such as to a change of keys
        if self._sock is None:
            return
        if plain:
            self._take(plain)
        if self._sock is not None and self._tls.is_closed:
            self._closed_by_backend()

    def _take(self, data: bytes) -> None:
        if self._state is _State.ASKED:
            if self.aim.steps is not None and self.aim.steps.done[-1].name != "first byte":
                self._step("first byte", "")
            if (finding := self._talk.take(data)) is not None:
                if self.aim.steps is not None:
                    self._step("answer", f"{MOST_BYTES - self._left} bytes so far")
                self._found(finding)
        elif not self._talk.is_complete:
            self._talk.take(data)
        if self._state is _State.LEAVING and self._sock is not None:
            self._send_fin_if_due()

    def _too_much(self) -> None:
        if self._state is not _State.LEAVING:
            self._found(Finding(passed=False, reason=f"no answer in the first {MOST_BYTES >> 10} KiB"))
        self.cut()

    def _closed_by_backend(self) -> None:
        if self._state is _State.ASKED:
            self._found(self._talk.ended())
        elif self._state is _State.SECURING:
            self._found(Finding(passed=False, reason="connection closed in the TLS handshake: does it speak TLS?"))
        self.cut()

    def _broke_off(self, error: OSError) -> None:
        if self._on_result is not None:
            self._failed(error.errno or 0)
        self.cut()

    def _leave(self) -> None:
        """Begin to end the connection. A server that was asked to close is first left to do so."""
        if self._sock is None:
            return
        if not self._is_connected or self.aim.check.reset:
            self.cut()
            return
        self._state = _State.LEAVING
        self._keeper.answered(self)
        now, patient = self._keeper.alarms.now(), patience(self.aim.check.timeout_seconds)
        if self._is_left_to_server:
            self._until = now + AT_ONCE_SECONDS + patient
            self._set_alarm(now + AT_ONCE_SECONDS)
        else:
            self._until = now + patient
            self._set_alarm(self._until)
            self._send_fin_if_due()

    def _time_is_over(self) -> None:
        """Give the result, or go on with ending the connection after it."""
        if self._on_result is not None:
            super()._time_is_over()
            return
        if self._keeper.alarms.now() >= self._until:
            self.cut()
            return
        self._set_alarm(self._until)
        self._is_left_to_server = False
        self._send_fin_if_due()

    def _send_fin_if_due(self) -> None:
        """Say that nothing more will be sent, once the answer has come to its end."""
        if self._said_fin or self._is_left_to_server:
            return
        if self._talk.leaves_to_peer and not self._talk.is_complete:
            return
        self._said_fin = True
        if self._tls is not None:
            self._tls.close()
            self._flush()
            if self._sock is None:
                return
        if self._keeper.ports.take((self.aim.host, self.aim.port)):
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError:  # the peer's RST has ended it
                self.cut()
        else:
            reset_on_close(self._socket)
            self.cut()
