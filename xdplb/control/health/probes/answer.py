# SPDX-License-Identifier: Apache-2.0
"""The answer to an HTTP request of a probe: its status, and where it ends.

Nearly all answers come in one piece with a plain head. Their status line and length are found with a regular expression
in a few microseconds, where h11 takes a hundred. Whatever else comes is left to h11.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote

import h11

from xdplb.control.health.probes.result import quoted
from xdplb.model.printable import printable

__all__ = ["Answer", "request"]

_MAX_HEAD_BYTES = 65536
_LONGEST_WORDS = 200  # of what a backend sent, in a reason
_TOO_LONG = 431  # what h11 would answer to a head that is over its limit
_PATH_AS_WRITTEN = "".join(map(chr, range(0x21, 0x7F)))  # only non-ASCII characters are quoted
_UNTIL_CLOSE = 1 << 62

_PLAIN_HEAD = re.compile(
    rb"HTTP/1\.[01] ([2-9][0-9][0-9])(?: [^\r\n\0]*)?\r\n"
    rb"((?:[-!#$%&'*+.^_`|~0-9A-Za-z]+:[^\r\n\0]*\r\n)*)\r\n"
)
_FRAMING = re.compile(rb"^(content-length|transfer-encoding):[ \t]*([^\r]*?)[ \t]*\r$", re.IGNORECASE | re.MULTILINE)
_MOST_DIGITS = 15
_LOCATION = re.compile(rb"^location:[ \t]*([^\r]*?)[ \t]*\r$", re.IGNORECASE | re.MULTILINE)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_PIECES = 2000
"""Of how many pieces an answer is read: each chunk is one, and a server could send chunks of one byte forever."""
_USUAL = (("User-Agent", "xdplb"), ("Accept", "*/*"), ("Connection", "close"))


@lru_cache(maxsize=16384)
def request(method: str, path: str, host: str, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    """Return the request that asks for `path`, for one that closes the connection after its answer."""
    return b"".join(filter(None, _ask(h11.Connection(h11.CLIENT), method, path, host, headers)))


def _ask(
    http: h11.Connection, method: str, path: str, host: str, headers: tuple[tuple[str, str], ...]
) -> list[bytes | None]:
    given = {name.lower() for name, _ in headers}
    all_headers = [("Host", host), *((name, value) for name, value in _USUAL if name.lower() not in given), *headers]
    asked = h11.Request(method=method, target=quote(path, safe=_PATH_AS_WRITTEN), headers=all_headers)
    return [http.send(asked), http.send(h11.EndOfMessage())]


class Answer:
    """An answer as far as it has come. `status` is None until its head has come, `error` says why it is no answer.

    `body` has no more than `most_body` bytes, of which those from `new_from` on came last. `location` is where a
    redirect points to. `is_complete`: nothing more belongs to it. One that only ends when the server closes is complete
    when that happens.
    """

    __slots__ = (
        "_left",
        "_method",
        "_most",
        "_parsed",
        "_parser",
        "_taken",
        "body",
        "error",
        "is_complete",
        "location",
        "new_from",
        "status",
    )

    def __init__(self, method: str, most_body: int) -> None:
        self.status: int | None = None
        self.error = ""
        self.is_complete = False
        self.body = bytearray()
        self.new_from = 0
        self.location = b""
        self._method, self._most = method, most_body
        self._taken = self._left = self._parsed = 0
        self._parser: h11.Connection | None = None

    def take(self, data: bytes) -> None:
        """Take what came next, which is not empty."""
        if self.is_complete:
            return
        self.new_from = len(self.body)
        if self._parser is not None:
            self._parse(data)
        elif self.status is not None:
            self._keep(data)
        elif (head := _PLAIN_HEAD.match(data)) and (length := _length(int(head[1]), head[2])) is not None:
            self.status, self._left = int(head[1]), 0 if self._method == "HEAD" else length
            if self.status in _REDIRECTS:
                found = _LOCATION.search(head[2])
                self.location = found[1] if found else b""
            self._keep(data[head.end() :])
        else:
            self._parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_BYTES)
            _ask(self._parser, self._method, "/", "any", ())
            self._parse(data)

    def end(self) -> None:
        """Take note that the server has closed the connection."""
        self.is_complete = True
        self.new_from = len(self.body)

    def _keep(self, data: bytes) -> None:
        """Take a piece of the body."""
        if self._most:
            self.body += data[: self._most - len(self.body)]
        self._left -= len(data)
        self.is_complete = self._left <= 0

    def _parse(self, data: bytes) -> None:
        assert self._parser is not None
        try:
            self._parser.receive_data(data)
            self._follow(self._parser)
        except h11.RemoteProtocolError as error:
            self.is_complete = True  # where what is not HTTP would end is not known
            if self.status is None:
                self.error = _fault(error, b"" if self._taken else data)
        self._taken += len(data)
        if self.status is None and not self.error and self._taken > _MAX_HEAD_BYTES:
            # Interim 1xx answers count too: a backend could send them forever.
            self.error = f"no answer in the first {_MAX_HEAD_BYTES >> 10} KiB"

    def _follow(self, parser: h11.Connection) -> None:
        while (event := parser.next_event()) is not h11.NEED_DATA:
            self._parsed += 1
            if isinstance(event, h11.Response):
                self.status = event.status_code
                if self.status in _REDIRECTS:
                    self.location = next((value for name, value in event.headers if name == b"location"), b"")
            elif isinstance(event, h11.Data):
                if self._most:
                    self.body += event.data[: self._most - len(self.body)]
                if self._parsed > _MOST_PIECES:
                    self.is_complete = True
                    return
            elif not isinstance(event, h11.InformationalResponse):
                self.is_complete = True
                return


def _fault(error: h11.RemoteProtocolError, beginning: bytes) -> str:
    """Return why what was sent is no answer, and how it begins if that is known."""
    if error.error_status_hint == _TOO_LONG:
        return f"the head of its answer is longer than {_MAX_HEAD_BYTES >> 10} KiB"
    what = str(error).partition(": bytearray(")[0]
    begins = f"; it begins {quoted(beginning)}" if beginning else ""
    return f"the answer is not HTTP: {printable(what, _LONGEST_WORDS)}{begins}"


def _length(status: int, headers: bytes) -> int | None:
    """Return how long the body is that follows such a head, None if the head does not say it in a simple way."""
    if status in (204, 304):
        return 0
    framing = _FRAMING.findall(headers)
    if not framing:
        return _UNTIL_CLOSE
    name, value = framing[0]
    is_plain = (
        len(framing) == 1 and name.lower() == b"content-length" and value.isdigit() and len(value) <= _MOST_DIGITS
    )
    return int(value) if is_plain else None
