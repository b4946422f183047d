# SPDX-License-Identifier: Apache-2.0
"""dns checks: what is asked, what counts as an answer, and what a hostile server may send."""

from __future__ import annotations

import contextlib
import os
import random
import struct
import time
from dataclasses import replace

import pytest

from tests.unit.control.probe_servers import datagrams, result_of, stream, words
from xdplb.control.health.probes.dns_message import DnsError, query, read_reply
from xdplb.model.health import CheckType, HealthCheck

DNS = HealthCheck(type=CheckType.DNS, query_name="www.example.com", query_type="A", timeout_seconds=0.5)
POINTER = b"\xc0\x0c"


def record(kind: int, data: bytes, name: bytes = POINTER) -> bytes:
    return name + struct.pack("!HHIH", kind, 1, 60, len(data)) + data


def reply(asked: bytes, *records: bytes, flags: int = 0x8180, count: int | None = None) -> bytes:
    head = struct.pack("!HHHHH", flags, 1, len(records) if count is None else count, 0, 0)
    return asked[:2] + head + asked[12:] + b"".join(records)


A = record(1, bytes([192, 0, 2, 7]))


def test_the_rcode_decides_where_no_answer_is_expected() -> None:
    with datagrams(lambda asked: [reply(asked, A)]) as port:
        assert words(result_of(DNS, port)) == (True, "NOERROR for www.example.com A: 192.0.2.7")
        assert words(result_of(replace(DNS, expect_rcode="REFUSED"), port)) == (
            False,
            "NOERROR for www.example.com A, expected REFUSED",
        )
    with datagrams(lambda asked: [reply(asked, flags=0x8185)]) as port:
        assert words(result_of(DNS, port)) == (False, "REFUSED for www.example.com A, expected NOERROR")
        assert result_of(replace(DNS, expect_rcode="REFUSED"), port).passed


NAME = b"\x04mail\xc0\x10"


@pytest.mark.parametrize(
    ("kind", "number", "data", "expected"),
    [
        ("A", 1, bytes([192, 0, 2, 7]), "192.0.2.7"),
        ("AAAA", 28, bytes(15) + b"\x01", "::1"),
        ("CNAME", 5, NAME, "mail.example.com"),
        ("NS", 2, NAME, "MAIL.example.com."),
        ("MX", 15, b"\x00\x0a" + NAME, "10 mail.example.com."),
        ("SRV", 33, b"\x00\x01\x00\x02\x1f\x90" + NAME, "1 2 8080 mail.example.com."),
        ("TXT", 16, b"\x03one\x04 two", "one two"),
        ("SOA", 6, NAME + NAME + struct.pack("!5I", 1, 2, 3, 4, 5), "mail.example.com. mail.example.com. 1 2 3 4 5"),
    ],
)
def test_answers_as_dig_shows_them(kind: str, number: int, data: bytes, expected: str) -> None:
    with datagrams(lambda asked: [reply(asked, record(16, b"\x00"), record(number, data))]) as port:
        result = result_of(replace(DNS, query_type=kind, expect_answer=expected), port)
    assert result.passed, result.reason


def test_another_answer_is_told() -> None:
    with datagrams(lambda asked: [reply(asked, A)]) as port:
        assert words(result_of(replace(DNS, expect_answer="192.0.2.8"), port)) == (
            False,
            "192.0.2.7 for www.example.com A, expected 192.0.2.8",
        )
    with datagrams(lambda asked: [reply(asked)]) as port:
        found = words(result_of(replace(DNS, expect_answer="192.0.2.8"), port))
    assert found == (False, "no such record for www.example.com A, expected 192.0.2.8")


@pytest.mark.parametrize("split", [False, True])
def test_an_answer_that_is_cut_is_asked_for_over_tcp(split: bool) -> None:
    def over_tcp(client: object) -> None:
        asked = client.recv(1000)[2:]  # type: ignore[attr-defined]
        whole = reply(asked, A)
        data = len(whole).to_bytes(2) + whole
        for piece in (data[:1], data[1:20], data[20:]) if split else (data,):
            client.sendall(piece)  # type: ignore[attr-defined]
            time.sleep(0.02)

    with stream(over_tcp) as port, datagrams(lambda asked: [reply(asked, flags=0x8380)], port):
        assert words(result_of(replace(DNS, expect_answer="192.0.2.7"), port))[0]


def test_a_cut_answer_without_tcp_is_a_failure() -> None:
    with datagrams(lambda asked: [reply(asked, flags=0x8380)]) as port:
        assert words(result_of(DNS, port)) == (
            False,
            "its answer in a datagram was cut, and over TCP: connection refused",
        )


def test_an_answer_to_another_query_is_none() -> None:
    with datagrams(lambda asked: [b"xx" + reply(asked, A)[2:]]) as port:
        assert words(result_of(DNS, port))[1] == "only messages came that answer another query"
    with datagrams(lambda asked: [b"xx" + reply(asked, A)[2:], reply(asked, A)]) as port:
        assert result_of(DNS, port).passed


@pytest.mark.parametrize(
    "broken",
    [
        lambda asked: b"x",
        lambda asked: reply(asked, A, count=9),
        lambda asked: reply(asked, record(1, b"abcd", POINTER)[:-2]),
        lambda asked: reply(asked, record(5, b"\xc0\x2d")),  # a name that points to itself
        lambda asked: reply(asked, record(5, b"\x3f" * 64)),
        lambda asked: reply(asked[:12] + b"\x03abc\x00\x00\x01\x00\x01", A),
    ],
)
def test_a_malformed_answer_is_a_failure(broken: object) -> None:
    with datagrams(lambda asked: [broken(asked)]) as port:  # type: ignore[operator]
        for kind in ("A", "CNAME", "ANY"):
            result = result_of(replace(DNS, query_type=kind, timeout_seconds=0.2), port)
            assert result.passed in {False, True}
            assert kind != "ANY" or result.passed is False
            assert "not run" not in result.reason


def test_no_message_breaks_the_reader() -> None:
    rng = random.Random(7)
    asked = b"\x12\x34" + query("www.example.com", "ANY")
    whole = reply(asked, A, record(6, NAME + NAME + bytes(20)), record(16, b"\x03one"))
    for _ in range(3000):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        with contextlib.suppress(DnsError):
            read_reply(bytes(data[: rng.randrange(len(data) + 1)]), asked, "ANY")
    with pytest.raises(DnsError):
        read_reply(os.urandom(5), asked, "ANY")


def test_a_huge_answer_takes_no_more_than_a_moment() -> None:
    asked = b"\x12\x34" + query("www.example.com", "A")
    data = reply(asked, A * 4000, count=4000)
    began = time.thread_time()
    found = read_reply(data, asked, "A")
    assert time.thread_time() - began < 0.01
    assert found is not None
    assert len(found.answers) == 64
