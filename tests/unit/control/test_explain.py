# SPDX-License-Identifier: Apache-2.0
"""What is said of a packet, over a data plane in memory, which has no program to ask."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from tests.fakes import next_hop, until
from tests.unit.control.door import Door
from tests.unit.control.world import WEB, World, backend, run, with_backends
from xdplb.control.explain.maps_as_model import now
from xdplb.control.explain.question import PacketKind
from xdplb.control.explain.views import OuterView
from xdplb.dataplane.layout import FLOW_ESTABLISHED, FLOW_FROM_PEER
from xdplb.dataplane.plane import VipCounters
from xdplb.dataplane.remembered import Buckets
from xdplb.model.backend import AdminState, Backend
from xdplb.model.errors import InvalidError, NotFoundError, PlatformError, XdplbError
from xdplb.model.next_hop import Resolution, VlanTag
from xdplb.model.vip import Forward, RateLimits, Scheduler, Tracking, Vip, VipKey

CLIENT = "198.51.100.7:40000"
ESTABLISHED = PacketKind.ESTABLISHED
NEVER = 2**62
READS = {"explain", "recall"}


def told(why: tuple[str, ...], *parts: str) -> bool:
    """Return whether each part is in one of the sentences."""
    return all(any(part in sentence for sentence in why) for part in parts)


def test_a_steady_slot_s_owner_gets_the_packet_and_nothing_is_written(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1)
        writes = world.writes()
        del world.plane.calls[:]
        view = await manager.explain(CLIENT, "web")
        assert (view.vip, view.action, view.reason, view.chosen_by) == (str(WEB.key), "send", None, "owner")
        assert view.backend == ip_address("10.0.0.1")
        assert view.slot is not None
        assert (view.slot.state, view.slot.owner, view.slot.previous) == ("steady", view.backend, None)
        assert view.sent is not None
        assert (view.sent.forward, view.sent.outer) == (Forward.DR, None)
        assert (view.sent.next_hop.mac, view.sent.next_hop.interface) == ("02:00:0a:00:00:01", "eth0")
        assert told(
            view.why, "for VIP 203.0.113.10:443/tcp (web)", "steady and owned by 10.0.0.1", "slot's owner: 10.0.0.1"
        )
        assert (view.agree, view.differences) == (None, ())
        assert "no program to ask" in view.note
        assert set(world.plane.calls) >= READS
        assert (world.writes(), manager.vip("web").generation) == ([], 2)
        assert writes

    run(tmp_path, scenario, scans=False)


def test_an_old_connection_stays_with_the_previous_owner_of_a_moving_slot(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1, 2)
        client = "{}:{}".format(*world.flow_to(2))
        syn, old = await manager.explain(client, "web"), await manager.explain(client, "web", packet=ESTABLISHED)
        assert (syn.chosen_by, str(syn.backend)) == ("owner", "10.0.0.2")
        assert (old.chosen_by, str(old.backend)) == ("previous", "10.0.0.1")
        assert told(old.why, "moving from 10.0.0.1 to 10.0.0.2", "no record", "stays with 10.0.0.1")
        assert old.slot is not None
        assert old.slot.previous == old.backend

    run(tmp_path, scenario)


@pytest.mark.parametrize("probation", [False, True])
def test_a_record_says_whose_it_is_while_it_counts(tmp_path: Path, *, probation: bool) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1, 2, vip=replace(WEB, tracking=Tracking.ALWAYS))
        source, port = world.flow_to(2)
        world.plane.add_flow(source, port, WEB.key, backend=1, probation=probation)
        view = await manager.explain(f"{source}:{port}", "web", packet=ESTABLISHED)
        assert (view.chosen_by, str(view.backend)) == ("record", "10.0.0.1")
        assert view.record is not None
        assert (view.record.backend, view.record.counts) == (view.backend, True)
        assert (view.record.flags, view.record.probation) == (("established",), probation)
        await manager.patch_backend("web", "10.0.0.1", {"admin_state": "maint"})
        after = await manager.explain(f"{source}:{port}", "web", packet=ESTABLISHED)
        assert (after.chosen_by, str(after.backend)) == ("owner", "10.0.0.2")
        assert after.record is not None
        assert not after.record.counts
        assert told(after.why, "does not count: 10.0.0.1", "if another backend has it")

    run(tmp_path, scenario)


def test_a_record_that_another_balancer_has_told_of_says_so(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1, 2, vip=replace(WEB, tracking=Tracking.ALWAYS))
        source, port = world.flow_to(2)
        world.plane.add_flow(source, port, WEB.key, backend=1, flags=FLOW_ESTABLISHED | FLOW_FROM_PEER)
        view = await manager.explain(f"{source}:{port}", "web", packet=ESTABLISHED)
        assert (view.chosen_by, str(view.backend)) == ("record", "10.0.0.1")
        assert view.record is not None
        assert view.record.flags == ("established", "from_peer")
        assert told(view.why, "the record of its flow names 10.0.0.1: another balancer has told of it")

    run(tmp_path, scenario)


def test_a_second_syn_on_a_backend_that_takes_nothing_new_is_explained(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1, 2, vip=replace(WEB, tracking=Tracking.ALWAYS))
        source, port = world.flow_to(2)
        world.plane.add_flow(source, port, WEB.key, backend=1, flags=0)
        first = await manager.explain(f"{source}:{port}", "web")
        assert (first.chosen_by, str(first.backend)) == ("record", "10.0.0.1")
        await manager.drain("web", "10.0.0.1")
        view = await manager.explain(f"{source}:{port}", "web")
        assert (view.chosen_by, str(view.backend)) == ("owner", "10.0.0.2")
        assert told(view.why, "for 10.0.0.1, is replaced: that backend takes no new connections", "second SYN in a row")

    run(tmp_path, scenario)


def test_a_second_choice_is_told_with_what_it_follows_from(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1, 2, vip=replace(WEB, syn_failover=True))
        world.clock.advance(61)
        await until(lambda: manager.vip("web").slots.steady == 65537)
        source, port = world.flow_to(1)
        client = f"{source}:{port}"
        first = await manager.explain(client, "web")
        assert (first.chosen_by, str(first.backend)) == ("owner", "10.0.0.1")
        manager.manager.suspects.found([1])
        await until(lambda: world.plane.suspects == {1})
        age = world.clock.seconds - now() / 1e9 + 2
        world.plane.add_flow(source, port, WEB.key, backend=1, flags=0, age=age, probation=True)
        again = await manager.explain(client, "web")
        assert (again.chosen_by, str(again.backend)) == ("second choice", "10.0.0.2")
        assert told(again.why, "10.0.0.1, which is suspect, has not answered for 2.", "to its second choice: 10.0.0.2")

    run(tmp_path, scenario)


def test_a_backend_that_gets_no_more_new_connections_is_told(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await manager.create_vip(WEB)
        await manager.create_backend("web", backend(1, max_new_flows=1))
        world.plane.backend_buckets[1] = NEVER
        view = await manager.explain(CLIENT, "web")
        assert (view.action, view.reason) == ("drop", "backend_rate")
        assert told(view.why, "10.0.0.1 gets as many new connections as it may")
        await manager.create_backend("web", backend(2))
        world.clock.advance(61)
        await until(lambda: manager.vip("web").slots.steady == 65537)
        source, port = world.flow_to(1)
        view = await manager.explain(f"{source}:{port}", "web")
        assert told(view.why, "second choice: 10.0.0.2, since 10.0.0.1 gets as many new connections as it may")

    run(tmp_path, scenario)


def test_a_record_that_is_not_looked_up_is_told(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1)
        world.plane.add_flow("198.51.100.7", 40000, WEB.key, backend=1)
        view = await manager.explain(CLIENT, "web")
        assert view.chosen_by == "owner"
        assert told(view.why, "a record of its flow, for 10.0.0.1, but it is not looked up")

    run(tmp_path, scenario)


def test_what_would_be_if_a_backend_were_down_changes_nothing(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1, 2)
        before, table = manager.backends("web"), world.table()
        client = "{}:{}".format(*world.flow_to(2))
        view = await manager.explain(client, "web", if_down="10.0.0.2")
        assert (str(view.if_down), str(view.backend), view.agree) == ("10.0.0.2", "10.0.0.1", None)
        assert "reference model" in view.note
        assert manager.backends("web") == before
        assert (world.table() == table).all()
        await manager.patch_vip("web", {"all_unhealthy": "fail-closed"})
        await manager.delete_backend("web", "10.0.0.1")
        alone = await manager.explain(client, "web", if_down="10.0.0.2")
        assert (alone.action, alone.reason, alone.backend) == ("drop", "no_backend", None)
        assert told(alone.why, "no backend of the VIP is usable (10.0.0.2: its check failed")

    run(tmp_path, scenario)


def test_a_vip_without_a_usable_backend_says_why_of_each(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await manager.create_vip(WEB)
        await manager.create_backend("web", backend(1, admin_state=AdminState.MAINT))
        view = await manager.explain(CLIENT, "web")
        assert (view.action, view.reason, view.sent) == ("drop", "no_backend", None)
        assert told(view.why, "which has no owner", "10.0.0.1: in maintenance")

    run(tmp_path, scenario)


def test_access_lists_and_limits_stop_packets_and_say_so(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1, vip=replace(WEB, limits=RateLimits(packets=10, source_packets=5)))
        passes = await manager.explain(CLIENT, "web")
        assert passes.action == "send"
        world.plane.vip_buckets[0] = Buckets(packets=NEVER)
        over = await manager.explain(CLIENT, "web")
        assert (over.action, over.reason) == ("drop", "vip_rate")
        world.plane.source_buckets[ip_address("198.51.100.7"), 0] = Buckets(packets=NEVER)
        by_source = await manager.explain(CLIENT, "web")
        assert by_source.reason == "source_rate"
        assert told(by_source.why, "198.51.100.7 is over")
        await manager.put_access("web", [], ["198.51.0.0/16", "198.51.100.0/24"])
        denied = await manager.explain(CLIENT, "web")
        assert (denied.reason, denied.slot) == ("denied", None)
        assert told(denied.why, "denies 198.51.100.7: by the prefix 198.51.100.0/24")
        await manager.put_access("web", ["192.0.2.0/24"], [])
        assert told((await manager.explain(CLIENT, "web")).why, "it is in none of the allowed prefixes")

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("scheduler", "sentence"),
    [
        (Scheduler.RR, "is next in turn on CPU"),
        (Scheduler.LC, "10.0.0.2 has the fewest open connections (10.0.0.1 7, 10.0.0.2 3)"),
        (Scheduler.WLC, "10.0.0.2 has the fewest open connections for its weight (10.0.0.1 7, 10.0.0.2 3)"),
        (Scheduler.P2C, "of the two picked by the hash, 10.0.0."),
    ],
)
def test_a_scheduler_s_choice_is_told(tmp_path: Path, scheduler: Scheduler, sentence: str) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1, 2, vip=replace(WEB, scheduler=scheduler, tracking=None, hash=None))
        for number, count in ((1, 7), (2, 3)):
            for port in range(count):
                world.plane.add_flow("192.0.2.9", number * 1000 + port, WEB.key, backend=number)
        world.plane.count_vip(0, VipCounters(new_flows=5))
        if scheduler is not Scheduler.RR:
            await until(lambda: world.plane.loads == {1: 7, 2: 3})
        view = await manager.explain(CLIENT, "web")
        assert view.chosen_by == "scheduler"
        assert told(view.why, f"{scheduler}: ", sentence)

    run(tmp_path, scenario)


def test_tunnels_gateways_and_tags_are_told(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        address = ip_address("10.0.0.1")
        await with_backends(manager, 1, vip=replace(WEB, forward=Forward.GUE))
        hop = replace(next_hop(address, gateway="192.0.2.1"), tags=(VlanTag(10, 0x88A8), VlanTag(20)))
        world.hops.set("10.0.0.1", Resolution(hop))
        await manager.patch_backend("web", "10.0.0.1", {"weight": 2})
        view = await manager.explain(CLIENT, "web")
        assert view.sent is not None
        outer = view.sent.outer
        assert isinstance(outer, OuterView)
        assert (outer.source, outer.destination) == (ip_address("192.0.2.254"), address)
        assert outer.source_port is not None
        assert (outer.source_port >= 0xC000, outer.destination_port) == (True, 6080)
        assert (str(view.sent.next_hop.gateway), view.sent.next_hop.tags) == ("192.0.2.1", (10, 20))

    run(tmp_path, scenario)


def test_of_several_vips_it_is_said_which_one_wins_and_why(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        for key in ("203.0.113.0/24:0/tcp", "203.0.113.10:400-500/tcp"):
            await manager.create_vip(Vip(VipKey.parse(key), name=f"v{len(key)}"))
        await with_backends(manager, 1)
        view = await manager.explain(CLIENT, "web")
        assert told(
            view.why, "rather than 203.0.113.10:400-500/tcp, which has more ports", "0/tcp, whose prefix is shorter"
        )
        inside = await manager.explain(CLIENT, "203.0.113.77:8080/tcp")
        assert inside.vip == "203.0.113.0/24:0/tcp"
        with pytest.raises(InvalidError, match="several addresses or ports") as refused:
            await manager.explain(CLIENT, "v20")
        assert "such as 203.0.113.1:1/tcp" in refused.value.hint

    run(tmp_path, scenario)


def test_both_families_and_both_protocols_can_be_asked_about(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await manager.create_vip(Vip(VipKey.parse("[2001:db8::10]:53/tcp+udp"), name="dns"))
        await manager.create_backend("dns", Backend(ip_address("2001:db8::11")))
        tcp = await manager.explain("[2001:db8:c::7]:4000", "dns")
        udp = await manager.explain("[2001:db8:c::7]:4000", "[2001:db8::10]:53/udp")
        assert (tcp.question.kind, udp.question.kind) == (PacketKind.SYN, PacketKind.DATAGRAM)
        assert str(tcp.backend) == str(udp.backend) == "2001:db8::11"

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("client", "vip", "more", "error", "pointer"),
    [
        ("198.51.100.7", "web", {}, InvalidError, "/query/client"),
        ("198.51.100.7:0", "web", {}, InvalidError, "/query/client"),
        ("198.51.100.7:65536", "web", {}, InvalidError, "/query/client"),
        ("224.0.0.1:1", "web", {}, InvalidError, "/query/client"),
        ("moon:1", "web", {}, InvalidError, "/query/client"),
        ("[2001:db8::7]:1", "web", {}, InvalidError, "/query/client"),
        (CLIENT, "wob", {}, NotFoundError, "/query/vip"),
        (CLIENT, "203.0.113.10:443/udp", {"packet": PacketKind.SYN}, InvalidError, "/query/packet"),
        (CLIENT, "web", {"packet": PacketKind.DATAGRAM}, InvalidError, "/query/packet"),
        (CLIENT, "web", {"if_down": "10.0.0.9"}, NotFoundError, "/query/if_down"),
        (CLIENT, "web", {"if_down": "moon"}, InvalidError, "/query/if_down"),
        (CLIENT, "203.0.113.9:1/tcp", {"if_down": "10.0.0.1"}, NotFoundError, "/query/if_down"),
        (CLIENT, "web", {"interface": "eth7"}, InvalidError, "/query/interface"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_a_remedy(
    tmp_path: Path, client: str, vip: str, more: dict[str, str], *, error: type[XdplbError], pointer: str
) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1)
        with pytest.raises(error) as refused:
            await manager.explain(client, vip, **more)  # type: ignore[arg-type]
        assert [problem.pointer for problem in refused.value.problems] == [pointer]
        assert refused.value.hint

    run(tmp_path, scenario)


def test_without_a_nic_no_packet_comes_in(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        with pytest.raises(PlatformError, match="not attached to any NIC"):
            await manager.explain(CLIENT, "203.0.113.10:443/tcp")

    async def alone(path: Path) -> None:
        world = World(path)
        world.plane.attached = []
        async with world.running() as manager:
            await scenario(world, manager)

    asyncio.run(alone(tmp_path))


def test_a_source_that_cannot_be_is_told(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1)
        view = await manager.explain("240.0.0.1:40000", "web")
        assert (view.action, view.reason) == ("drop", "martian")
        assert told(view.why, "240.0.0.1 is not the address of a host on the network")

    run(tmp_path, scenario)


def test_nat_is_told_in_both_directions_and_to_whom_a_backend_answers_itself(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        vip = replace(WEB, forward=Forward.NAT, nat_direct=(ip_network("192.0.2.0/28"),))
        await manager.create_vip(vip)
        await manager.create_backend("web", replace(backend(1), port=8443))
        request = await manager.explain(CLIENT, "web")
        assert told(
            request.why, "its destination becomes 10.0.0.1:8443, and what comes from there is from 203.0.113.10:443"
        )
        assert not told(request.why, "nat_direct")
        direct = await manager.explain("192.0.2.3:40000", "web")
        assert told(
            direct.why, "its source is in 192.0.2.0/28, which the VIP has in nat_direct", "does not recognise it"
        )
        reply = await manager.explain("10.0.0.1:8443", "198.51.100.7:40000/tcp", packet=ESTABLISHED)
        assert told(reply.why, "a reply of the NAT backend 10.0.0.1:8443: its source becomes 203.0.113.10:443")
        answer = await manager.explain("10.0.0.1:8443", "192.0.2.3:40000/tcp", packet=ESTABLISHED)
        assert told(answer.why, "for a network in nat_direct: it stays as it is")
        other = await manager.explain("10.0.0.1:22", "198.51.100.7:40000/tcp", packet=ESTABLISHED)
        assert not told(other.why, "NAT")

    run(tmp_path, scenario, scans=False)
