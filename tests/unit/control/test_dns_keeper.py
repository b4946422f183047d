# SPDX-License-Identifier: Apache-2.0
"""The keeper of DNS names, against a server in this process: what it does, and what it says when it cannot."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dns.rcode
import pytest

from tests.fakes import until
from tests.name_server import KEY_FILE, NameServer, key_file
from xdplb.control.clock import SteadyClock
from xdplb.control.events import DriftFound, Event, Events
from xdplb.control.plan.dns_change import Standing, Wanted, Will, Wish
from xdplb.control.writing import dns_keeper
from xdplb.control.writing.dns_keeper import DnsKeeper, Forgotten
from xdplb.control.writing.drifts import Drifts
from xdplb.dns import client
from xdplb.dns.records import Place
from xdplb.model.address import IPAddress
from xdplb.model.errors import PlatformError

A, B = ip_address("203.0.113.10"), ip_address("203.0.113.11")
NAME, CLAIMS = "www.example.test", "_xdplb.www.example.test"
WEB = ("203.0.113.10:443/tcp",)
SERVE, GO = Wish(Will.SERVE, 30, vips=WEB), Wish(Will.GO, 30, "0 of 2 backends serve, and 1 must", WEB)


@pytest.fixture(autouse=True)
def _in_a_hurry() -> Iterator[None]:
    seconds: dict[str, Any] = {
        "_PAUSE_SECONDS": 0.01,
        "_FIRST_RETRY_SECONDS": 0.05,
        "_LOST_SECONDS": 0.001,
        "_LAST_LOOK_SECONDS": 0.05,
    }
    with patch.multiple(dns_keeper, **seconds), patch.object(client, "_SECONDS", 0.3):
        yield


class Setting:
    """A server, and keepers on one book, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.server, self.folder = NameServer(), folder
        self.file = key_file(folder)
        self.said: list[Event] = []
        self.keeper = self.new()

    def new(self, node: str = "lb1") -> DnsKeeper:
        events = Events()
        events.listen(self.said.append)
        self.drifts = Drifts(events, time.monotonic, SteadyClock().now)
        self.keeper = DnsKeeper(node, self.folder / "dns.json", events, self.drifts, SteadyClock().now)
        return self.keeper

    @property
    def place(self) -> Place:
        return self.server.place()

    def want(self, **wishes: Wish) -> None:
        self.keeper.want(self.place, Wanted(self.file, {{"a": A, "b": B}[name]: wish for name, wish in wishes.items()}))

    def lose_key(self) -> None:
        Path(self.file).unlink()

    def standing(self, address: IPAddress = A) -> Standing | None:
        found = self.keeper.standings.get((self.place, address))
        return None if found is None else found.standing

    def error(self) -> str:
        found = self.keeper.standings.get((self.place, A))
        return "" if found is None else found.reason

    def kinds(self) -> list[str]:
        return [event.KIND for event in self.said]


def run(folder: Path, scenario: Callable[[Setting], Awaitable[None]]) -> None:
    async def main() -> None:
        setting = Setting(folder)
        async with setting.server.serving():
            try:
                await scenario(setting)
            finally:
                await asyncio.to_thread(setting.keeper.stop, withdraw=False)

    asyncio.run(main())


def test_an_address_comes_goes_and_is_told(tmp_path: Path) -> None:
    async def scenario(on: Setting) -> None:
        on.want(a=SERVE, b=SERVE)
        await until(lambda: on.standing() is Standing.IN)
        assert on.server.of(NAME) == {str(A), str(B)}
        assert len(on.server.of(CLAIMS, "TXT")) == 2
        assert on.kinds() == ["dns_published", "dns_published"]
        on.want(a=GO, b=SERVE)
        await until(lambda: on.standing() is Standing.OUT)
        assert on.server.of(NAME) == {str(B)}
        assert str(on.said[-1]).endswith("ttl=30 reason='0 of 2 backends serve, and 1 must'")
        assert on.said[-1].subjects() == [(WEB[0], None)]
        on.want(a=GO, b=GO)
        await until(lambda: on.standing(B) is Standing.LAST)
        assert on.server.of(NAME) == {str(B)}
        assert on.kinds()[-1] == "dns_kept_last"
        on.server.put(NAME, "A", "192.0.2.1")  # somebody enters another one
        await until(lambda: on.standing(B) is Standing.OUT)
        assert on.server.of(NAME) == {"192.0.2.1"}
        assert on.server.of(CLAIMS, "TXT") == set()

    run(tmp_path, scenario)


def test_the_ttl_changes_also_where_a_server_keeps_that_of_records_that_are_there(tmp_path: Path) -> None:
    async def scenario(on: Setting) -> None:
        on.want(a=SERVE)
        await until(lambda: on.standing() is Standing.IN)
        on.want(a=Wish(Will.SERVE, 90))
        await until(lambda: on.server.records[NAME, "A"] == {str(A): 90})

    run(tmp_path, scenario)


def test_what_another_one_changes_meanwhile_is_looked_at_again(tmp_path: Path) -> None:
    async def scenario(on: Setting) -> None:
        on.want(a=SERVE, b=SERVE)
        await until(lambda: on.standing() is Standing.IN)
        left = iter([None])

        def meanwhile() -> None:
            """Another node takes its own address out just before this one would."""
            for _ in left:
                on.server.records[NAME, "A"].pop(str(B))

        on.server.before_update = meanwhile
        on.want(a=GO)  # of B it believes that it is there
        await until(lambda: on.standing() is Standing.LAST)
        assert on.server.of(NAME) == {str(A)}
        assert on.keeper.counts.lost == 1

    run(tmp_path, scenario)


def test_a_name_that_is_another_each_time_is_told(tmp_path: Path) -> None:
    async def scenario(on: Setting) -> None:
        numbers = iter(range(100))
        on.server.before_update = lambda: on.server.put(NAME, "A", f"192.0.2.{next(numbers)}")
        on.want(a=SERVE)
        await until(lambda: "was another each time it was to be changed" in on.error())

    run(tmp_path, scenario)


def test_an_address_that_was_entered_is_left_alone(tmp_path: Path) -> None:
    async def scenario(on: Setting) -> None:
        on.server.put(NAME, "A", str(A))
        on.want(a=SERVE)
        await until(lambda: on.standing() is Standing.FOREIGN)
        assert on.kinds() == ["dns_not_ours"]
        on.want()
        await until(lambda: not on.keeper.standings)
        assert on.server.of(NAME) == {str(A)}
        assert on.server.updates == 0

    run(tmp_path, scenario)


def test_what_is_taken_away_is_put_there_again_and_told(tmp_path: Path) -> None:
    async def scenario(on: Setting) -> None:
        with patch.object(dns_keeper, "_LOOK_SECONDS", 0.05):
            on.want(a=SERVE)
            await until(lambda: on.standing() is Standing.IN)
            on.server.remove(NAME, "A")
            await until(lambda: on.server.of(NAME) == {str(A)})
        await until(lambda: any(isinstance(event, DriftFound) and event.repaired for event in on.said))

    run(tmp_path, scenario)


def test_records_outlive_a_kill_and_the_next_start_cleans_up(tmp_path: Path) -> None:
    async def scenario(on: Setting) -> None:
        on.want(a=SERVE)
        await until(lambda: on.standing() is Standing.IN)
        await asyncio.to_thread(on.keeper.stop, withdraw=False)
        assert on.server.of(NAME) == {str(A)}
        on.new().begin({})  # the VIP was removed meanwhile
        await until(lambda: not on.server.records)
        await asyncio.to_thread(on.keeper.stop, withdraw=False)
        on.new().begin({})
        assert on.keeper._thread is None  # nothing is left to do

    run(tmp_path, scenario)


def test_a_node_that_is_renamed_takes_its_old_claims_back(tmp_path: Path) -> None:
    async def scenario(on: Setting) -> None:
        on.want(a=SERVE)
        await until(lambda: on.standing() is Standing.IN)
        await asyncio.to_thread(on.keeper.stop, withdraw=False)
        on.new("lb9").begin({on.place: Wanted(on.file, {A: SERVE})})
        await until(lambda: on.standing() is Standing.IN)
        (claim,) = on.server.of(CLAIMS, "TXT")
        assert "node=lb9" in claim
        assert on.server.of(NAME) == {str(A)}

    run(tmp_path, scenario)


@pytest.mark.parametrize("others", [True, False])
def test_a_stop_withdraws_what_it_may_if_that_is_asked(tmp_path: Path, others: bool) -> None:
    async def scenario(on: Setting) -> None:
        if others:
            on.server.put(NAME, "A", "192.0.2.1")
        on.want(a=SERVE)
        await until(lambda: on.standing() is Standing.IN)
        await asyncio.to_thread(on.keeper.stop, withdraw=True)
        assert on.server.of(NAME) == ({"192.0.2.1"} if others else {str(A)})

    run(tmp_path, scenario)


def test_the_claims_of_a_node_that_is_gone_are_taken_back_on_demand(tmp_path: Path) -> None:
    async def scenario(on: Setting) -> None:
        on.want(a=SERVE)
        await until(lambda: on.standing() is Standing.IN)
        for address in (A, B):
            on.server.put(NAME, "A", str(address))
            on.server.put(CLAIMS, "TXT", f'"heritage=xdplb,xdplb/node=gone,xdplb/address={address},xdplb/ttl=30"')
        done = [Forgotten(NAME, str(A), is_removed=False), Forgotten(NAME, str(B), is_removed=True)]
        assert await on.keeper.forget("gone", dry_run=True) == done
        assert on.server.of(NAME) == {str(A), str(B)}
        assert await on.keeper.forget("gone", dry_run=False) == done
        assert on.server.of(NAME) == {str(A)}
        assert await on.keeper.forget("gone", dry_run=False) == []

    run(tmp_path, scenario)


def test_a_server_that_is_away_is_tried_again(tmp_path: Path) -> None:
    async def main() -> None:
        on = Setting(tmp_path)
        async with on.server.serving():
            pass
        on.want(a=SERVE)
        await until(lambda: "cannot be reached: Connection refused" in on.error())
        assert [drift.what for drift in on.drifts.standing()] == [NAME]
        async with on.server.serving():
            await until(lambda: on.standing() is Standing.IN)
            assert on.error() == ""
            assert on.drifts.standing() == ()
            await asyncio.to_thread(on.keeper.stop, withdraw=False)

    asyncio.run(main())


def _answers(code: dns.rcode.Rcode) -> Callable[[Setting], None]:
    def spoil(on: Setting) -> None:
        on.server.rcode = code

    return spoil


def _key(text: str) -> Callable[[Setting], None]:
    def spoil(on: Setting) -> None:
        Path(on.file).write_text(text)

    return spoil


def _sends(made: Callable[[bytes], bytes]) -> Callable[[Setting], None]:
    """Have the server's answers be made into something else."""

    def spoil(on: Setting) -> None:
        answer = on.server.answer
        on.server.answer = lambda wire: made(answer(wire))  # type: ignore[method-assign]

    return spoil


def _other(**changes: int) -> Callable[[Setting], None]:
    def spoil(on: Setting) -> None:
        for name, value in changes.items():
            setattr(on.server, name, value)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_answers(dns.rcode.REFUSED), "refuses (REFUSED) to tell"),
        (_answers(dns.rcode.NOTAUTH), "is not the server of the zone example.test"),
        (_answers(dns.rcode.NOTIMP), "knows no dynamic updates"),
        (_answers(dns.rcode.SERVFAIL), "answers SERVFAIL when asked to tell"),
        (_key(KEY_FILE.replace('"xdplb"', '"nobody"')), "does not know the key nobody"),
        (_key(KEY_FILE.replace("c2l4", "c2l5")), "has another secret for the key xdplb (BADSIG)"),
        (_key(KEY_FILE.replace("sha256", "md5")), "is for 'hmac-md5', which is not used here"),
        (Setting.lose_key, "cannot be read: No such file or directory"),
        (_other(tsig_error=dns.rcode.BADTIME), "differ by more than 5 minutes (BADTIME)"),
        (_other(tsig_error=dns.rcode.BADTRUNC), "wants longer signatures than hmac-sha256 makes"),
        (_other(signs=False), "does not sign its answer"),
        (_other(hangs=True), "does not answer"),
        (_other(has_authority=False), "does not answer with authority"),
        (_sends(lambda _: b""), "gives an answer that cannot be understood"),
        (_sends(lambda answer: answer[:-7]), "does not sign its answer"),
        (_sends(lambda answer: answer[:2] + b"\xff" * 60_000), "gives an answer that cannot be understood"),
        # A forged answer, such as one that says it was truncated.
        (_sends(lambda answer: answer[:2] + bytes([answer[2] | 2]) + answer[3:]), "is not signed with the key xdplb"),
        (lambda on: on.server.put(NAME, "CNAME", "elsewhere.test."), "is an alias"),
    ],
)
def test_what_is_wrong_is_a_sentence(tmp_path: Path, spoil: Callable[[Setting], None], told: str) -> None:
    async def scenario(on: Setting) -> None:
        spoil(on)
        on.want(a=SERVE)
        await until(lambda: told in on.error())
        assert told in on.drifts.standing()[0].reason
        assert "c2l4" not in on.error()
        assert "{" not in on.error()

    run(tmp_path, scenario)


def test_what_cannot_be_cleaned_up_for_want_of_a_key_is_told_and_left(tmp_path: Path) -> None:
    async def scenario(on: Setting) -> None:
        on.want(a=SERVE)
        await until(lambda: on.standing() is Standing.IN)
        on.lose_key()
        on.want()
        await until(lambda: "dns_left_behind" in on.kinds())
        assert on.server.of(NAME) == {str(A)}
        assert on.drifts.standing() == ()

    run(tmp_path, scenario)


def test_a_damaged_book_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "dns.json").write_text('{"names": [{}]}')

    async def scenario(on: Setting) -> None:
        on.want(a=SERVE)
        await until(lambda: on.standing() is Standing.IN)

    run(tmp_path, scenario)


def test_whoever_asks_a_node_that_has_no_names_gets_nothing(tmp_path: Path) -> None:
    async def scenario(on: Setting) -> None:
        assert await on.keeper.forget("gone", dry_run=False) == []
        on.want(a=SERVE)
        await until(lambda: on.standing() is Standing.IN)
        on.keeper.want(Place("127.0.0.1", 1, "example.test", "b.example.test"), Wanted(on.file, {B: SERVE}))
        await until(lambda: len(on.keeper.standings) == 2)
        with pytest.raises(PlatformError, match="cannot be reached"):
            await on.keeper.forget("gone", dry_run=False)

    run(tmp_path, scenario)
