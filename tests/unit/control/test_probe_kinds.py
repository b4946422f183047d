# SPDX-License-Identifier: Apache-2.0
"""tcp with texts, udp, icmp and agent checks, with real sockets on loopback."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from ipaddress import ip_address

import pytest

from tests.probing import probe
from tests.unit.control.probe_servers import answering, datagrams, result_of, stream, words
from xdplb.control.health.probes.agent import read_line
from xdplb.control.health.probes.result import AdminWord, AgentWord
from xdplb.control.plan.sources import Source
from xdplb.model.health import CheckType, HealthCheck

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs raw sockets or another network namespace")
TCP = HealthCheck(timeout_seconds=0.4)
UDP = HealthCheck(type=CheckType.UDP, timeout_seconds=0.4)


@pytest.mark.parametrize(
    ("answer", "passed", "reason"),
    [
        (b"+PONG\r\n", True, r"answered '+PONG\r\n'"),
        (b"-LOADING\r\n", False, r"answered '-LOADING\r\n' before it closed the connection, expected '+PONG'"),
        (b"", False, "connected, but it answered nothing before it closed the connection"),
        (bytes(70_000), False, "in its first 64 KiB, expected '+PONG'"),
    ],
)
def test_tcp_sends_and_expects(answer: bytes, passed: bool, reason: str) -> None:
    heard: list[bytes] = []
    with stream(answering(answer, heard)) as port:
        found = words(result_of(replace(TCP, send="PING\r\n", expect="+PONG"), port))
    assert heard == [b"PING\r\n"]
    assert found[0] is passed
    assert reason in found[1]


def test_tcp_expects_a_banner_without_sending() -> None:
    with stream(lambda client: client.sendall(b"220 mail ESMTP\r\n")) as port:
        assert words(result_of(replace(TCP, expect="220"), port)) == (True, r"answered '220 mail ESMTP\r\n'")


def test_tcp_that_expects_in_vain_says_what_came() -> None:
    def handle(client: socket.socket) -> None:
        client.sendall(b"\x00\x1b[2J\xff\xfe")
        time.sleep(0.6)

    with stream(handle) as port:
        found = words(result_of(replace(TCP, expect="220"), port))
    assert found == (False, r"answered '\x00\x1b[2J\xff\xfe' in 0.4 s, expected '220'")


def test_what_is_sent_arrives_though_no_answer_is_expected() -> None:
    heard: list[bytes] = []
    with stream(answering(b"", heard)) as port:
        assert result_of(replace(TCP, send="hello\xff"), port).passed
        end = time.monotonic() + 5
        while not heard and time.monotonic() < end:
            time.sleep(0.01)
    assert heard == [b"hello\xff"]


def test_udp_expects_an_answer() -> None:
    with datagrams(lambda data: [b"late", b"pong " + data]) as port:
        assert words(result_of(replace(UDP, send="ping", expect="pong"), port)) == (True, "answered 'pong ping'")
        found = words(result_of(replace(UDP, send="ping", expect="other"), port))
    assert found == (False, "answered 'pong ping', expected 'other'")


def test_udp_silence_is_a_failure_only_if_something_is_expected() -> None:
    with datagrams(lambda data: []) as port:
        assert words(result_of(replace(UDP, send="x", expect="y"), port)) == (False, "no answer in 0.4 s")
        assert words(result_of(replace(UDP, send="x"), port)) == (True, "no ICMP error in 0.4 s")


def test_udp_an_icmp_error_is_a_failure_at_once() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
    result = result_of(replace(UDP, send="x"), port)
    assert words(result) == (False, "an ICMP error says that nothing listens on its port")
    assert result.seconds < 0.2
    assert result.heard


def test_udp_of_a_backend_that_answers_without_end() -> None:
    with datagrams(lambda data: [b"no"] * 2000) as port:
        assert words(result_of(replace(UDP, expect="yes"), port))[1].startswith("answered 'no', expected 'yes'")


@needs_root
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_icmp_pings(host: str) -> None:
    result = result_of(HealthCheck(type=CheckType.ICMP, timeout_seconds=0.5), 80, host)
    assert (result.passed, result.reason) == (True, "answers pings")


@needs_root
@pytest.mark.parametrize(("host", "source"), [("127.0.0.1", "127.0.0.9"), ("::1", "::1")])
def test_a_ping_comes_from_the_source_it_is_given(host: str, source: str) -> None:
    check = HealthCheck(type=CheckType.ICMP, timeout_seconds=0.5)
    for given in (Source(ip_address(source)), Source(ip_address(source), (range(20000, 20100),))):
        assert asyncio.run(probe(check, host, 80, given)).passed


def test_datagrams_come_from_the_source_they_are_given() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        check = replace(UDP, send="x", timeout_seconds=0.05)
        source = Source(ip_address("127.0.0.9"), (range(9, 10),), datagram_ports=(range(20000, 20100),))
        assert asyncio.run(probe(check, "127.0.0.1", server.getsockname()[1], source)).passed
        address, port = server.recvfrom(10)[1]
    assert address == "127.0.0.9"
    assert port in range(20000, 20100)


UNANSWERED = """
import sys
sys.path[:0] = ['.', 'api']
from tests.unit.control.probe_servers import result_of
from xdplb.model.health import CheckType, HealthCheck
print(result_of(HealthCheck(type=CheckType.ICMP, timeout_seconds=0.2), 80, '127.0.0.1').reason)
"""


@needs_root
def test_a_ping_without_an_answer_says_so() -> None:
    """In a network namespace of its own, which answers none."""
    deaf = "echo 1 > /proc/sys/net/ipv4/icmp_echo_ignore_all"
    line = [
        "unshare",
        "-n",
        "sh",
        "-c",
        f'ip link set lo up && {deaf} && exec "$0" -c "$1"',
        sys.executable,
        UNANSWERED,
    ]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.stdout == "no answer to a ping in 0.2 s (asked from 127.0.0.1)\n", done.stderr


PINGS = """
import socket, sys
sys.path[:0] = ['.', 'api']
socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
from tests.unit.control.probe_servers import result_of
from xdplb.model.health import CheckType, HealthCheck
for host in ('127.0.0.1', '::1'):
    assert result_of(HealthCheck(type=CheckType.ICMP, timeout_seconds=0.5), 80, host).reason == 'answers pings'
"""


@needs_root
def test_icmp_over_ping_sockets_where_they_are_allowed() -> None:
    """In a network namespace of its own, where every group may have them."""
    allow = "echo '0 2147483647' > /proc/sys/net/ipv4/ping_group_range"
    line = ["unshare", "-n", "sh", "-c", f'ip link set lo up && {allow} && exec "$0" -c "$1"', sys.executable, PINGS]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("line", "passed", "said", "reason"),
    [
        (b"75%", True, AgentWord(percent=75), "the agent said 75%"),
        (b"up 50% # warm", True, AgentWord(percent=50), "the agent said up 50%: warm"),
        (b"down # database is gone", False, AgentWord(), "the agent said down: database is gone"),
        (b"stopped", False, AgentWord(), "the agent said stopped"),
        (b"fail", False, AgentWord(), "the agent said fail"),
        (b"drain", True, AgentWord(admin=AdminWord.DRAIN), "the agent said drain"),
        (b"maint#upgrade", True, AgentWord(admin=AdminWord.MAINT), "the agent said maint: upgrade"),
        (b"READY,UP,100%", True, AgentWord(percent=100, admin=AdminWord.READY), "the agent said READY,UP,100%"),
        (b"up maxconn:30", True, AgentWord(), "the agent said up maxconn:30: maxconn is not heeded"),
        (b"up sideways", True, AgentWord(), "the agent said up sideways: sideways is no word of agents"),
        (b"999999999% up", True, AgentWord(percent=10_000), "the agent said 999999999% up"),
    ],
)
def test_words_of_agents(line: bytes, passed: bool, said: AgentWord, reason: str) -> None:
    with stream(lambda client: client.sendall(line + b"\r\n")) as port:
        result = result_of(HealthCheck(type=CheckType.AGENT, port=9999, timeout_seconds=0.4), port)
    assert (result.passed, result.said) == (passed, said)
    assert result.reason.startswith(reason)
    assert read_line(line).passed is passed, "as well without the end of the line"


def test_what_is_no_line_of_an_agent_is_a_failure() -> None:
    agent = HealthCheck(type=CheckType.AGENT, port=9999, timeout_seconds=0.4)
    with stream(lambda client: client.sendall(b"\x1b[2Jhello\n")) as port:
        assert words(result_of(agent, port)) == (False, r"the agent said '\x1b[2Jhello', which has no word of agents")
    with stream(lambda client: client.sendall(b"x" * 5000)) as port:
        assert words(result_of(agent, port))[1].startswith("the agent sent no line in 1024 bytes")
    heard: list[bytes] = []
    with stream(answering(b"up\n", heard)) as port:
        assert result_of(replace(agent, send="state\n"), port).passed
    assert heard == [b"state\n"]
