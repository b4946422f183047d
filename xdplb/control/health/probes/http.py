# SPDX-License-Identifier: Apache-2.0
"""The talk of http and https checks: one request, and an answer with an expected status and body."""

from __future__ import annotations

from functools import lru_cache

from xdplb.control.health.probes.aim import Aim
from xdplb.control.health.probes.answer import Answer, request
from xdplb.control.health.probes.result import Finding, quoted
from xdplb.model.health import HealthCheck, accepted_statuses
from xdplb.model.printable import printable
from xdplb.model.regex import Regex, compiled

__all__ = ["Http"]

_MOST_BODY_BYTES = 65536
_LONGEST_LOCATION = 200


class Http:
    """A talk of one request. The server is asked to close after its answer."""

    __slots__ = ("_answer", "_check", "_expected", "_wanted", "opening")

    at_once = None
    leaves_to_peer = True

    def __init__(self, aim: Aim) -> None:
        check = self._check = aim.check
        assert check.method is not None
        assert check.path is not None
        assert check.expect_status is not None
        self._expected = check.expect_status
        self._wanted = _wanted(check)
        self._answer = Answer(check.method, _MOST_BODY_BYTES if self._wanted is not None else 0)
        self.opening = request(check.method, check.path, check.host or aim.called, check.headers or ())

    @property
    def asks(self) -> str:
        """The request, for people."""
        return f"{self._check.method} {self._check.path}"

    @property
    def is_complete(self) -> bool:
        """Whether nothing more belongs to the answer."""
        return self._answer.is_complete

    def take(self, data: bytes) -> Finding | None:
        """Judge the answer as far as it has come."""
        answer = self._answer
        answer.take(data)
        if answer.error:
            return Finding(passed=False, reason=answer.error)
        if answer.status is None:
            return None
        if answer.status not in accepted_statuses(self._expected):
            return Finding(passed=False, reason=self._other_status())
        if self._wanted is None:
            return Finding(passed=True, reason=f"status {answer.status}")
        return self._judge_body()

    def ended(self) -> Finding:
        """Judge what came before the server closed."""
        answer = self._answer
        if answer.status is None:
            return Finding(passed=False, reason="connection closed without an answer")
        answer.end()
        return self._judge_body() or Finding(passed=False, reason=self._without("before it closed the connection"))

    def silent(self, seconds: float) -> Finding:
        """Return what was missing at the timeout."""
        if self._answer.status is None:
            return Finding(passed=False, reason=f"no answer in {seconds:g} s")
        return Finding(passed=False, reason=self._without(f"in {seconds:g} s"))

    def _judge_body(self) -> Finding | None:
        answer, wanted = self._answer, self._wanted
        assert wanted is not None
        is_whole = answer.is_complete or len(answer.body) >= _MOST_BODY_BYTES
        if wanted.is_in(answer.body, answer.new_from, is_whole=is_whole):
            return Finding(passed=True, reason=f"status {answer.status}, and {wanted.words} is in its body")
        if is_whole:
            cut = "" if answer.is_complete else f"the first {_MOST_BODY_BYTES >> 10} KiB of "
            return Finding(passed=False, reason=self._without(f"in {cut}its body"))
        return None

    def _without(self, where: str) -> str:
        begins = f", which begins {quoted(bytes(self._answer.body[:200]))}" if self._answer.body else ""
        words = "" if self._wanted is None else f"without {self._wanted.words} "
        return f"status {self._answer.status}, {words}{where}{begins}"

    def _other_status(self) -> str:
        status, expected = self._answer.status, self._expected
        if location := self._answer.location:
            to = printable(location.decode("utf-8", "backslashreplace"), _LONGEST_LOCATION)
            return f"status {status} to {to}, not followed; expected {' or '.join(map(str, expected))}"
        return f"status {status}, expected {' or '.join(map(str, expected))}"


class _Body:
    """What a body must have: a text, a match of a regular expression, or both."""

    def __init__(self, text: str | None, regex: str | None) -> None:
        self._text = None if text is None else text.encode()
        self._regex: Regex | None = None if regex is None else compiled(regex)
        texts = [] if self._text is None else [quoted(self._text)]
        self.words = " and ".join([*texts, *([] if regex is None else [f"a match of {quoted(regex.encode())}"])])

    def is_in(self, body: bytearray, new_from: int, *, is_whole: bool) -> bool:
        """Return whether it is in `body`, of which all before `new_from` was looked through.

        A regular expression is looked for only once the body is whole, since more of it may change what matches.
        """
        if self._regex is None:
            assert self._text is not None
            return body.find(self._text, max(0, new_from - len(self._text) + 1)) >= 0
        has_text = self._text is None or self._text in body
        return is_whole and has_text and self._regex.search(bytes(body)) is not None


_body_of = lru_cache(maxsize=4096)(_Body)


def _wanted(check: HealthCheck) -> _Body | None:
    if check.expect_body is None and check.expect_body_regex is None:
        return None
    return _body_of(check.expect_body, check.expect_body_regex)
