"""The client: one daemon, and what can be asked of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Self
from urllib.parse import urlencode

from .answer import Answer
from .target import DEFAULT_SOCKET, Target
from .transport import Transport

__all__ = ["Client"]


class Client:
    """One daemon: that at `url` (`https://lb1.example.net:8443`), else the one at the Unix socket.

    `token_file` has the token to show, `ca_file` the authorities that may have signed the daemon's certificate (by
    default those of this host), `cert_file` and `key_file` the client's own certificate. All are PEM files, but for the
    token's.

    `timeout` is how long to wait for an answer, in seconds; None: 20 for a question, 60 for a change. `retries` is how
    often a request is repeated after a broken connection or a 503 that says `busy`. `on_wait` gets one message, the
    first time that an answer takes seconds.

    The connection is kept for the next request. Use a client in one thread at a time.
    """

    def __init__(
        self,
        *,
        socket_path: str = DEFAULT_SOCKET,
        url: str | None = None,
        token_file: str | None = None,
        ca_file: str | None = None,
        cert_file: str | None = None,
        key_file: str | None = None,
        timeout: float | None = None,
        retries: int = 3,
        on_wait: Callable[[str], None] = lambda _message: None,
    ) -> None:
        target = Target(socket_path, url, token_file, ca_file, cert_file, key_file)
        self._transport = Transport(target, timeout, retries, on_wait)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection that is kept for the next request."""
        self._transport.close()

    def get(self, path: str, *, within: float | None = None) -> Answer[Any]:
        """GET `path`, and wait for the answer for `within` seconds at most. Raises as `request` does."""
        return self.request("GET", path, within=within)

    def change(
        self, method: str, path: str, body: object = None, *, dry_run: bool = False, if_generation: int | None = None
    ) -> Answer[Any]:
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
    ) -> Answer[Any]:
        """Send one request and return its 2xx answer, waiting for `within` seconds at most.

        Raises DaemonDownError if no daemon listens, TimedOutError if it does not answer in time, and for any other
        status the error that its problem describes.
        """
        return self._transport.request(method, path, body, headers, within=within)

    def stream(self, path: str) -> AbstractContextManager[Iterator[bytes]]:
        """GET `path`, whose answer has no fixed end, and yield its body as it comes.

        Raises as `request` does, and DaemonDownError if the body breaks off.
        """
        return self._transport.stream(path)
