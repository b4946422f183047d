# SPDX-License-Identifier: Apache-2.0
"""Requests and answers over HTTP/1.1, with the standard library only.

A request is repeated where that is safe: one that only reads, and a change, which has an Idempotency-Key, so that the
daemon makes it once and answers the repetition as it did before.
"""

from __future__ import annotations

import http.client
import json
import select
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, TypedDict

import xdplb
from xdplb.model.errors import XdplbError
from xdplb.model.numbers import whole_of

from .answer import Answer
from .daemon_state import state_behind, state_without_socket
from .errors import BusyError, DaemonDownError, StillRunningError, TimedOutError, from_problem
from .target import Target

__all__ = ["COMPILING", "QUESTION", "How", "Patience", "Transport", "Waiting"]

_CHUNK_BYTES = 1 << 16
_SILENCE_SECONDS = 2.5  # nobody wonders for so long what a command does
_LEAST_SECONDS = 0.1
_LOOK_SECONDS, _LOOK_TAKES = 0.8, 0.2  # between looks at how the daemon is, and `state_behind` itself
_IDLE_LOOKS = 3
"""How many looks in a row must not see it at work: between two programs that it compiles, it may seem to do nothing."""
_CLIENT_HEADER = "Xdplb-Client"  # no web page can send it to another site: the daemon asks for it where it acts
_KEY_HEADER = "Idempotency-Key"
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for an answer, in seconds; and how long while the daemon is seen to be at work.

    That can only be seen on the same host. Of a daemon elsewhere, it is assumed.
    """

    still: float
    at_work: float


QUESTION = Patience(10.0, 10.0)
_CHANGE = Patience(10.0, 60.0)  # a change may need another program, or have thousands of VIPs
COMPILING = Patience(10.0, 240.0)
"""For an answer that waits for a program to be compiled, which may take minutes on a slow host."""


class How(TypedDict, total=False):
    """How to make a change: not at all, but say what it would change (`dry_run`); only if the generation is this one.

    `key` is the Idempotency-Key: 1 to 128 characters that no other change has. Whoever repeats a change with the same
    one gets the same answer, and the change is made once. By default each call has a key of its own.
    """

    dry_run: bool
    if_generation: int | None
    key: str | None


@dataclass(frozen=True, slots=True)
class _Request:
    """A request as it is sent, again and again if need be."""

    method: str
    path: str
    headers: Mapping[str, str]
    content: bytes | None


Waiting = Callable[[str], AbstractContextManager[object]]
"""Entered while an answer is awaited, with words for what is awaited."""


class _BrokenError(Exception):
    """The connection broke before the answer was complete: the daemon may have got the request, or not."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class Transport:
    """Sends requests to one daemon, over a connection that is kept for the next one. For one thread at a time.

    `timeout` is how long to wait for an answer, in seconds; None: as long as `Patience` says of it. `retries` is how
    often a request is repeated if the connection breaks or the daemon is too busy. `on_wait` gets one message, the
    first time that an answer takes seconds; `waiting` takes its place, if it is given.
    """

    def __init__(
        self,
        target: Target,
        timeout: float | None,
        retries: int,
        on_wait: Callable[[str], None],
        waiting: Waiting | None = None,
    ) -> None:
        self._target, self._timeout, self._retries, self._on_wait = target, timeout, retries, on_wait
        self._waiting = self._saying_that_it_waits if waiting is None else waiting
        self._told = False
        self._kept: http.client.HTTPConnection | None = None

    def close(self) -> None:
        """Close the connection that is kept. The next request opens another one."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def change(self, method: str, path: str, body: object, how: How) -> Answer[Any]:
        """Request a change. Raises as `request` does, and PreconditionError if it has another generation."""
        headers = {}
        if how.get("if_generation") is not None:
            headers["If-Match"] = f'"{how["if_generation"]}"'
        if how.get("key") is not None:
            headers[_KEY_HEADER] = f'"{how["key"]}"'
        if how.get("dry_run"):
            path += f"{'&' if '?' in path else '?'}dry_run=true"
        return self.request(method, path, body, headers)

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        within: float | None = None,
        patience: Patience | None = None,
    ) -> Answer[Any]:
        """Send one request and return its 2xx answer.

        Waits for it as long as the user says, else with this `patience`, and for `within` seconds at most.

        Raises DaemonDownError if no daemon listens, TimedOutError if it does not answer in time, and for any other
        status the error that its problem describes.
        """
        request = _made(method, path, body, {"Accept": "application/json", **(headers or {})})
        bounds = self._patience(method, within, patience)
        began = time.monotonic()
        end = began + bounds.at_work
        left, pause = self._retries, _FIRST_PAUSE_SECONDS
        with self._waiting(self._awaited(bounds)):
            while True:
                is_last = time.monotonic() + pause >= end
                try:
                    return self._exchange(request, began, bounds)
                except StillRunningError:  # the first one, whose answer was lost, is still worked on: it ends
                    if is_last:
                        raise
                except BusyError as busy:
                    pause = max(pause, busy.retry_after)
                    if time.monotonic() + pause >= end or not left:
                        raise
                    left -= 1
                except _BrokenError as broken:
                    if is_last or not left:
                        raise self._unreachable(broken.error) from None
                    left -= 1
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    @contextmanager
    def stream(
        self,
        path: str,
        headers: Mapping[str, str] | None = None,
        *,
        patience: Patience | None = None,
        silence: float | None = None,
    ) -> Iterator[Iterator[bytes]]:
        """GET `path`, whose answer has no fixed end, and yield its body as it comes; its begin is waited for as usual.

        After that it may be silent for `silence` seconds, None: for as long as it likes.

        Raises as `request` does, and DaemonDownError if the body breaks off.
        """
        request = _made("GET", path, None, {"Accept": "*/*", **(headers or {})})
        bounds = self._patience("GET", None, patience)
        connection = self._target.connection(bounds.still)
        try:
            with self._waiting(self._awaited(bounds)):
                response = self._send(connection, request, time.monotonic(), bounds)
                if response.status != http.client.OK:
                    raise from_problem(response.status, response.read())
            assert connection.sock is not None, "it has answered"
            connection.sock.settimeout(silence)
            yield self._chunks(response)
        except _BrokenError as broken:
            raise self._unreachable(broken.error) from None
        finally:
            connection.close()

    def _chunks(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        try:
            while chunk := response.read1(_CHUNK_BYTES):
                yield chunk
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None

    def _exchange(self, request: _Request, began: float, bounds: Patience) -> Answer[Any]:
        """Send a request once and return its answer. Raises _BrokenError if it may be sent again.

        It is waited for since the moment `began`.
        """
        connection, self._kept = self._kept, None
        if connection is None or connection.sock is None or _is_closed(connection):
            if connection is not None:
                connection.close()
            connection = self._target.connection(max(_LEAST_SECONDS, began + bounds.still - time.monotonic()))
        keep = False
        try:
            response = self._send(connection, request, began, bounds)
            content = response.read()
            keep = not response.will_close
        except TimeoutError:
            raise self._too_slow(request.method, began) from None
        except (OSError, http.client.HTTPException) as error:
            raise _BrokenError(error) from None
        finally:
            if keep:
                self._kept = connection
            else:
                connection.close()
        if not http.client.OK <= response.status < http.client.MULTIPLE_CHOICES:
            refusal = from_problem(response.status, content)
            if isinstance(refusal, BusyError):
                refusal.retry_after = float(whole_of(response.headers.get("Retry-After", "")) or 0)
            raise refusal
        return Answer.of(response.status, response.headers, content)

    def _send(
        self, connection: http.client.HTTPConnection, request: _Request, began: float, bounds: Patience
    ) -> http.client.HTTPResponse:
        """Send a request and return its answer, with the body not read yet.

        Raises DaemonDownError if nothing listens, _BrokenError if the connection breaks.
        """
        headers = {**request.headers, **self._target.headers()}
        try:
            if connection.sock is None:
                connection.connect()
        except TimeoutError:
            raise self._too_slow(request.method, began) from None
        except OSError as error:
            raise self._unreachable(error) from None
        assert connection.sock is not None, "it is connected"
        connection.sock.settimeout(max(_LEAST_SECONDS, began + bounds.at_work - time.monotonic()))
        try:
            connection.request(request.method, self._target.prefix + request.path, request.content, headers)
            if self._target.url is None:
                self._await_begin(connection, request.method, began, bounds)
            return connection.getresponse()
        except TimeoutError:
            raise self._too_slow(request.method, began) from None
        except (OSError, http.client.HTTPException) as error:
            raise _BrokenError(error) from None

    def _await_begin(self, connection: http.client.HTTPConnection, method: str, began: float, bounds: Patience) -> None:
        """Wait for the first byte of an answer of this host's daemon; not for long, if that is not at work."""
        end, idle_looks = began + bounds.at_work, 0
        looks = bounds.still < bounds.at_work
        until = began + bounds.still - (_IDLE_LOOKS - 1) * (_LOOK_SECONDS + _LOOK_TAKES) if looks else end
        while (now := time.monotonic()) < end and idle_looks < _IDLE_LOOKS:
            if select.select([connection.sock], [], [], max(0.0, min(until, end) - now))[0]:
                return
            if looks:
                idle_looks = 0 if state_behind(self._target.socket_path).works else idle_looks + 1
                until = time.monotonic() + _LOOK_SECONDS
        raise self._too_slow(method, began)

    def _patience(self, method: str, within: float | None, usual: Patience | None) -> Patience:
        """Return how long to wait for an answer."""
        if self._timeout is not None:
            usual = Patience(self._timeout, self._timeout)
        elif usual is None:
            usual = QUESTION if method == "GET" else _CHANGE
        most = usual.at_work if within is None else within
        at_work = max(_LEAST_SECONDS, min(usual.at_work, most))
        return Patience(min(at_work, usual.still) if self._target.url is None else at_work, at_work)

    def _awaited(self, bounds: Patience) -> str:
        longer = "" if bounds.still == bounds.at_work else f", or {bounds.at_work:g} s while it is at work"
        return f"the daemon at {self._target} to answer, for up to {bounds.still:g} s{longer}"

    @contextmanager
    def _saying_that_it_waits(self, what: str) -> Iterator[None]:
        """In the block, say once that the daemon has not answered yet, when that takes seconds."""
        timer = threading.Timer(_SILENCE_SECONDS, self._say_that_it_waits, [what])
        timer.daemon = True
        if not self._told:
            timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _say_that_it_waits(self, what: str) -> None:
        self._told = True
        self._on_wait(f"waiting for {what}")

    def _too_slow(self, method: str, began: float) -> XdplbError:
        seconds = time.monotonic() - began
        said = f"the daemon at {self._target} did not answer within {seconds:.{0 if seconds >= 1 else 1}f} s"
        may_be_made = "" if method == "GET" else ". A change that was asked for may still be made"
        if self._target.url is not None:
            hint = "is it stopped or busy? Look at its process and its log there; --request-timeout waits longer"
            return TimedOutError(said, hint=hint + may_be_made)
        state = state_behind(self._target.socket_path)
        return TimedOutError(f"{said}: {state.words}", hint=state.hint + may_be_made)

    def _unreachable(self, error: Exception) -> XdplbError:
        if isinstance(error, PermissionError):
            return XdplbError(
                f"you may not open {self._target}", hint="use sudo, or join the group that owns the socket"
            )
        if isinstance(error, http.client.HTTPException):
            return DaemonDownError(
                f"the daemon at {self._target} closed the connection before the answer was complete",
                hint="is it still running? xdplb status",
            )
        if isinstance(error, (FileNotFoundError, ConnectionRefusedError, ConnectionResetError)):
            return self._not_listening()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return DaemonDownError(f"cannot reach the daemon at {self._target}: {reason}", hint="check --socket or --url")

    def _not_listening(self) -> DaemonDownError:
        state = state_without_socket(self._target.socket_path) if self._target.url is None else None
        if state is not None:
            return DaemonDownError(f"nothing listens on {self._target} now: {state.words}", hint=state.hint)
        return DaemonDownError(
            f"the daemon is not running: nothing listens on {self._target}",
            hint="start it with: sudo xdplb up IFACE; if it listens elsewhere, give --socket or --url",
        )


def _made(method: str, path: str, body: object, headers: Mapping[str, str]) -> _Request:
    """Return a request; one that changes something has a key of its own, unless it has one already."""
    told = {_CLIENT_HEADER: f"xdplb/{xdplb.__version__}", **headers}
    if method != "GET":
        told.setdefault(_KEY_HEADER, f'"{uuid.uuid4()}"')
    content = None
    if body is not None:
        content = json.dumps(body).encode()
        told["Content-Type"] = "application/json"
    return _Request(method, path, told, content)


def _is_closed(connection: http.client.HTTPConnection) -> bool:
    """Return whether the daemon has closed a connection that waits for the next request."""
    return bool(select.select([connection.sock], [], [], 0)[0])
