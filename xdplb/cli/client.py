"""The client of the API: HTTP/1.1 over the daemon's Unix socket or a URL, with the standard library only."""

from __future__ import annotations

import errno
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import xdplb
from xdplb.model.backend import parse_backend_address
from xdplb.model.errors import InvalidError, XdplbError
from xdplb.model.vip import VipKey

from .failures import DaemonDownError, TimedOutError, from_problem

__all__ = ["DEFAULT_SOCKET", "Answer", "Client", "UnixConnection", "backend_path", "vip_path"]

DEFAULT_SOCKET = "/run/xdplb/api.sock"
_CHUNK_BYTES = 1 << 16
_SILENCE_SECONDS = 2.5  # nobody wonders for so long what a command does
_PATIENCE_SECONDS = 20.0
_PATIENCE_WITH_CHANGES_SECONDS = 60.0  # a change may need another program, which takes seconds to compile
_LEAST_SECONDS = 0.1
_CONNECT_AGAIN_SECONDS = 0.05
_CLIENT_HEADER = "Xdplb-Client"  # no web page can send it to another site: the daemon asks for it where it acts


@dataclass(frozen=True, slots=True)
class Answer:
    """A 2xx answer: its status, its body as received, and the generation in its ETag (None if it has none).

    `warnings` are what may have been overlooked in the change that it answers, a sentence each.
    """

    status: int
    body: bytes
    generation: int | None = None
    warnings: tuple[str, ...] = ()

    def json(self) -> Any:
        """Return the decoded body, None if it is empty."""
        return json.loads(self.body) if self.body else None


class Client:
    """One daemon. Each request uses a new connection, so that a restart of the daemon in between is no error.

    `timeout` is how long to wait for an answer, in seconds; None: longer for a change than for a question. `on_wait`
    gets one message, the first time that an answer takes seconds.
    """

    def __init__(
        self,
        *,
        socket_path: str = DEFAULT_SOCKET,
        url: str | None = None,
        token: str | None = None,
        timeout: float | None = None,
        on_wait: Callable[[str], None] = lambda _message: None,
    ) -> None:
        self._socket_path = socket_path
        self._url = url
        self._token = token
        self._timeout = timeout
        self._on_wait = on_wait
        self._told = False

    def get(self, path: str, *, within: float | None = None) -> Answer:
        """GET `path`, and wait for the answer for `within` seconds at most. Raises as `request` does."""
        return self.request("GET", path, within=within)

    def change(
        self, method: str, path: str, body: object = None, *, dry_run: bool = False, if_generation: int | None = None
    ) -> Answer:
        """Request a change, or with `dry_run` only a report of what it would change."""
        headers = {} if if_generation is None else {"If-Match": f'"{if_generation}"'}
        query = "?" + urlencode({"dry_run": "true"}) if dry_run else ""
        return self.request(method, path + query, body, headers)

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        within: float | None = None,
    ) -> Answer:
        """Send one request and return its 2xx answer, waiting for `within` seconds at most.

        Raises DaemonDownError if no daemon listens, TimedOutError if it does not answer in time, and for any other
        status the error that its problem describes.
        """
        seconds = self._seconds(method, within)
        with self._saying_that_it_waits(seconds):
            status, answer_headers, content = self._exchange(method, path, body, dict(headers or {}), seconds)
        if not 200 <= status < 300:
            raise from_problem(status, content)
        tag = (answer_headers.get("ETag") or "").removeprefix("W/").strip('"')
        return Answer(status, content, int(tag) if tag.isdigit() else None, _warnings(answer_headers))

    @contextmanager
    def stream(self, path: str) -> Iterator[Iterator[bytes]]:
        """GET `path`, whose answer has no fixed end, and yield its body as it comes.

        Raises as `request` does, and DaemonDownError if the body breaks off.
        """
        seconds = self._seconds("GET", None)
        with self._saying_that_it_waits(seconds):
            connection, response = self._ask("GET", path, None, {"Accept": "*/*"}, seconds)
        try:
            if response.status != 200:
                raise from_problem(response.status, response.read())
            assert connection.sock is not None, "it has answered"
            connection.sock.settimeout(None)  # there may be no packet for a long time
            yield self._chunks(response)
        finally:
            connection.close()

    def _chunks(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        try:
            while chunk := response.read1(_CHUNK_BYTES):
                yield chunk
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None

    def _exchange(
        self, method: str, path: str, body: object, headers: dict[str, str], seconds: float
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection, response = self._ask(method, path, body, headers | {"Accept": "application/json"}, seconds)
        try:
            return response.status, response.headers, response.read()
        except TimeoutError:
            raise self._too_slow(method, seconds) from None
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None
        finally:
            connection.close()

    def _ask(
        self, method: str, path: str, body: object, headers: dict[str, str], seconds: float
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """Send a request. Return the connection, which the caller closes, and the answer with its body not read yet."""
        headers[_CLIENT_HEADER] = f"xdplb/{xdplb.__version__}"
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        connection, prefix = self._connection(seconds)
        try:
            connection.request(method, prefix + path, content, headers)
            return connection, connection.getresponse()
        except BaseException as error:
            connection.close()
            if isinstance(error, TimeoutError):
                raise self._too_slow(method, seconds) from None
            if isinstance(error, (OSError, http.client.HTTPException)):
                raise self._unreachable(error) from None
            raise

    def _seconds(self, method: str, within: float | None) -> float:
        """Return how long to wait for an answer."""
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
        self._on_wait(f"waiting for the daemon at {self._where()} to answer, for up to {seconds:g} s")

    def _too_slow(self, method: str, seconds: float) -> XdplbError:
        may_be_made = "" if method == "GET" else ". A change that was asked for may still be made"
        return TimedOutError(
            f"the daemon at {self._where()} did not answer within {seconds:g} s",
            hint="is it stopped or busy? Look at its process and its log (journalctl -u xdplb); --request-timeout waits"
            f" longer{may_be_made}",
        )

    def _connection(self, seconds: float) -> tuple[http.client.HTTPConnection, str]:
        if self._url is None:
            return UnixConnection(self._socket_path, seconds), ""
        try:
            parts = urlsplit(self._url)
            host, port = parts.hostname, parts.port
        except ValueError:  # not a port, or an unclosed bracket of IPv6
            host, port = None, None
        if host is None or parts.scheme not in {"http", "https"}:
            raise InvalidError(f"{self._url!r} is not the URL of a daemon", hint="such as --url http://127.0.0.1:8080")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return kind(host, port, timeout=seconds), parts.path.rstrip("/")

    def _where(self) -> str:
        return self._url or self._socket_path

    def _unreachable(self, error: Exception) -> XdplbError:
        if isinstance(error, PermissionError):
            return XdplbError(
                f"you may not open {self._where()}", hint="use sudo, or join the group that owns the socket"
            )
        if isinstance(error, (FileNotFoundError, ConnectionRefusedError, ConnectionResetError)):
            return DaemonDownError(
                f"the daemon is not running: nothing listens on {self._where()}",
                hint="start it with: sudo xdplb up IFACE; if it listens elsewhere, give --socket or --url",
            )
        if isinstance(error, http.client.HTTPException):
            return DaemonDownError(
                f"the daemon at {self._where()} closed the connection before the answer was complete",
                hint="is it still running? xdplb status",
            )
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return DaemonDownError(f"cannot reach the daemon at {self._where()}: {reason}", hint="check --socket or --url")


def _warnings(headers: http.client.HTTPMessage) -> tuple[str, ...]:
    """Return the sentences in the header with warnings; none if it is not as this version writes it."""
    try:
        return tuple(str(warning["detail"]) for warning in json.loads(headers.get("Xdplb-Warnings") or "[]"))
    except (ValueError, TypeError, KeyError):
        return ()


class UnixConnection(http.client.HTTPConnection):
    """http.client over a Unix socket. The host name is only used for the Host header."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket. TimeoutError if its queue stays full, as that of a daemon that hangs."""
        if not Path(self._path).exists():
            raise FileNotFoundError(errno.ENOENT, "no such socket", self._path)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        end = time.monotonic() + (self.timeout or 0)
        while True:
            try:
                self.sock.connect(self._path)
            except BlockingIOError:  # Linux does not wait for room in the queue of a Unix socket that is non-blocking
                if time.monotonic() >= end:
                    raise TimeoutError from None
                time.sleep(_CONNECT_AGAIN_SECONDS)
            else:
                return


def vip_path(vip: str, *more: str) -> str:
    """Return the URL path of a VIP, given by key (`203.0.113.10:443/tcp`) or name, followed by the parts `more`.

    Raises InvalidError if `vip` can be neither.
    """
    is_key = any(sign in vip for sign in ":/.[")  # a name has none of these
    reference = VipKey.parse(vip).path if is_key else vip
    return "/".join(["/v1/vips", quote(reference, safe=":"), *more])


def backend_path(vip: str, address: str, *more: str) -> str:
    """Return the URL path of a backend of `vip`, followed by the parts `more`. InvalidError if it is no address."""
    parse_backend_address(address)
    return vip_path(vip, "backends", quote(address, safe=":"), *more)
