# SPDX-License-Identifier: Apache-2.0
"""Nodes that talk to each other over a network that loses, doubles, delays and repeats, and with an enemy in it."""

from __future__ import annotations

import random
from ipaddress import ip_address

import pytest

from tests.unit.peers.wires import NEW, OLD, Net, Node, record
from xdplb.peers.addresses import Place
from xdplb.peers.hints import Hint
from xdplb.peers.wire import MOST_BYTES, Header, Kind, opened, signed

ENEMY = Place("192.0.2.66", 666)


def _many(count: int, first: int = 1) -> list:
    return [record(port=port) for port in range(first, first + count)]


def _data(net: Net, kind: Kind = Kind.RECORDS) -> list[tuple[Place, Place, bytes]]:
    return [each for each in net.sent if opened(each[2])[0].kind == kind]


def test_nodes_that_name_each_other_find_each_other_at_once_and_records_arrive():
    net = Net()
    one, other = net.pair()
    assert other.ear.told == ["began 10.0.0.1:4815", "appeared 10.0.0.1:4815"]
    one.send(*_many(3))
    net.run(0.02)
    assert sorted(other.ear.got) == [(1, "lb1"), (2, "lb1"), (3, "lb1")]
    assert one.hub.counts.records_sent == other.hub.counts.records_received == 3
    link = other.hub.links[0]
    assert link.status is not None
    assert link.status.name == "lb1"
    assert 0 < (link.round_trip or 0) < 0.1


def test_thousands_of_records_go_in_datagrams_that_pass_any_tunnel():
    net = Net()
    one, other = net.pair()
    six = [record("2001:db8::7", "2001:db8:1::11", port=port, vip="2001:db8::10") for port in range(1000, 1100)]
    mixed = [record("192.0.2.7", "2001:db8:1::11", port=port) for port in range(2000, 2100)]
    one.send(*_many(900), *six, *mixed)
    net.run(0.02)
    assert sorted(other.ports) == [*range(1, 901), *range(1000, 1100), *range(2000, 2100)]
    assert max(len(datagram) for *_, datagram in net.sent) <= MOST_BYTES
    assert len(_data(net)) < 900 / 50 + 100 / 20 + 100 / 30


def test_what_is_repeated_is_refused_and_what_comes_late_is_taken():
    net = Net()
    one, other = net.pair()
    rng = random.Random(7)
    net.fate = lambda *_: [rng.uniform(0, 0.08) for _ in range(3)]
    for port in range(1, 200):
        one.send(record(port=port))
        net.run(0.01)
    net.fate = lambda *_: (0.001,)
    net.run(1)
    assert sorted(other.ports) == list(range(1, 200))
    assert other.hub.counts.refused["replay"] >= 2 * 199
    assert other.ear.missing == 0


def test_a_loss_is_found_by_what_comes_next():
    net = Net()
    one, other = net.pair()
    net.fate = lambda *_: ()
    one.send(record(port=1))
    net.fate = lambda *_: (0.001,)
    one.send(record(port=2))
    net.run(0.05)
    assert other.ear.missing == 0
    net.run(0.2)
    assert (other.ports, other.ear.missing, other.hub.counts.gaps) == ([2], 1, 1)


def test_the_loss_of_the_last_one_is_found_by_the_next_hello():
    net = Net()
    one, other = net.pair()
    net.fate = lambda *_: ()
    one.send(*_many(60), *_many(60))
    net.fate = lambda *_: (0.001,)
    net.run(1)
    assert other.ear.missing == len(_data(net)) == 3


def test_a_peer_that_is_cut_off_is_gone_and_is_told_what_it_missed_when_it_is_back():
    net = Net()
    one, other = net.pair()
    net.fate = lambda *_: ()
    net.run(3)
    assert one.ear.told[-1] == "gone 10.0.0.2:4815"
    before = len(_data(net))
    for port in range(1, 6):
        one.send(record(port=port))
    assert len(_data(net)) == before, "nobody is there"
    net.fate = lambda *_: (0.001,)
    net.run(1)
    assert (other.ports, other.ear.missing) == ([], 5)
    assert one.ear.told[-1] == "appeared 10.0.0.2:4815"
    one.send(record(port=9))
    net.run(0.05)
    assert other.ports == [9]


def test_a_daemon_that_starts_again_is_there_again_within_some_round_trips():
    net = Net()
    one, other = net.pair()
    other = net.add("lb2", "10.0.0.2")
    other.name_peers("10.0.0.1")
    net.run(0.1)
    one.send(record(port=5))
    other.send(record(port=6))
    net.run(0.05)
    assert other.ports == [5]
    assert one.ports == [6]
    assert one.ear.told[-1] == "began 10.0.0.2:4815"


@pytest.mark.parametrize("sent_before", [5, 3000])
def test_what_an_earlier_daemon_was_sent_is_not_missing_and_what_comes_now_is_taken(sent_before: int):
    net = Net()
    one, _ = net.pair()
    for port in range(1, sent_before + 1):
        one.send(record(port=port))
    net.run(0.1)
    other = net.add("lb2", "10.0.0.2")
    other.name_peers("10.0.0.1")
    net.run(0.1)
    for port in range(1, 4):
        one.send(record(port=port))
    net.run(1)
    assert other.ports == [1, 2, 3]
    assert (other.ear.missing, other.hub.counts.refused["replay"]) == (0, 0)


def test_a_key_is_replaced_without_a_moment_in_which_nodes_do_not_understand_each_other():
    net = Net()
    one, other = net.pair()
    steps = [(OLD, NEW), (NEW, OLD), (NEW,)]
    port = 0
    for keys in steps:
        for node in (one, other):
            node.hub.keys = type(node.hub.keys)(keys)
            port += 1
            one.send(record(port=port))
            other.send(record(port=1000 + port))
            net.run(0.6)
    assert other.ports == list(range(1, port + 1))
    assert one.ports == list(range(1001, 1001 + port))
    assert not one.hub.counts.refused
    assert not [told for told in one.ear.told if "gone" in told]


def test_a_wrong_key_is_told_and_nothing_is_believed():
    net = Net()
    one, other = net.add("lb1", "10.0.0.1"), net.add("lb2", "10.0.0.2", keys=[NEW])
    one.name_peers("10.0.0.2")
    other.name_peers("10.0.0.1")
    net.run(2)
    assert set(one.ear.told) == {"wrong key 10.0.0.2:4815"}
    assert set(one.hub.counts.refused) == {"wrong_key"}
    assert one.hub.links[0].status is None


def _enemy_sends(net: Net, node: Node, datagrams: list[bytes], source: Place) -> int:
    """Let somebody send these, and return how many bytes are sent because of that."""
    before = sum(len(each) for *_, each in net.sent)
    for datagram in datagrams:
        net.carry(node, node.hub.received(datagram, source, net.now))
    return sum(len(each) for *_, each in net.sent) - before


def test_whoever_repeats_all_that_was_ever_sent_changes_nothing():
    net = Net()
    one, other = net.pair()
    one.send(*_many(10))
    net.run(1)
    other = net.add("lb2", "10.0.0.2")  # it starts again: what was sent to the one before is no use with it
    other.name_peers("10.0.0.1")
    net.run(1)
    recorded = list(net.sent)
    told, ports = list(other.ear.told), list(other.ports)
    for source, to, datagram in recorded:
        if to == other.places[0]:
            _enemy_sends(net, other, [datagram], source)
        if to == one.places[0]:
            _enemy_sends(net, one, [datagram], source)
    net.run(3)
    assert (other.ear.told, other.ports) == (told, ports)
    one.send(record(port=77))
    net.run(0.05)
    assert other.ports == [*ports, 77]


def test_whoever_repeats_hellos_from_elsewhere_gets_no_more_bytes_than_he_sent():
    net = Net()
    one, other = net.pair()
    hellos = [datagram for source, to, datagram in net.sent if to == one.places[0]]
    other = net.add("lb2", "10.0.0.2")
    assert _enemy_sends(net, other, hellos * 50, ENEMY) <= sum(map(len, hellos * 50)) / 10
    net.run(10)
    assert sum(len(each) for _, to, each in net.sent if to == ENEMY) <= 3 * sum(map(len, hellos))
    assert ENEMY not in [link.place for link in other.hub.links], "whoever does not prove to be there is forgotten"


def test_a_flood_of_hellos_of_those_who_have_the_key_is_answered_by_few():
    net = Net()
    one, _ = net.pair()
    net.nodes = [one]
    for number in range(1000):
        stranger = net.add(f"x{number}", "10.0.0.2")
        stranger.name_peers("10.0.0.1")
        net.nodes = [one]
        hello = [datagram for datagram, _ in stranger.hub.tick(net.now)]
        _enemy_sends(net, one, hello, Place("10.9.0.1", number + 1))
    assert len(one.hub.links) <= 1 + 64
    assert one.hub.counts.refused["too_many"] == 1000 - 64


def test_nothing_that_comes_makes_it_raise():
    net = Net()
    one, other = net.pair()
    one.send(*_many(10))
    one.hint(Hint("", ip_address("10.0.0.11"), is_up=False))
    rng = random.Random(11)
    seen = [datagram for *_, datagram in net.sent]
    for _ in range(3000):
        datagram = bytearray(rng.choice(seen))
        for _ in range(rng.randint(1, 4)):
            what = rng.randint(0, 2)
            at = rng.randrange(len(datagram) or 1)
            if what == 0 and datagram:
                datagram[at] = rng.randrange(256)
            elif what == 1:
                del datagram[at:]
            else:
                datagram += rng.randbytes(rng.randint(0, 1500))
        for source in (ENEMY, one.places[0]):
            list(other.hub.received(bytes(datagram), source, net.now))
    net.run(0.1)
    one.send(record(port=99))
    net.run(0.05)
    assert 99 in other.ports


def test_bodies_that_are_signed_well_and_make_no_sense_do_not_make_it_raise():
    net = Net()
    one, other = net.pair()
    link = one.hub.links[0]
    rng = random.Random(5)
    one.send(*_many(3))
    one.hint(Hint("203.0.113.10:443/tcp", ip_address("2001:db8::1"), is_up=True))
    good = [opened(datagram)[1] for *_, datagram in _data(net) + _data(net, Kind.HINTS)]
    for number in range(2000):
        body = bytearray(rng.choice(good) if number % 2 else rng.randbytes(rng.randint(0, 60)))
        for _ in range(rng.randint(0, 3)):
            if body:
                body[rng.randrange(len(body))] = rng.randrange(256)
        kind = rng.choice([Kind.RECORDS, Kind.HINTS])
        list(other.hub.received(link.next_datagram(one.hub.keys, kind, bytes(body)), one.places[0], net.now))
    hello = Header(1, Kind.HELLO, OLD.name, link.sender, 10_000)
    for _ in range(500):
        body = bytearray(rng.randbytes(rng.randint(0, 200)))
        list(other.hub.received(signed(hello, bytes(body), OLD.derived(b"hello")), ENEMY, net.now))
    assert other.hub.counts.refused["malformed"] > 500


def test_kinds_and_versions_that_are_not_known_are_skipped():
    net = Net()
    one, other = net.pair()
    link = one.hub.links[0]
    list(other.hub.received(link.next_datagram(one.hub.keys, 77, b"what?"), one.places[0], net.now))  # type: ignore[arg-type]
    newer = signed(Header(2, Kind.HELLO, OLD.name, link.sender, 5000), b"new", OLD.derived(b"hello"))
    list(other.hub.received(newer, one.places[0], net.now))
    assert other.hub.counts.refused == {"unknown_kind": 1, "version": 1}
    one.send(record(port=3))
    net.run(1)
    assert (other.ports, other.ear.missing) == ([3], 0)


def test_a_peer_that_only_one_side_names_is_answered_and_forgotten_when_it_goes():
    net = Net()
    one, other = net.add("lb1", "10.0.0.1"), net.add("lb2", "10.0.0.2")
    one.name_peers("10.0.0.2")
    net.run(0.1)
    other.send(record(port=8))
    one.send(record(port=9))
    net.run(0.1)
    assert (one.ports, other.ports) == ([8], [9])
    net.nodes = [other]
    net.run(70)
    assert not other.hub.links


def test_a_peer_with_two_addresses_gets_each_record_once_and_over_the_other_link_if_one_is_cut():
    net = Net()
    one, other = net.add("lb1", "10.0.0.1", "10.1.0.1"), net.add("lb2", "10.0.0.2", "10.1.0.2")
    one.name_peers("10.0.0.2", "10.1.0.2")
    other.name_peers("10.0.0.1", "10.1.0.1")
    net.run(0.2)
    one.send(record(port=1))
    net.run(0.05)
    assert other.ports == [1]
    net.fate = lambda source, *_: () if source.host.startswith("10.0.") else (0.001,)
    net.run(1.5)
    one.send(record(port=2))
    net.run(0.05)
    assert other.ports == [1, 2]


def test_a_peer_that_answers_from_another_address_than_the_one_named_is_known():
    net = Net()
    one, other = net.add("lb1", "10.0.0.1"), net.add("lb2", "10.0.0.2")
    other.source = Place("10.9.0.2", 4815)
    one.name_peers("10.0.0.2")
    other.name_peers("10.0.0.1")
    net.run(5)
    one.send(record(port=4))
    other.send(record(port=5))
    net.run(0.1)
    assert (one.ports, other.ports) == ([5], [4])
    assert [link.place.host for link in one.hub.links if one.hub.is_up(link)] == ["10.0.0.2"]


def test_a_node_that_is_named_as_its_own_peer_is_left_alone():
    net = Net()
    one = net.add("lb1", "10.0.0.1")
    one.name_peers("10.0.0.1")
    net.run(2)
    assert set(one.hub.counts.refused) == {"own"}
    assert not one.ear.told


def test_hints_arrive_and_a_flood_of_them_is_cut_off():
    net = Net()
    one, other = net.pair()
    hints = [
        Hint("203.0.113.10:443/tcp", ip_address("10.0.0.11"), is_up=False),
        Hint("", ip_address("2001:db8::11"), is_up=True),
    ]
    one.hint(*hints)
    net.run(0.02)
    assert other.ear.hinted == hints
    one.hint(*hints * 1000)
    net.run(0.1)
    assert len(other.ear.hinted) <= 2 + 200


@pytest.mark.parametrize("loss", [0.01, 0.3])
def test_with_any_loss_nothing_is_missing_without_being_told(loss: float):
    net = Net()
    one, other = net.pair()
    rng = random.Random(3)
    net.fate = lambda *_: () if rng.random() < loss else (rng.uniform(0, 0.05),)
    for port in range(1, 1001):
        one.send(record(port=port))
        net.run(0.01)
    net.fate = lambda *_: (0.001,)
    net.run(2)
    assert 1000 - len(other.ports) == other.ear.missing
    assert len(set(other.ports)) == len(other.ports)
