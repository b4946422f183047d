# SPDX-License-Identifier: Apache-2.0
"""What is written wrong is answered with what is wrong, and what to write. No daemon is needed to be told."""

from __future__ import annotations

import pytest

from .cli_harness import Daemon, Told, in_process

VIPS = [
    ("203.0.113.10:80", "the protocol is missing", "write 203.0.113.10:80/tcp or 203.0.113.10:80/udp"),
    ("203.0.113.0/24:80", "the protocol is missing", "write 203.0.113.0/24:80/tcp or"),
    ("203.0.113.10:80-90", "the protocol is missing", "write 203.0.113.10:80-90/tcp or"),
    ("[2001:db8::10]:443", "the protocol is missing", "write [2001:db8::10]:443/tcp or"),
    ("web:80", "the protocol is missing", "write it like 203.0.113.10:443/tcp, [2001:db8::10]:443/tcp"),
    ("tcp/203.0.113.10:80", "the protocol is missing", "write it like 203.0.113.10:443/tcp, [2001:db8::10]:443/tcp"),
    ("203.0.113.10/tcp", "the port is missing", "write it like 203.0.113.10:443/tcp; port 0 stands for all ports"),
    ("203.0.113.10:/tcp", "the port is missing", "write it like 203.0.113.10:443/tcp; port 0 stands for all ports"),
    ("[2001:db8::10]/udp", "the port is missing", "write it like [2001:db8::10]:443/udp"),
    ("203.0.113.10", "port and protocol are missing", "write it like 203.0.113.10:443/tcp"),
    (":443/tcp", "the address is missing", "203.0.113.10:443/tcp"),
    ("443/tcp", "the address is missing", "203.0.113.10:443/tcp"),
    ("2001:db8::10:443/tcp", "an IPv6 address needs brackets", "write it like [2001:db8::10]:443/tcp"),
    ("2001:db8::10/tcp", "an IPv6 address needs brackets", "write it like [2001:db8:"),
    ("2001:db8::10:443", "an IPv6 address needs brackets", "write it like [2001:db8::10]:443/tcp"),
    ("2001:db8:1:2:3:4:5:6/udp", "an IPv6 address needs brackets", "write it like [2001:db8:1:2:3:4:5:6]:443/udp"),
    ("[2001:db8:f::]/64:80/tcp", "length of a prefix stands inside the brackets", "write [2001:db8:f::/64]:80/tcp"),
    ("http://203.0.113.10:8080/x", "it is a URL", "write it like 203.0.113.10:8080/tcp"),
    ("tcp://203.0.113.10", "it is a URL", "write it like 203.0.113.10:443/tcp"),
    ("203.0.113.10:65536/tcp", "'65536' is not a port", "from 1 to 65535, or 0 for all ports"),
    ("203.0.113.10:http/tcp", "'http' is not a port", "from 1 to 65535"),
    ("203.0.113.10:80/sctp", "'sctp' is not a protocol that xdplb balances", "use tcp, udp or tcp+udp"),
    ("www.example.org:80/tcp", "it is a name, and names are not looked up", "getent ahosts www.example.org"),
    ("203.0.113.7/24:80/tcp", "it has bits beyond its length", "the prefix is 203.0.113.0/24"),
    ("[fe80::1%eth0]:80/tcp", "is a link-local address", "global or unique local"),
    ("[::ffff:203.0.113.10]:80/tcp", "is an IPv4-mapped IPv6 address", "give the IPv4 address: 203.0.113.10"),
    ("203.0.113.010:80/tcp", "a number has a leading zero", "write 203.0.113.10"),
    ("127.0.0.1:80/tcp", "is a loopback address", ""),
    ("0.0.0.0:80/tcp", "is the unspecified address", ""),
    ("255.255.255.255:80/tcp", "is the broadcast address", ""),
    ("[ff02::1]:80/tcp", "is a multicast address", ""),
]

BACKENDS = [
    (
        "10.0.0.11:8080",
        "has a port, which is no part of a backend's address",
        "give 10.0.0.11: dr, ipip and gue leave the",
    ),
    (
        "[2001:db8::11]:8080",
        "has a port, which is no part of a backend's address",
        "give 2001:db8::11: dr, ipip and gue",
    ),
    ("[2001:db8::11]", "brackets are only written where a port follows", "write 2001:db8::11"),
    (
        "127.0.0.1",
        "127.0.0.1 is a loopback address: packets to it never leave a host",
        "an address that other hosts can send to",
    ),
    ("127.8.8.8", "is a loopback address", ""),
    ("::1", "is a loopback address", ""),
    ("::ffff:127.0.0.1", "is an IPv4-mapped IPv6 address", "give the IPv4 address: 127.0.0.1"),
    ("224.0.0.1", "is a multicast address", "give an address that one host has"),
    ("255.255.255.255", "is the broadcast address", ""),
    ("0.0.0.0", "is the unspecified address", ""),
    ("::", "is the unspecified address", ""),
    ("fe80::1%eth0", "is a link-local address: no router forwards to it", "global or unique local"),
    ("2001:db8::11%eth0", "has a zone", "leave out the zone: 2001:db8::11"),
    ("backend1.example.org", "it is a name, and names are not looked up", "getent ahosts backend1.example.org"),
    ("backend1", "it is a name", "getent ahosts backend1"),
    ("http://10.0.0.11", "it is a URL", "give only the address: 10.0.0.11"),
    ("http://10.0.0.11:8080/", "it is a URL", "give only the address: 10.0.0.11"),
    ("10.0.0.0/24", "it is a prefix", "give one address"),
    ("10.0.0.7/24", "it is a prefix", "give one address"),
    ("10.0.0.011", "a number has a leading zero", "write 10.0.0.11"),
    (" 10.0.0.11", "it has spaces around it", "write 10.0.0.11"),
    ("10.0.0.256", "'10.0.0.256' is not an IP address", "write it like"),
    ("10.0.0", "is not an IP address", "write it like"),
    ("", "'' is not an IP address", "write it like"),
]


def run(*words: str) -> Told:
    """Run a command where there is no daemon."""
    return in_process("--socket", "/nonexistent/api.sock", *words)


@pytest.mark.parametrize(("text", "why", "hint"), VIPS)
@pytest.mark.parametrize("words", [["vip", "add"], ["vip", "show"]])
def test_a_vip(words: list[str], text: str, why: str, hint: str) -> None:
    told = run(*words, text)
    assert told.returncode == 2
    error, given = told.stderr.splitlines()
    assert error.startswith("xdplb: error: ")
    assert why in error
    assert hint in given


@pytest.mark.parametrize(("text", "why", "hint"), BACKENDS)
@pytest.mark.parametrize("words", [["add"], ["rm"], ["drain"], ["set", "--weight", "2"]])
def test_a_backend(words: list[str], text: str, why: str, hint: str) -> None:
    told = run("backend", words[0], "web", text, *words[1:])
    assert told.returncode == 2
    error, given = told.stderr.splitlines()
    assert error.startswith("xdplb: error: ")
    assert why in error
    assert hint in given


def test_what_is_right_in_another_spelling_is_taken(daemon: Daemon) -> None:
    daemon.ok("vip", "add", "203.0.113.10:443/TCP")
    assert "already exists" in daemon.ok("vip", "add", "203.0.113.10:443:tcp").stderr
    daemon.ok("vip", "add", "[2001:DB8::10]:0/Udp", "--forward", "ipip")
    daemon.ok("backend", "add", "203.0.113.10:443/tcp", "10.0.0.11")
    told = daemon.run("backend", "add", "203.0.113.10:443/tcp", "203.0.113.10")
    assert (told.returncode, "the VIP itself" in told.stderr) == (2, True)
