# SPDX-License-Identifier: Apache-2.0
"""The NICs asked for: attached again when they come back, and what is said of them meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes import FakeClock, until
from tests.unit.control.world import World, with_backends
from xdplb.control.events import DriftFound, DriftKind, DriftOver, Event, Events, NicAttached
from xdplb.control.plan.nics import judge
from xdplb.control.plan.operating import OperatingStatus
from xdplb.control.writing.drifts import Drifts
from xdplb.control.writing.nics import NicKeeper
from xdplb.dataplane.fake import FakePlane
from xdplb.dataplane.plane import Attachment
from xdplb.model.errors import ConflictError, PlatformError
from xdplb.model.nic import DesiredNic, NicLink

ETH0, ETH1 = DesiredNic("eth0", "auto"), DesiredNic("eth1", "native")
UP = NicLink("eth0", 2, 1500, up=True, carrier=True, ethernet=True)
LINKS = {"eth0": UP, "eth1": replace(UP, name="eth1", ifindex=3)}
ON = Attachment("eth0", 2, "native", 1)


def wrong(kind: DriftKind, what: str, reason: str) -> DriftFound:
    return DriftFound(kind, what, repaired=False, reason=reason)


def repaired(kind: DriftKind, what: str, reason: str) -> DriftFound:
    return DriftFound(kind, what, repaired=True, reason=reason)


class Kept:
    """A keeper of eth0 and eth1, over a data plane in memory."""

    def __init__(self) -> None:
        self.plane, self.clock, self.said = FakePlane(), FakeClock(), list[Event]()
        self.plane.nics = {"eth0": 2, "eth1": 3}
        events = Events()
        events.listen(self.said.append)
        self.drifts = Drifts(events, self.clock.monotonic, self.clock.steady().now)
        self.keeper = NicKeeper(self.plane, [ETH0, ETH1], self.clock.monotonic, events, self.drifts)
        self.keeper.check(LINKS)
        self.said.clear()

    def intrude(self, nic: str) -> None:
        """Put another program into the link of a NIC."""
        self.plane.attached = [
            replace(one, other="'evil' (id 7)") if one.interface == nic else one for one in self.plane.attached
        ]

    @property
    def reasons(self) -> list[str]:
        return [standing.reason for standing in self.keeper.standings]


def test_one_that_is_gone_is_said_once_and_attached_when_it_is_back() -> None:
    kept = Kept()
    assert kept.reasons == ["", ""]
    del kept.plane.nics["eth1"]
    kept.plane.attached = kept.plane.attached[:1]
    links = {"eth0": UP}
    assert kept.keeper.check(links)
    assert not kept.keeper.check(links)
    assert kept.reasons == ["", "there is no NIC eth1; xdplb attaches to eth1 as soon as it is there"]
    assert kept.keeper.standings[1].mode == "native"
    kept.plane.nics["eth1"] = 9
    assert kept.keeper.check({**links, "eth1": replace(UP, name="eth1", ifindex=9)})
    assert kept.said == [
        wrong(DriftKind.NIC, "eth1", "there is no NIC eth1; xdplb attaches to eth1 as soon as it is there"),
        DriftOver(DriftKind.NIC, "eth1", 0.0),
        NicAttached("eth1", 9, "native", None),
    ]


def test_one_made_again_between_two_looks_is_told_as_lost_and_attached() -> None:
    kept = Kept()
    kept.plane.attached, kept.plane.nics["eth1"] = kept.plane.attached[:1], 9
    kept.keeper.check({**LINKS, "eth1": replace(UP, name="eth1", ifindex=9)})
    assert kept.said == [
        repaired(DriftKind.NIC, "eth1", "another NIC is called eth1 now: it was made anew"),
        NicAttached("eth1", 9, "native", None),
    ]


def test_one_that_somebody_detached_is_told_as_lost_and_attached() -> None:
    kept = Kept()
    kept.plane.attached = kept.plane.attached[:1]
    kept.keeper.check(LINKS)
    assert kept.said == [
        repaired(DriftKind.PROGRAM, "eth1", "another process has detached the program from eth1"),
        NicAttached("eth1", 3, "native", None),
    ]
    kept.keeper.check(LINKS)
    assert len(kept.said) == 2


def test_what_the_kernel_refuses_is_tried_again_later_or_when_the_nic_changes() -> None:
    kept = Kept()

    def tries() -> int:
        return kept.plane.calls.count("attach")

    kept.plane.attached = kept.plane.attached[:1]
    kept.plane.failures["attach"] = [PlatformError("its MTU is too large", hint="lower it")] * 10
    kept.keeper.check(LINKS)
    assert kept.reasons[1] == "its MTU is too large (lower it)"
    before = tries()
    kept.keeper.check(LINKS)
    assert tries() == before
    kept.clock.advance(1.1)
    kept.keeper.check(LINKS)
    assert tries() == before + 1
    kept.clock.advance(1.1)
    kept.keeper.check(LINKS)
    assert tries() == before + 1
    kept.plane.failures["attach"].clear()
    kept.keeper.check({**LINKS, "eth1": replace(LINKS["eth1"], mtu=1400)})
    assert kept.reasons == ["", ""]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"up": False, "carrier": False}, "eth0 is down: ip link set eth0 up"),
        ({"carrier": False}, "eth0 has no carrier: check its cable and the other end"),
        (
            {"master": "bond0", "master_kind": "bond"},
            "eth0 is now a port of bond0, which has its routes: name bond0 in `xdplb up` instead of eth0",
        ),
        ({"master": "vrf0", "master_kind": "vrf"}, ""),
    ],
)
def test_one_that_has_the_program_and_carries_nothing_is_told_why(changes: dict[str, object], reason: str) -> None:
    kept = Kept()
    kept.keeper.check({**LINKS, "eth0": replace(UP, **changes)})  # type: ignore[arg-type]
    assert kept.reasons[0] == reason
    kept.keeper.check(LINKS)
    nic = (DriftKind.NIC, "eth0")
    assert kept.said == ([wrong(*nic, reason), DriftOver(*nic, 0.0)] if reason else [])


def test_another_program_in_the_link_is_replaced_at_once_and_told() -> None:
    kept = Kept()
    kept.intrude("eth0")
    assert kept.keeper.check(LINKS) is False
    assert kept.plane.attached[0].other == ""
    why = "another process has put the program 'evil' (id 7) into xdplb's link on eth0"
    assert kept.said == [repaired(DriftKind.PROGRAM, "eth0", why)]
    assert kept.drifts.standing() == ()
    assert kept.drifts.counts()[DriftKind.PROGRAM, True] == 1


def test_another_daemon_that_puts_its_program_back_each_time_is_told_once_and_yielded_to_for_a_while() -> None:
    kept = Kept()
    taken = []
    for second in range(600):
        kept.intrude("eth0")
        kept.keeper.check(LINKS)
        taken.append(kept.plane.attached[0].other == "")
        kept.clock.advance(1)
        if second == 8:
            assert "another XDP program, 'evil' (id 7), is in xdplb's link on eth0" in kept.reasons[0]
    assert taken[:4] == [True] * 4
    assert taken.count(True) < 20
    told = [event.reason for event in kept.said if isinstance(event, DriftFound) and not event.repaired]
    assert sum("another program on this host undoes it each time" in reason for reason in told) == 1
    assert len(kept.said) < 12
    assert any("undoes it each time" in each.reason for each in kept.drifts.standing())
    kept.plane.attached[0] = replace(kept.plane.attached[0], other="")
    kept.keeper.check(LINKS)
    kept.clock.advance(601)
    kept.keeper.check(LINKS)
    assert kept.drifts.standing() == ()
    assert kept.reasons == ["", ""]


def test_a_program_that_is_detached_each_time_is_not_attached_every_half_second() -> None:
    kept = Kept()
    attached = 0
    for _ in range(240):
        kept.plane.attached = [one for one in kept.plane.attached if one.interface != "eth1"]
        kept.keeper.check(LINKS)
        attached += len(kept.plane.attached) - 1
        kept.clock.advance(0.5)
    assert attached < 20
    assert sum(isinstance(event, DriftFound) for event in kept.said) == 5
    assert "is detached from eth1 again and again" in kept.reasons[1]
    kept.clock.advance(60)
    kept.keeper.check(LINKS)
    assert kept.reasons == ["", ""]


def test_pins_that_were_removed_are_told_and_a_folder_that_takes_none_once() -> None:
    kept = Kept()
    kept.plane.removed = ["program", "meta"]
    kept.keeper.check(LINKS)
    why = "another process has removed or replaced the pins of meta, program"
    assert kept.said == [repaired(DriftKind.PIN, "the pin dir", why)]
    kept.said.clear()
    kept.plane.fail("repair", PlatformError("no bpffs"), times=3)
    for _ in range(4):
        kept.keeper.check(LINKS)
    why = "pins are missing, and packets are forwarded only as long as this daemon runs: no bpffs"
    assert kept.said == [
        wrong(DriftKind.PIN, "the pin dir", why),
        DriftOver(DriftKind.PIN, "the pin dir", 0.0),
    ]


def test_a_changed_mtu_is_told_once() -> None:
    kept = Kept()
    for _ in range(2):
        kept.keeper.check({**LINKS, "eth0": replace(UP, mtu=9000)})
    why = "the MTU of eth0 was 1500 and is 9000 now; what is sent follows it"
    assert kept.said == [repaired(DriftKind.MTU, "eth0", why)]


def test_a_port_of_a_bond_that_cannot_be_attached_is_told_of_the_bond() -> None:
    link = replace(UP, master="bond0", master_kind="bond")
    standing = judge(ETH0, None, link, "eth0 is a port of another device", "native")
    assert standing.reason.startswith("eth0 is now a port of bond0")


def test_what_is_no_ethernet_interface_is_not_attached() -> None:
    kept = Kept()
    kept.plane.attached = kept.plane.attached[:1]
    kept.keeper.check({**LINKS, "eth1": replace(LINKS["eth1"], ethernet=False)})
    assert kept.reasons[1] == "eth1 is not an Ethernet interface"


def test_why_it_is_in_skb_mode_is_kept() -> None:
    standing = judge(ETH0, replace(ON, mode="skb", note="native mode was refused"), UP, "", "auto")
    assert standing.note == "eth0 is in skb mode, which is several times slower: native mode was refused"
    assert (standing.reason, standing.mode) == ("", "skb")


def test_a_lost_nic_is_in_the_reasons_of_the_backends_behind_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = World(tmp_path, nics=(ETH0,))
        async with world.running() as manager:
            await with_backends(manager, 1, 2)
            assert manager.not_ready() == []
            world.plane.failures["attach"] = [ConflictError("eth0 has another XDP program")] * 100
            world.plane.attached = []
            world.hops.set_link("eth0", xdp_id=7)
            await until(lambda: manager.not_ready() == ["eth0 has another XDP program"])
            await until(lambda: manager.vip("web").operating_status is OperatingStatus.OFFLINE)
            reason = "its route goes out by eth0, which xdplb cannot use now: eth0 has another XDP program"
            assert manager.backend("web", "10.0.0.1").reason == reason
            world.plane.failures["attach"].clear()
            world.hops.set_link("eth0", xdp_id=0)
            await until(lambda: manager.not_ready() == [])
            await until(lambda: manager.vip("web").operating_status is OperatingStatus.ONLINE)

    asyncio.run(scenario())


def test_it_is_ready_while_packets_can_be_sent_to_one_backend(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = World(tmp_path, nics=(ETH0,))
        async with world.running() as manager:
            await with_backends(manager, 1, 2)
            world.hops.lose("10.0.0.1")
            await until(lambda: manager.backend("web", "10.0.0.1").share == 0)
            assert manager.not_ready() == []
            world.hops.lose("10.0.0.2")
            why = (
                "no packet can be sent to any of the 2 backends, such as 10.0.0.1: 10.0.0.1 does not answer ARP on eth0"
            )
            await until(lambda: manager.not_ready() == [why])
            world.hops.set("10.0.0.2", None)
            await until(lambda: manager.not_ready() == [])

    asyncio.run(scenario())
