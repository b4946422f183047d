"""The answer to an HTTP request of a probe: its status, and where it ends.

Nearly all answers come in one piece with a plain head. Their status line and length are found with a regular expression
in a few microseconds, where h11 takes a hundred. Whatever else comes is left to h11.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote

import h11

from xdplb.model.printable import printable

__all__ = ["Answer", "request"]

_MAX_HEAD_BYTES = 65536
_LONGEST_WORDS = 200  # of what a backend sent, in a reason
_PATH_AS_WRITTEN = "".join(map(chr, range(0x21, 0x7F)))  # only non-ASCII characters are quoted
_UNTIL_CLOSE = 1 << 62

_PLAIN_HEAD = re.compile(
    rb"HTTP/1\.[01] ([2-9][0-9][0-9])(?: [^\r\n\0]*)?\r\n"
    rb"((?:[-!#$%&'*+.^_`|~0-9A-Za-z]+:[^\r\n\0]*\r\n)*)\r\n"
)
_FRAMING = re.compile(rb"^(content-length|transfer-encoding):[ \t]*([^\r]*?)[ \t]*\r$", re.IGNORECASE | re.MULTILINE)
_MOST_DIGITS = 15


@lru_cache(maxsize=16384)
def request(host: str, port: int, path: str) -> bytes:
    """Return the request that asks for `path`, for one that closes the connection after its answer."""
    return b"".join(filter(None, _ask(h11.Connection(h11.CLIENT), host, port, path)))


def _ask(http: h11.Connection, host: str, port: int, path: str) -> list[bytes | None]:
    name = f"[{host}]" if ":" in host else host
    headers = [("Host", f"{name}:{port}"), ("User-Agent", "xdplb"), ("Accept", "*/*"), ("Connection", "close")]
    asked = h11.Request(method="GET", target=quote(path, safe=_PATH_AS_WRITTEN), headers=headers)
    return [http.send(asked), http.send(h11.EndOfMessage())]


class Answer:
    """An answer as far as it has come. `status` is None until its head has come, `error` says why it is no answer.

    `is_complete`: nothing more belongs to it. One that only ends when the server closes is never complete.
    """

    __slots__ = ("_left", "_parser", "_taken", "error", "is_complete", "status")

    def __init__(self) -> None:
        self.status: int | None = None
        self.error = ""
        self.is_complete = False
        self._taken = self._left = 0
        self._parser: h11.Connection | None = None

    def take(self, data: bytes) -> None:
        """Take what came next, which is not empty."""
        if self.is_complete:
            return
        if self._parser is not None:
            self._parse(data)
        elif self.status is not None:
            self._count(len(data))
        elif (head := _PLAIN_HEAD.match(data)) and (length := _length(int(head[1]), head[2])) is not None:
            self.status, self._left = int(head[1]), length
            self._count(len(data) - head.end())
        else:
            self._parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_BYTES)
            _ask(self._parser, "any", 80, "/")
            self._parse(data)

    def _count(self, size: int) -> None:
        self._left -= size
        self.is_complete = self._left <= 0

    def _parse(self, data: bytes) -> None:
        assert self._parser is not None
        try:
            self._parser.receive_data(data)
            self._follow(self._parser)
        except h11.RemoteProtocolError as error:
            self.is_complete = True  # where what is not HTTP would end is not known
            if self.status is None:
                self.error = f"the answer is not HTTP: {printable(str(error), _LONGEST_WORDS)}"
        self._taken += len(data)
        if self.status is None and not self.error and self._taken > _MAX_HEAD_BYTES:
            # Interim 1xx answers count too: a backend could send them forever.
            self.error = f"no answer in the first {_MAX_HEAD_BYTES >> 10} KiB"

    def _follow(self, parser: h11.Connection) -> None:
        while (event := parser.next_event()) is not h11.NEED_DATA:
            if isinstance(event, h11.Response):
                self.status = event.status_code
            elif not isinstance(event, (h11.InformationalResponse, h11.Data)):
                self.is_complete = True
                return


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
