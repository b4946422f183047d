# SPDX-License-Identifier: Apache-2.0
"""Which daemon a client talks to, and connections to it: a Unix socket, or a URL with or without TLS."""

from __future__ import annotations

import errno
import http.client
import os
import socket
import ssl
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from xdplb.model.errors import InvalidError, XdplbError

__all__ = ["DEFAULT_SOCKET", "Target", "UnixConnection"]

DEFAULT_SOCKET = "/run/xdplb/api.sock"
_CONNECT_AGAIN_SECONDS = 0.05
_OTHERS = stat.S_IROTH | stat.S_IWOTH
_LONGEST_TOKEN = 4096
_LONGEST_TOKENS = 1 << 20


@dataclass(frozen=True)
class Target:
    """A daemon: at `url` (`http://127.0.0.1:8080`, `https://lb1.example.net:8443`), else at the Unix socket.

    `token_file` has the token that is sent; it is read for each request, so that a renewed one is used. With TLS the
    daemon's certificate must be one of an authority in `ca_file`, by default of this host's; `cert_file` and `key_file`
    are the client's own certificate and its key, if the daemon asks for one. With `token_name`, the token file may have
    tokens of several daemons, each in a line after its name, of which this is the daemon's.
    """

    socket_path: str = DEFAULT_SOCKET
    url: str | None = None
    token_file: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    token_name: str | None = None

    def __str__(self) -> str:
        return self.url or self.socket_path

    def connection(self, seconds: float) -> http.client.HTTPConnection:
        """Return a connection, not opened yet, whose every step may take so many seconds."""
        if self.url is None:
            return UnixConnection(self.socket_path, seconds)
        assert self._parts.hostname is not None, "it is checked"
        if self._is_encrypted:
            context = self._tls
            return http.client.HTTPSConnection(self._parts.hostname, self._parts.port, timeout=seconds, context=context)
        return http.client.HTTPConnection(self._parts.hostname, self._parts.port, timeout=seconds)

    @property
    def prefix(self) -> str:
        """What comes before the paths of the API."""
        return "" if self.url is None else self._parts.path.rstrip("/")

    def headers(self) -> dict[str, str]:
        """Return the headers that say who asks.

        Raises XdplbError if the token file cannot be read, InvalidError if the token would go over a network in clear.
        """
        if not self.token_file:
            return {}
        if self.url is not None and not self._is_encrypted and not _is_loopback(self._parts.hostname or ""):
            raise InvalidError(f"a token is not sent to {self.url} in clear", hint="use https://, or a tunnel to it")
        return {"Authorization": f"Bearer {_token(self.token_file, self.token_name)}"}

    @property
    def _is_encrypted(self) -> bool:
        return self._parts.scheme == "https"

    @cached_property
    def _parts(self) -> SplitResult:
        try:
            parts = urlsplit(self.url or "")
            is_good = bool(parts.hostname) and parts.scheme in {"http", "https"} and (parts.port or 1) > 0
        except ValueError:  # not a port, or an unclosed bracket of IPv6
            is_good = False
        if not is_good:
            raise InvalidError(f"{self.url!r} is not the URL of a daemon", hint="such as --url http://127.0.0.1:8080")
        return parts

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self.ca_file is not None:
            with _readable("the certificates of authorities", self.ca_file):
                context.load_verify_locations(self.ca_file)
        if self.cert_file is not None:
            with _readable("the certificate and its key", self.cert_file):
                context.load_cert_chain(self.cert_file, self.key_file)
        return context


@contextmanager
def _readable(what: str, file: str) -> Iterator[None]:
    """In the block, say what cannot be read."""
    try:
        yield
    except OSError as error:  # an SSLError is one too
        reason = error.strerror if not isinstance(error, ssl.SSLError) else "it is not PEM, or they do not match"
        raise XdplbError(f"cannot read {what} in {file}: {reason}", hint="give PEM files that you may read") from None


def _token(file: str, name: str | None) -> str:
    try:
        with Path(file).open(encoding="utf-8") as opened:
            if os.fstat(opened.fileno()).st_mode & _OTHERS:
                raise XdplbError(f"other users may read or write the token file {file}", hint=f"chmod 0600 {file}")
            text = opened.read(_LONGEST_TOKEN if name is None else _LONGEST_TOKENS).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise XdplbError(f"cannot read the token file {file}: {reason}", hint="check --token-file") from None
    token = text if name is None else _named(text, name)
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise XdplbError(f"there is no token in {file}", hint="it must have one line: the token")
    return token


def _named(text: str, name: str) -> str:
    """Return the token in the line of this name, else the one in a line of its own; "" if there is neither."""
    lines = [line.split() for line in text.splitlines() if not line.startswith("#")]
    tokens = {line[0]: line[1] for line in lines if len(line) == 2}
    alone = next((line[0] for line in lines if len(line) == 1), "")
    return tokens.get(name, alone)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


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
