# SPDX-License-Identifier: Apache-2.0
"""What http checks send and expect."""

from __future__ import annotations

import random
import socket
import time
from dataclasses import replace

import pytest

from tests.unit.control.probe_servers import answering, result_of, stream, words
from xdplb.control.health.probes.aim import Aim
from xdplb.control.health.probes.http import Http
from xdplb.model.health import CheckType, HealthCheck

HTTP = HealthCheck(type=CheckType.HTTP, timeout_seconds=0.5)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready"


def test_method_host_and_headers_are_sent_as_given() -> None:
    check = replace(
        HTTP, method="OPTIONS", path="/up", host="www.example.com:81", headers=(("X-Probe", "1"), ("user-agent", "me"))
    )
    heard: list[bytes] = []
    with stream(answering(OK, heard)) as port:
        assert result_of(check, port).passed
    lines = heard[0].decode().split("\r\n")
    assert lines[:2] == ["OPTIONS /up HTTP/1.1", "Host: www.example.com:81"]
    assert "X-Probe: 1" in lines
    assert [line for line in lines if line.lower().startswith("user-agent")] == ["user-agent: me"]
    assert "Connection: close" in lines


@pytest.mark.parametrize(
    ("status", "expected", "reason"),
    [
        (204, (True, "status 204"), ("200-299",)),
        (300, (False, "status 300, expected 200-299 or 404"), ("200-299", 404)),
        (404, (True, "status 404"), ("200-299", 404)),
    ],
)
def test_statuses_may_be_ranges(status: int, expected: tuple[bool, str], reason: tuple[int | str, ...]) -> None:
    with stream(answering(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)) as port:
        assert words(result_of(replace(HTTP, expect_status=reason), port)) == expected


@pytest.mark.parametrize("chunked", [False, True])
def test_a_redirect_is_not_followed_and_told(chunked: bool) -> None:
    extra = b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" if chunked else b"Content-Length: 0\r\n\r\n"
    answer = b"HTTP/1.1 301 Moved\r\nLocation: https://www.example.com/\x1b[31m\r\n" + extra
    with stream(answering(answer.replace(b"\x1b[31m", b""))) as port:
        passed, reason = words(result_of(HTTP, port))
        assert result_of(replace(HTTP, expect_status=(301,)), port).passed
    assert (passed, reason) == (False, "status 301 to https://www.example.com/, not followed; expected 200")


BODIES = [
    b"Content-Length: 11\r\n\r\nall is well",
    b"\r\nall is well",
    b"Transfer-Encoding: chunked\r\n\r\n4\r\nall \r\n7\r\nis well\r\n0\r\n\r\n",
]


@pytest.mark.parametrize("body", BODIES, ids=["length", "until close", "chunked"])
@pytest.mark.parametrize(
    ("fields", "passed", "reason"),
    [
        ({"expect_body": "is w"}, True, "status 200, and 'is w' is in its body"),
        ({"expect_body_regex": "^all .* well$"}, True, "status 200, and a match of '^all .* well$' is in its body"),
        ({"expect_body": "ill"}, False, "status 200, without 'ill' in its body, which begins 'all is well'"),
        ({"expect_body_regex": "^well"}, False, "status 200, without a match of '^well' in its body, which begins"),
        ({"expect_body": "all", "expect_body_regex": "w.ll"}, True, "status 200, and 'all' and a match of 'w.ll'"),
        ({"expect_body": "all", "expect_body_regex": "nope"}, False, "status 200, without 'all' and a match of 'nope'"),
    ],
)
def test_a_body_is_expected(body: bytes, fields: dict[str, str], passed: bool, reason: str) -> None:
    with stream(answering(b"HTTP/1.1 200 OK\r\n" + body)) as port:
        found = words(result_of(replace(HTTP, **fields), port))  # type: ignore[arg-type]
    assert found[0] is passed
    assert found[1].startswith(reason) or "before it closed" in found[1]


def test_a_text_is_found_where_two_pieces_meet() -> None:
    def slowly(client: socket.socket) -> None:
        client.recv(1000)
        for piece in (b"HTTP/1.1 200 OK\r\n\r\nxx rea", b"dy xx"):
            client.sendall(piece)
            time.sleep(0.05)
        client.recv(10)

    with stream(slowly) as port:
        result = result_of(replace(HTTP, expect_body="ready"), port)
    assert result.passed
    assert result.seconds < 0.4, "it need not wait for the end of the body"


def test_no_more_than_64_kib_of_a_body_are_looked_through() -> None:
    body = bytes(70_000) + b"ready"
    with stream(answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)) as port:
        passed, reason = words(result_of(replace(HTTP, expect_body="ready"), port))
    assert passed is False
    assert "in the first 64 KiB of its body" in reason
    assert len(reason) < 2000


def test_the_answer_to_head_has_no_body() -> None:
    with stream(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")) as port:
        assert result_of(replace(HTTP, method="HEAD"), port).passed


def test_a_head_that_comes_byte_by_byte_ends_at_the_timeout() -> None:
    def drip(client: socket.socket) -> None:
        client.recv(1000)
        for byte in b"HTTP/1.1 200 OK\r\nX: " + bytes(b"x" * 500):
            client.sendall(bytes([byte]))
            time.sleep(0.005)

    with stream(drip) as port:
        result = result_of(HTTP, port)
    assert words(result) == (False, "no answer in 0.5 s")
    assert result.seconds < 0.7


def test_endless_tiny_chunks_cost_no_more_than_a_moment() -> None:
    def pour(client: socket.socket) -> None:
        client.recv(1000)
        client.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            client.sendall(b"1\r\nx\r\n" * 10_000)

    cpu = time.thread_time()
    with stream(pour) as port:
        result = result_of(replace(HTTP, expect_body="ready"), port)
    assert result.passed is False
    assert time.thread_time() - cpu < 0.5


ANSWERS = [
    OK,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nready\r\n0\r\n\r\n",
    b"HTTP/1.1 301 Moved\r\nLocation: http://x/\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
]


def test_whatever_comes_is_judged_in_one_printable_line() -> None:
    rng = random.Random(3)
    checks = [
        HTTP,
        replace(HTTP, method="HEAD"),
        replace(HTTP, expect_body="ready"),
        replace(HTTP, expect_body_regex="r.*y"),
    ]
    for _ in range(4000):
        data = bytearray(rng.choice(ANSWERS))
        for _ in range(rng.randrange(5)):
            at = rng.randrange(len(data))
            data[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(9))
        talk = Http(Aim(rng.choice(checks), "192.0.2.7", 80))
        at, findings = 0, []
        while at < len(data):
            size = rng.randrange(1, len(data) + 1)
            findings.append(talk.take(bytes(data[at : at + size])))
            at += size
        if not any(findings):
            findings += [talk.silent(1.0), talk.ended()]
        for finding in filter(None, findings):
            assert finding.reason.isprintable()
            assert len(finding.reason) < 1000
