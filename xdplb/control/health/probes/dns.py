# SPDX-License-Identifier: Apache-2.0
"""dns checks: a query in a datagram, and over TCP where the answer does not fit one."""

from __future__ import annotations

import random
from dataclasses import replace

from xdplb.control.health.probes.aim import Aim
from xdplb.control.health.probes.datagram import DatagramProbe
from xdplb.control.health.probes.dns_message import DnsError, Reply, query, read_reply, same_answer
from xdplb.control.health.probes.probe import Keeper
from xdplb.control.health.probes.result import Finding, OnResult, ProbeResult
from xdplb.control.health.probes.stream import StreamProbe
from xdplb.control.plan.sources import Source
from xdplb.model.health import HealthCheck
from xdplb.model.printable import printable

__all__ = ["DnsProbe"]

_MOST_SHOWN = 3
_LONGEST_ANSWER = 100


class _Question:
    """The talk of a query, in datagrams or, each with its length before it, over a stream."""

    __slots__ = ("_check", "_data", "_kind", "_message", "_odd", "is_cut", "opening")

    at_once = None
    leaves_to_peer = False
    is_complete = True

    def __init__(self, check: HealthCheck, *, in_stream: bool) -> None:
        assert check.query_name is not None
        assert check.query_type is not None
        self._check, self._kind = check, check.query_type
        number = random.getrandbits(16)
        self._message = number.to_bytes(2) + query(check.query_name, self._kind)
        self.opening = len(self._message).to_bytes(2) + self._message if in_stream else self._message
        self._data = bytearray()
        self._odd = ""
        self.is_cut = False
        """The answer did not fit a datagram."""

    @property
    def asks(self) -> str:
        """The query, for people."""
        return f"a query for {self._check.query_name} {self._kind}"

    def take(self, data: bytes) -> Finding | None:
        """Judge a message. One that answers another query may be a late one; it is not the answer."""
        try:
            reply = read_reply(data, self._message, self._kind)
        except DnsError as error:
            self._odd = f"what it answers is not the answer: {error}"
            return Finding(passed=False, reason=self._odd)
        if reply is None:
            self._odd = "only messages came that answer another query"
            return None
        self.is_cut = reply.is_cut
        return self._judge(reply)

    def ended(self) -> Finding:
        """Return that the answer did not come."""
        return Finding(passed=False, reason=self._odd or "connection closed without an answer")

    def silent(self, seconds: float) -> Finding:
        """Return that the answer did not come in time."""
        return Finding(passed=False, reason=self._odd or f"no answer in {seconds:g} s")

    def _judge(self, reply: Reply) -> Finding:
        asked = f"{self._check.query_name} {self._kind}"
        if reply.rcode != self._check.expect_rcode:
            return Finding(passed=False, reason=f"{reply.rcode} for {asked}, expected {self._check.expect_rcode}")
        expected = self._check.expect_answer
        shown = ", ".join(printable(each, _LONGEST_ANSWER) for each in reply.answers[:_MOST_SHOWN])
        if len(reply.answers) > _MOST_SHOWN:
            shown += f" and {len(reply.answers) - _MOST_SHOWN} more"
        if expected is None or any(same_answer(each, expected) for each in reply.answers):
            return Finding(passed=True, reason=f"{reply.rcode} for {asked}{f': {shown}' if shown else ''}")
        got = shown or "no such record"
        return Finding(passed=False, reason=f"{got} for {asked}, expected {printable(expected, _LONGEST_ANSWER)}")


class _StreamQuestion(_Question):
    """The same over a stream."""

    __slots__ = ()

    def __init__(self, check: HealthCheck) -> None:
        super().__init__(check, in_stream=True)

    def take(self, data: bytes) -> Finding | None:
        """Take a piece of the message, which is judged once it is there."""
        self._data += data
        length = int.from_bytes(self._data[:2]) + 2
        if len(self._data) < max(length, 2):
            return None
        return super().take(bytes(self._data[2:length])) or self.ended()


class DnsProbe(DatagramProbe):
    """A query in a datagram; if its answer was cut, the same over TCP in the time that is left."""

    __slots__ = ("_question", "_source", "_stream")

    def __init__(self, aim: Aim, keeper: Keeper, on_result: OnResult) -> None:
        self._question = _Question(aim.check, in_stream=False)
        super().__init__(aim, keeper, on_result, self._question)
        self._stream: StreamProbe | None = None
        self._source = Source()

    def begin(self, source: Source) -> ProbeResult | None:
        """Begin, and send the query."""
        self._source = source
        return super().begin(source)

    def cut(self) -> None:
        """Close both connections."""
        super().cut()
        if self._stream is not None:
            self._stream.cut()

    def _leave(self) -> None:
        super().cut()  # the stream, if there is one, ends as streams do

    def _judged(self, finding: Finding) -> None:
        if not self._question.is_cut:
            self._found(finding)
            return
        if self.aim.steps is not None:
            self._step("answer", "cut to fit a datagram: the same over TCP")
        left = max(0.01, self.aim.check.timeout_seconds - self._seconds())
        super().cut()
        aim = replace(self.aim, check=replace(self.aim.check, timeout_seconds=left))
        self._stream = StreamProbe(aim, self._keeper, self._of_stream, _StreamQuestion(aim.check))
        if (result := self._stream.begin(self._source)) is not None:
            self._of_stream(result)

    def _of_stream(self, result: ProbeResult) -> None:
        words = "its answer in a datagram was cut, and over TCP: " if not result.passed else ""
        self._tell(replace(result, reason=words + result.reason, seconds=self._seconds()))
