# SPDX-License-Identifier: Apache-2.0
"""Which backend a new connection gets from a scheduler that chooses per connection, and that it keeps it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address

import numpy as np
import pytest

from tests.bpf import icmp_packets, packets
from tests.bpf.balancer import IDLE_SECONDS, VIP_IDS, Balancer, Record, backend, slot
from tests.fuzz.affinity import on_one_cpu
from xdplb.balance.hashing import flow_hash
from xdplb.balance.rotation import MAX_CANDIDATES, candidates, rotation
from xdplb.balance.table import WeightedBackend
from xdplb.dataplane import layout
from xdplb.dataplane.libbpf import XDP_DROP, XDP_PASS, XDP_TX
from xdplb.dataplane.plane import VipEntry
from xdplb.model.vip import Protocol, Scheduler, VipKey

pytestmark = pytest.mark.root

VIP_ID = VIP_IDS[Protocol.TCP]
FIRST_PORT = 20000
MAC = slice(0, 6)
WEIGHTED = {Scheduler.WRR, Scheduler.WLC, Scheduler.P2C}
COMPARING = {Scheduler.LC, Scheduler.WLC}


class Scheduled:
    """A TCP VIP with a scheduler and as many backends as weights, ids from 1."""

    def __init__(self, balancer: Balancer, scheduler: Scheduler, weights: Sequence[int]) -> None:
        self.balancer = balancer
        self._scheduler = scheduler
        self._plane = balancer.plane
        self._backends = [
            replace(backend(number), weight=weight if scheduler in WEIGHTED else 1)
            for number, weight in enumerate(weights, 1)
        ]
        self._plane.write_backends(self._backends)
        turns = [WeightedBackend(f"{entry.id:03}", entry.id, entry.weight) for entry in self._backends]
        owners = rotation(turns, frozenset(), weighted=scheduler is Scheduler.WRR)
        self.owners = owners.astype(np.uint32)
        self._plane.write_table(VIP_ID, self.owners)
        self._plane.write_vips([_vip(scheduler, candidates(turns, frozenset()) if scheduler in COMPARING else 0)])

    def set_loads(self, *flows: int) -> None:
        """Say how many flows each backend has."""
        self._plane.write_loads(dict(enumerate(flows, 1)))

    def loads(self, count: int) -> list[int]:
        """Return how many flows the first backends have."""
        values = self._plane.maps.backend_loads.read_all()[1].view(layout.BACKEND_LOAD)["flows"].reshape(-1)
        return [int(flows) for flows in values[1 : count + 1]]

    def take_down(self, number: int) -> None:
        """Make a backend one that may not be sent to."""
        self._plane.write_backends([replace(self._backends[number - 1], usable=False)])

    def drain(self, number: int) -> None:
        """Make a backend one that takes nothing new."""
        self._plane.write_backends([replace(self._backends[number - 1], takes_new=False)])
        turns = [WeightedBackend(f"{entry.id:03}", entry.id, entry.weight) for entry in self._backends]
        self._plane.write_table(VIP_ID, rotation(turns, frozenset({number}), weighted=False).astype(np.uint32))
        if self._scheduler in COMPARING:
            self._plane.write_vips([_vip(self._scheduler, candidates(turns, frozenset({number})))])

    def send(self, flags: str, port: int) -> int:
        """Return which backend gets a segment from this port."""
        result = self.balancer.send(packets.tcp(flags, source_port=port))
        assert result.verdict == XDP_TX
        macs = {packets.backend_mac(entry.id): entry.id for entry in self._backends}
        return macs[result.packet[MAC].hex(":")]

    def open(self, count: int) -> list[int]:
        """Return which backends so many new connections get, from ports in a row."""
        return [self.send("S", FIRST_PORT + number) for number in range(count)]


def _vip(scheduler: Scheduler, count: int) -> VipEntry:
    return VipEntry(
        VIP_ID,
        VipKey(IPv4Address(packets.VIP), packets.VIP_PORT, Protocol.TCP),
        track_always=True,
        idle_seconds=IDLE_SECONDS,
        scheduler=scheduler,
        candidates=count,
    )


@pytest.fixture(autouse=True)
def same_cpu() -> Iterator[None]:
    """Each CPU takes turns of its own."""
    with on_one_cpu():
        yield


def _is_turn_of(taken: list[int], owners: np.ndarray) -> bool:
    """Whether the backends are those of consecutive slots, from wherever this CPU stands."""
    doubled = [*owners.tolist(), *owners[: len(taken)].tolist()]
    return any(doubled[at : at + len(taken)] == taken for at in range(layout.TABLE_SIZE))


@pytest.mark.parametrize("answered", [True, False], ids=["open", "on probation"])
@pytest.mark.parametrize("scheduler", [Scheduler.RR, Scheduler.WRR, Scheduler.LC, Scheduler.WLC, Scheduler.P2C])
def test_a_client_that_dials_again_leaves_a_drained_backend(
    balancer: Balancer, scheduler: Scheduler, *, answered: bool
) -> None:
    """With the second SYN in a row, whether the connection was open before or not; its load goes with it."""
    vip = Scheduled(balancer, scheduler, [1, 1])
    first = vip.send("S", FIRST_PORT)
    if answered:
        assert vip.send("A", FIRST_PORT) == first
    assert vip.send("S", FIRST_PORT) == first
    vip.drain(first)
    other = 3 - first
    assert [vip.send(flags, FIRST_PORT) for flags in ("S", "S", "A")] == [other] * 3
    if scheduler.is_by_load:
        assert vip.loads(2) == [int(number == other) for number in (1, 2)]


def test_round_robin_gives_each_backend_one_connection_in_turn(balancer: Balancer) -> None:
    taken = Scheduled(balancer, Scheduler.RR, [1, 1, 1]).open(9)
    assert taken[:3] == taken[3:6] == taken[6:]
    assert sorted(taken[:3]) == [1, 2, 3]


def test_weighted_round_robin_takes_turns_by_weight_without_bursts(balancer: Balancer) -> None:
    vip = Scheduled(balancer, Scheduler.WRR, [5, 1, 1])
    taken = vip.open(14)
    assert Counter(taken) == {1: 10, 2: 2, 3: 2}
    assert _is_turn_of(taken, vip.owners)


@pytest.mark.parametrize("scheduler", [Scheduler.RR, Scheduler.WRR])
def test_turns_do_not_wait_for_a_backend_that_is_down(balancer: Balancer, scheduler: Scheduler) -> None:
    """Before the control plane has taken it out of the table."""
    vip = Scheduled(balancer, scheduler, [1, 1, 1])
    vip.take_down(2)
    frames = [packets.tcp("S", source_port=FIRST_PORT + number) for number in range(90)]
    sent = Counter(balancer.send(frame).packet[MAC].hex(":") for frame in frames)
    assert {sent[packets.backend_mac(number)] > 20 for number in (1, 3)} == {True}
    assert sent[packets.backend_mac(2)] == 0


@pytest.mark.parametrize("scheduler", [each for each in Scheduler if each.is_per_connection])
def test_a_connection_stays_whoever_comes_next(balancer: Balancer, scheduler: Scheduler) -> None:
    vip = Scheduled(balancer, scheduler, [1, 1, 1, 1])
    first = vip.open(8)
    assert [vip.send("A", FIRST_PORT + number) for number in range(8)] == first
    vip.set_loads(1000, 0, 0, 0)
    assert [vip.send("PA", FIRST_PORT + number) for number in range(8)] == first
    assert [vip.send("S", FIRST_PORT + number) for number in range(8)] == first  # retransmitted
    assert balancer.plane.counters().vips[VIP_ID].at_risk == 0


def test_an_old_connection_without_a_record_is_at_risk_and_recorded(balancer: Balancer) -> None:
    vip = Scheduled(balancer, Scheduler.RR, [1, 1, 1])
    to = vip.send("A", packets.CLIENT_PORT)
    assert balancer.record(Protocol.TCP) == Record(to, layout.FLOW_ESTABLISHED)
    assert [vip.send("A", packets.CLIENT_PORT) for _ in range(3)] == [to] * 3
    counters = balancer.plane.counters().vips[VIP_ID]
    assert (counters.at_risk, counters.new_flows, counters.records) == (1, 0, 1)


def test_an_error_about_a_connection_without_a_record_is_nobodys(balancer: Balancer) -> None:
    vip = Scheduled(balancer, Scheduler.LC, [1, 1, 1])
    error = icmp_packets.error(4, icmp_packets.ERRORS[4]["host unreachable"], icmp_packets.quoted(4))
    assert balancer.send(error).verdict == XDP_PASS
    to = vip.send("S", packets.CLIENT_PORT)
    assert balancer.send(error).packet == packets.through_dr(error, to)


def test_least_connections_takes_whoever_has_fewest(balancer: Balancer) -> None:
    vip = Scheduled(balancer, Scheduler.LC, [1, 1, 1, 1])
    vip.set_loads(7, 2, 5, 3)
    assert vip.open(1) == [2]
    assert sorted([vip.send("S", 1), vip.send("S", 2)]) == [2, 4]  # equals by now
    assert vip.loads(4) == [7, 4, 5, 4]


def test_weighted_least_connections_divides_by_the_weight(balancer: Balancer) -> None:
    vip = Scheduled(balancer, Scheduler.WLC, [1, 4, 2])
    vip.set_loads(2, 7, 4)  # 2, 1.75 and 2 for each unit of weight
    assert vip.open(1) == [2]


def test_first_connections_are_shared_by_weight(balancer: Balancer) -> None:
    vip = Scheduled(balancer, Scheduler.WLC, [1, 3])
    assert Counter(vip.open(4)) == {1: 1, 2: 3}
    assert Counter(vip.open(20)) == {1: 5, 2: 15}


def test_of_idle_backends_the_heaviest_gets_what_comes(balancer: Balancer) -> None:
    vip, taken = Scheduled(balancer, Scheduler.WLC, [1, 3, 2]), set[int]()
    for port in range(40):
        vip.set_loads(0, 0, 0)
        taken.add(vip.send("S", FIRST_PORT + port))
    assert taken == {2}


@pytest.mark.parametrize("scheduler", [Scheduler.LC, Scheduler.WLC, Scheduler.P2C])
def test_equals_share_what_comes(balancer: Balancer, scheduler: Scheduler) -> None:
    vip, taken = Scheduled(balancer, scheduler, [1] * 4), Counter[int]()
    for port in range(400):
        vip.set_loads(0, 0, 0, 0)
        taken[vip.send("S", FIRST_PORT + port)] += 1
    assert sorted(taken) == [1, 2, 3, 4]
    assert min(taken.values()) > 60


def test_many_connections_end_up_evenly_spread(balancer: Balancer) -> None:
    vip = Scheduled(balancer, Scheduler.WLC, [1, 2, 3])
    vip.open(60)
    assert vip.loads(3) == [10, 20, 30]


def test_all_candidates_are_compared(balancer: Balancer) -> None:
    vip = Scheduled(balancer, Scheduler.LC, [1] * MAX_CANDIDATES)
    for wanted in (1, 2, MAX_CANDIDATES // 2, MAX_CANDIDATES):
        vip.set_loads(*(1 if number == wanted else 9 for number in range(1, MAX_CANDIDATES + 1)))
        assert vip.send("S", FIRST_PORT + wanted) == wanted


def test_one_that_is_down_is_passed_over(balancer: Balancer) -> None:
    vip = Scheduled(balancer, Scheduler.LC, [1, 1, 1])
    vip.set_loads(0, 5, 6)
    vip.take_down(1)
    assert vip.open(1) == [2]


@pytest.mark.parametrize("scheduler", [Scheduler.LC, Scheduler.P2C, Scheduler.RR])
def test_where_all_are_down_nothing_is_sent(balancer: Balancer, scheduler: Scheduler) -> None:
    vip = Scheduled(balancer, scheduler, [1, 1])
    vip.take_down(1)
    vip.take_down(2)
    assert balancer.send(packets.tcp("S")).verdict == XDP_DROP
    assert balancer.plane.counters().reasons["drop_backend_down"] == 1
    assert vip.loads(2) == [0, 0]


def test_without_candidates_nothing_is_sent(balancer: Balancer) -> None:
    Scheduled(balancer, Scheduler.LC, [])
    assert balancer.send(packets.tcp("S")).verdict == XDP_DROP
    assert balancer.plane.counters().reasons["drop_no_backend"] == 1


def test_two_choices_take_the_less_loaded_of_the_two(balancer: Balancer) -> None:
    vip = Scheduled(balancer, Scheduler.P2C, [1] * 8)
    loads = [5, 3, 8, 1, 9, 2, 7, 4]
    for port in range(FIRST_PORT, FIRST_PORT + 64):
        vip.set_loads(*loads)
        hashed = int(flow_hash(int(IPv4Address(packets.CLIENT)), port, packets.VIP_PORT)[0])
        halves = (hashed >> 32, hashed & 0xFFFFFFFF)
        two = [int(vip.owners[half * layout.TABLE_SIZE >> 32]) for half in halves]
        assert vip.send("S", port) == min(two, key=lambda number: loads[number - 1])


def test_a_load_goes_with_its_connections(balancer: Balancer) -> None:
    vip = Scheduled(balancer, Scheduler.LC, [1])
    vip.open(3)
    assert vip.loads(1) == [3]
    vip.send("FA", FIRST_PORT)
    assert vip.loads(1) == [2]
    vip.send("FA", FIRST_PORT)
    vip.send("A", FIRST_PORT)
    assert vip.loads(1) == [2]
    vip.send("R", FIRST_PORT + 1)
    assert vip.loads(1) == [1]
    vip.open(3)  # two are new on ports used before, the third is a SYN sent again
    assert vip.loads(1) == [3]


def test_a_load_does_not_go_below_nothing(balancer: Balancer) -> None:
    vip = Scheduled(balancer, Scheduler.LC, [1])
    vip.open(1)
    vip.set_loads(0)
    vip.send("FA", FIRST_PORT)
    assert vip.loads(1) == [0]


def test_a_load_moves_with_a_port_that_is_used_again(balancer: Balancer) -> None:
    vip = Scheduled(balancer, Scheduler.LC, [1, 1])
    balancer.write_record(Protocol.TCP, Record(1, layout.FLOW_ESTABLISHED, age=IDLE_SECONDS + 5))
    vip.set_loads(4, 0)
    assert vip.send("S", packets.CLIENT_PORT) == 2
    assert vip.loads(2) == [3, 1]


def test_hashing_keeps_no_loads(balancer: Balancer) -> None:
    balancer.set_up(slot(1), [backend(1)], track_always=True)
    balancer.send(packets.tcp("S"))
    assert not balancer.plane.maps.backend_loads.read_all()[1].view(layout.BACKEND_LOAD)["flows"].any()
