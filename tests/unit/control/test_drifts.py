# SPDX-License-Identifier: Apache-2.0
"""The book of drift, and what of this host's ways to the backends goes into it."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_network
from pathlib import Path

from tests.fakes import FakeClock, FakeNextHops, until
from tests.unit.control.world import World, with_backends
from xdplb.control.events import DriftFound, DriftKind, DriftOver, Event, Events
from xdplb.control.writing.drifts import Drifts
from xdplb.control.writing.way_watch import WayWatch
from xdplb.model.host import Host, OwnAddress
from xdplb.model.next_hop import Lack, NeighbourEdit, Resolution

MAC = b"\x02\x00\x00\x00\xbe\xef"
ONE, TWO = ip_address("10.0.0.1"), ip_address("10.0.0.2")


class Book:
    """A book of drift, and what it has told."""

    def __init__(self) -> None:
        self.clock, self.said = FakeClock(), list[Event]()
        events = Events()
        events.listen(self.said.append)
        self.drifts = Drifts(events, self.clock.monotonic, self.clock.steady().now)
        self.hops = FakeNextHops()
        self.ways = WayWatch(self.hops, self.drifts)

    def lose(self, lack: Lack, *addresses: object) -> None:
        for address in addresses:
            self.hops.set(str(address), Resolution(None, f"there is no way to {address}", lacks=lack))
        self.ways.changed([ip_address(str(address)) for address in addresses])

    def told(self) -> list[Event]:
        told, self.said[:] = list(self.said), []
        return told


def test_what_stands_is_told_once_and_once_when_it_is_over() -> None:
    book = Book()
    for _ in range(5):
        book.drifts.stands(DriftKind.NIC, "eth0", "eth0 is down")
        book.clock.advance(1)
    (standing,) = book.drifts.standing()
    assert (standing.what, standing.reason) == ("eth0", "eth0 is down")
    for _ in range(2):
        book.drifts.well(DriftKind.NIC, "eth0")
    assert book.told() == [
        DriftFound(DriftKind.NIC, "eth0", repaired=False, reason="eth0 is down"),
        DriftOver(DriftKind.NIC, "eth0", 5.0),
    ]
    assert book.drifts.standing() == ()
    assert book.drifts.counts()[DriftKind.NIC, False] == 1


def flap(book: Book, times: int) -> None:
    for _ in range(times):
        book.drifts.stands(DriftKind.NIC, "eth0", "eth0 is down")
        book.clock.advance(0.5)
        book.drifts.well(DriftKind.NIC, "eth0")
        book.clock.advance(0.5)
        book.drifts.look()


def test_what_comes_and_goes_is_told_as_that_and_again_when_it_has_settled() -> None:
    book = Book()
    flap(book, 100)
    told = book.told()
    assert len(told) == 7
    assert isinstance(told[-1], DriftFound)
    assert "eth0 is down; this came 4 times within a minute" in told[-1].reason
    (standing,) = book.drifts.standing()
    assert "this came 4 times" in standing.reason
    assert book.drifts.counts()[DriftKind.NIC, False] == 100
    book.clock.advance(61)
    book.drifts.look()
    assert [type(each) for each in book.told()] == [DriftOver]
    assert book.drifts.standing() == ()
    flap(book, 1)
    assert [type(each) for each in book.told()] == [DriftFound, DriftOver]


def test_what_is_put_right_every_second_is_told_once_as_that() -> None:
    book = Book()
    for _ in range(100):
        book.drifts.noted(DriftKind.MTU, "eth0", "the MTU was changed", repaired=True)
        book.clock.advance(1)
        book.drifts.look()
    told = book.told()
    assert len(told) == 4
    assert isinstance(told[-1], DriftFound)
    assert told[-1].reason.startswith("the MTU was changed; this came 4 times within a minute")
    assert book.drifts.counts()[DriftKind.MTU, True] == 100
    book.clock.advance(61)
    book.drifts.look()
    book.drifts.noted(DriftKind.MTU, "eth0", "the MTU was changed", repaired=True)
    assert [each.reason for each in book.told() if isinstance(each, DriftFound)] == ["the MTU was changed"]


def test_what_came_and_went_and_stays_is_told_when_it_is_over() -> None:
    book = Book()
    flap(book, 6)
    book.drifts.stands(DriftKind.NIC, "eth0", "eth0 is down")
    book.told()
    book.clock.advance(61)
    book.drifts.look()
    book.drifts.stands(DriftKind.NIC, "eth0", "eth0 is down")
    assert book.told() == []
    assert [each.reason for each in book.drifts.standing()] == ["eth0 is down"]
    book.drifts.well(DriftKind.NIC, "eth0")
    assert [type(each) for each in book.told()] == [DriftOver]
    assert book.drifts.standing() == ()


def test_a_reason_that_changes_every_second_is_told_once_a_minute() -> None:
    book = Book()
    for second in range(120):
        book.drifts.stands(DriftKind.PROGRAM, "eth0", f"another program is there (id {second})")
        book.clock.advance(1)
    assert len(book.told()) == 2
    assert book.drifts.standing()[0].reason == "another program is there (id 119)"
    assert book.drifts.counts()[DriftKind.PROGRAM, False] == 1


def test_a_lost_route_is_told_once_for_all_backends_until_they_all_have_one() -> None:
    book = Book()
    book.ways.changed([ONE, TWO])
    book.lose(Lack.ROUTE, ONE, TWO)
    reason = "there is no way to 10.0.0.1, and so for 1 more backends"
    assert book.told() == [DriftFound(DriftKind.ROUTE, "backends", repaired=False, reason=reason)]
    book.hops.set(str(ONE), None)
    book.ways.changed([ONE])
    assert [each.reason for each in book.drifts.standing()] == ["there is no way to 10.0.0.2"]
    book.ways.keep(frozenset({ONE}))
    assert [type(event) for event in book.told()] == [DriftOver]


def test_a_backend_that_never_had_a_way_or_does_not_answer_is_no_drift() -> None:
    book = Book()
    book.lose(Lack.ROUTE, ONE)
    book.ways.changed([TWO])
    book.hops.lose(str(TWO))
    book.ways.changed([TWO])
    assert book.told() == []


def test_thousands_of_removed_neighbours_are_one_line() -> None:
    book = Book()
    book.ways.edited([NeighbourEdit(ip_address(f"10.0.{n // 250}.{n % 250}"), "eth0") for n in range(2000)])
    (told,) = book.told()
    assert isinstance(told, DriftFound)
    assert (told.what, told.repaired) == ("10.0.0.0", True)
    assert "and so for 1999 more entries" in told.reason


def test_a_permanent_neighbour_stands_until_it_is_freed() -> None:
    book = Book()
    book.ways.edited([NeighbourEdit(ONE, "eth0", fixed=MAC)])
    assert "10.0.0.1 has the MAC 02:00:00:00:be:ef" in book.drifts.standing()[0].reason
    book.ways.edited([NeighbourEdit(ONE, "eth0", freed=True)])
    assert book.drifts.standing() == ()
    assert [type(event) for event in book.told()] == [DriftFound, DriftOver]


def own(*addresses: str) -> Host:
    """Return a host with these addresses on eth0, all of which it may send from."""
    made = [
        OwnAddress(
            ip_address(each), network=ip_network("192.0.2.0/24"), interface="eth0", is_source=True, is_usable=True
        )
        for each in addresses
    ]
    return Host(tuple(made), ())


def test_an_own_address_that_is_removed_is_told_and_a_failing_data_plane_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = World(tmp_path)
        async with world.running() as manager:
            said: list[Event] = []
            await with_backends(manager, 1)
            manager.manager.events.listen(said.append)
            world.hops.own_addresses(own("192.0.2.1", "203.0.113.10"))
            world.hops.own_addresses(own())
            reasons = [event.reason for event in said if isinstance(event, DriftFound)]
            assert reasons == [
                "192.0.2.1 was removed from eth0: checks and tunnels leave from another address, if there is one",
                (
                    "the address of VIP 203.0.113.10:443/tcp was removed from eth0: its packets come only if a router"
                    " or another host sends them here"
                ),
            ]
            said.clear()
            world.plane.fail("write_backends", OSError("no memory"), times=3)
            world.hops.lose("10.0.0.1")
            await until(lambda: any(isinstance(event, DriftOver) for event in said))
            told = [event for event in said if isinstance(event, DriftFound | DriftOver)]
            assert [(event.kind, event.what) for event in told] == [(DriftKind.MAP, "the desired state")] * 2

    asyncio.run(scenario())
