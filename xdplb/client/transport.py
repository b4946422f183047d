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
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypedDict

import xdplb
from xdplb.model.errors import XdplbError
from xdplb.model.numbers import whole_of

from .answer import Answer
from .errors import BusyError, DaemonDownError, StillRunningError, TimedOutError, from_problem
from .target import Target

__all__ = ["How", "Transport"]

_CHUNK_BYTES = 1 << 16
_SILENCE_SECONDS = 2.5  # nobody wonders for so long what a command does
_PATIENCE_SECONDS = 20.0
_PATIENCE_WITH_CHANGES_SECONDS = 60.0  # a change may need another program, which takes seconds to compile
PATIENCE_WITH_COMPILER_SECONDS = 240.0
"""For an answer that always waits for a program to be compiled, which may take minutes on a slow host."""
_LEAST_SECONDS = 0.1
_CLIENT_HEADER = "Xdplb-Client"  # no web page can send it to another site: the daemon asks for it where it acts
_KEY_HEADER = "Idempotency-Key"
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0


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


class _BrokenError(Exception):
    """The connection broke before the answer was complete: the daemon may have got the request, or not."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class Transport:
    """Sends requests to one daemon, over a connection that is kept for the next one. For one thread at a time.

    `timeout` is how long to wait for an answer, in seconds; None: longer for a change than for a question. `retries` is
    how often a request is repeated if the connection breaks or the daemon is too busy. `on_wait` gets one message, the
    first time that an answer takes seconds.
    """

    def __init__(self, target: Target, timeout: float | None, retries: int, on_wait: Callable[[str], None]) -> None:
        self._target, self._timeout, self._retries, self._on_wait = target, timeout, retries, on_wait
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
        usual: float | None = None,
    ) -> Answer[Any]:
        """Send one request and return its 2xx answer.

        Waits for it as long as the user says, else for `usual` seconds, and for `within` seconds at most.

        Raises DaemonDownError if no daemon listens, TimedOutError if it does not answer in time, and for any other
        status the error that its problem describes.
        """
        request = _made(method, path, body, {"Accept": "application/json", **(headers or {})})
        seconds = self._seconds(method, within, usual)
        end = time.monotonic() + seconds
        left, pause = self._retries, _FIRST_PAUSE_SECONDS
        with self._saying_that_it_waits(seconds):
            while True:
                is_last = time.monotonic() + pause >= end
                try:
                    return self._exchange(request, max(_LEAST_SECONDS, end - time.monotonic()), seconds)
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
        usual: float | None = None,
        silence: float | None = None,
    ) -> Iterator[Iterator[bytes]]:
        """GET `path`, whose answer has no fixed end, and yield its body as it comes; its begin is waited for as usual.

        After that it may be silent for `silence` seconds, None: for as long as it likes.

        Raises as `request` does, and DaemonDownError if the body breaks off.
        """
        request, seconds = (
            _made("GET", path, None, {"Accept": "*/*", **(headers or {})}),
            self._seconds("GET", None, usual),
        )
        connection = self._target.connection(seconds)
        try:
            with self._saying_that_it_waits(seconds):
                response = self._send(connection, request, seconds)
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

    def _exchange(self, request: _Request, seconds: float, patience: float) -> Answer[Any]:
        """Send a request once and return its answer. Raises _BrokenError if it may be sent again."""
        connection, self._kept = self._kept, None
        if connection is not None and connection.sock is not None and not _is_closed(connection):
            connection.sock.settimeout(seconds)
        else:
            if connection is not None:
                connection.close()
            connection = self._target.connection(seconds)
        keep = False
        try:
            response = self._send(connection, request, patience)
            content = response.read()
            keep = not response.will_close
        except TimeoutError:
            raise self._too_slow(request.method, patience) from None
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
        self, connection: http.client.HTTPConnection, request: _Request, patience: float
    ) -> http.client.HTTPResponse:
        """Send a request and return its answer, with the body not read yet.

        Raises DaemonDownError if nothing listens, _BrokenError if the connection breaks.
        """
        headers = {**request.headers, **self._target.headers()}
        try:
            if connection.sock is None:
                connection.connect()
        except TimeoutError:
            raise self._too_slow(request.method, patience) from None
        except OSError as error:
            raise self._unreachable(error) from None
        try:
            connection.request(request.method, self._target.prefix + request.path, request.content, headers)
            return connection.getresponse()
        except TimeoutError:
            raise self._too_slow(request.method, patience) from None
        except (OSError, http.client.HTTPException) as error:
            raise _BrokenError(error) from None

    def _seconds(self, method: str, within: float | None, usual: float | None) -> float:
        """Return how long to wait for an answer."""
        if usual is None:
            usual = _PATIENCE_SECONDS if method == "GET" else _PATIENCE_WITH_CHANGES_SECONDS
        patience = usual if self._timeout is None else self._timeout
        return max(_LEAST_SECONDS, patience if within is None else min(within, patience))

    @contextmanager
    def _saying_that_it_waits(self, seconds: float) -> Iterator[None]:
        """In the block, say once that the daemon has not answered yet, when that takes seconds."""
        timer = threading.Timer(_SILENCE_SECONDS, self._say_that_it_waits, [seconds])
        timer.daemon = True
        if not self._told and seconds > _SILENCE_SECONDS:
            timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _say_that_it_waits(self, seconds: float) -> None:
        self._told = True
        self._on_wait(f"waiting for the daemon at {self._target} to answer, for up to {seconds:g} s")

    def _too_slow(self, method: str, seconds: float) -> XdplbError:
        may_be_made = "" if method == "GET" else ". A change that was asked for may still be made"
        return TimedOutError(
            f"the daemon at {self._target} did not answer within {seconds:g} s",
            hint="is it stopped or busy? Look at its process and its log (journalctl -u xdplb); --request-timeout waits"
            f" longer{may_be_made}",
        )

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
            return DaemonDownError(
                f"the daemon is not running: nothing listens on {self._target}",
                hint="start it with: sudo xdplb up IFACE; if it listens elsewhere, give --socket or --url",
            )
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return DaemonDownError(f"cannot reach the daemon at {self._target}: {reason}", hint="check --socket or --url")


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
