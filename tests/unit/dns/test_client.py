# SPDX-License-Identifier: Apache-2.0
"""What is read of a name that changes meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

from tests.name_server import NameServer, key_file
from xdplb.dns.client import talk
from xdplb.dns.key_file import read_key
from xdplb.dns.records import Claim, Found

NAME = "www.example.test"
ADDRESS = IPv4Address("203.0.113.10")
CLAIM = Claim.make("n1", ADDRESS, 30)


def read(folder: Path, server: NameServer) -> Found:
    async def scenario() -> Found:
        async with server.serving(), talk(server.place(NAME), read_key(Path(key_file(folder)))) as conversation:
            return await conversation.read()

    return asyncio.run(scenario())


def once_after(reads: int, server: NameServer, change: Callable[[], None]) -> None:
    def after() -> None:
        if server.reads == reads:
            change()

    server.after_read = after


def _enter(server: NameServer) -> None:
    server.put(NAME, "A", str(ADDRESS))
    server.put(f"_xdplb.{NAME}", "TXT", CLAIM.text)


def _leave(server: NameServer) -> None:
    server.remove(NAME, "A")
    server.remove(f"_xdplb.{NAME}", "TXT")


def test_an_address_that_another_node_enters_meanwhile_has_its_claim(tmp_path: Path) -> None:
    server = NameServer()
    server.hangs = False
    once_after(1, server, lambda: _enter(server))
    found = read(tmp_path, server)
    assert found.has(ADDRESS)
    assert found.claims == {CLAIM}


def test_a_claim_that_another_node_takes_away_meanwhile_goes_with_its_address(tmp_path: Path) -> None:
    server = NameServer()
    server.hangs = False
    _enter(server)
    once_after(2, server, lambda: _leave(server))
    found = read(tmp_path, server)
    assert not found.has(ADDRESS)
    assert not found.claims


def test_a_name_that_never_stays_as_it_is_is_read_all_the_same(tmp_path: Path) -> None:
    server = NameServer()
    server.hangs = False
    server.after_read = lambda: server.put(f"_xdplb.{NAME}", "TXT", f'"{server.reads}"')
    assert not read(tmp_path, server).claims
    assert server.reads == 1 + 3 * 5
