# SPDX-License-Identifier: Apache-2.0
"""What must hold of the reference model whatever comes in: laws that nobody has to work out packet by packet."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from tests.fixtures.config import CONFIG, NAMED_SERVICES
from tests.fuzz.frames import Frames
from tests.fuzz.profiles import INGRESS, PROFILES
from tests.fuzz.scapy_frames import frames
from tests.fuzz.tunnels import out_of_tunnel
from tests.fuzz.worlds import random_config
from xdplb.balance.hashing import flow_hash, flow_hash6, slot_of
from xdplb.dataplane.features import Feature
from xdplb.model.vip import Forward, HashKind
from xdplb.reference import checksum
from xdplb.reference.decision import Decision
from xdplb.reference.echo import answer_ping
from xdplb.reference.flow_hash import hash_flow
from xdplb.reference.flow_state import FlowState
from xdplb.reference.journey import Placement
from xdplb.reference.packet import ICMP as ICMPV4
from xdplb.reference.packet import ICMPV6, UDP, Fragmented, Packet
from xdplb.reference.parse import parse_frame
from xdplb.reference.process import Reference
from xdplb.reference.reasons import BadPacket, Reason, Stop, Verdict
from xdplb.reference.slot import slot_number

NOW = 10**13
UNWRAPPED = {("unwrapped", 0, "packets")}
MILLISECOND = 10**6
OVERHEAD = {(Forward.IPIP, 4): 20, (Forward.IPIP, 6): 40, (Forward.GUE, 4): 28, (Forward.GUE, 6): 48}


worlds = st.tuples(st.integers(0, 2**32), st.sampled_from(sorted(PROFILES)))
slow = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])


def a_journey(world: tuple[int, str]) -> list[tuple[bytes, Decision, Reference]]:
    """Return what becomes of some packets, one after the other, in a world made from a seed and a profile.

    Packets in a tunnel that ends at the balancer are returned without it: the laws are about what is inside.
    """
    seed, profile = world
    chance = random.Random(seed)
    config = random_config(chance, PROFILES[profile])
    reference, source = Reference(config, FlowState()), Frames(chance, config)
    journey = []
    for number in range(60):
        frame = source.make()
        decision = reference.process(frame, INGRESS, NOW + number * MILLISECOND)
        journey.append((out_of_tunnel(config, frame) or frame, decision, reference))
        reference.state.apply(decision.effects, 0)
    return journey


@slow
@given(worlds)
def test_what_is_not_ours_passes_as_it_came_and_changes_nothing(world: tuple[int, str]) -> None:
    for frame, decision, reference in a_journey(world):
        if decision.verdict is Verdict.PASS and decision.reason is not Reason.PASS_NAT_REPLY:
            by_nic = {("nic", INGRESS, "pass")} if Feature.NICS in reference.config.features else set()
            assert decision.frame == frame
            assert set(decision.effects.counts) - UNWRAPPED == {("reason", decision.reason, "packets")} | by_nic
            assert not decision.effects.flows
            assert not decision.effects.source_buckets


@slow
@given(worlds)
def test_what_is_sent_on_holds_the_packet_and_fits(world: tuple[int, str]) -> None:
    for frame, decision, reference in a_journey(world):
        if decision.reason is not None:
            continue
        packet = parse_frame(frame, reference.config.features)
        backend = reference.config.backends[decision.backend_id or 0]
        if backend.nat is not None:
            continue  # the packet itself changes: see below
        hop = backend.next_hop
        assert hop is not None
        overhead = OVERHEAD.get((backend.forward, backend.address.version), 0)
        assert decision.frame.endswith(frame[len(packet.link) :])
        assert len(packet.ip) + overhead <= hop.mtu
        assert decision.frame[:12] == hop.destination_mac + hop.source_mac
        assert decision.verdict is (Verdict.TX if hop.ifindex == INGRESS else Verdict.REDIRECT)
        outer = decision.frame[len(decision.frame) - len(frame) + len(packet.link) - overhead :]
        if overhead and backend.address.version == 4:
            assert checksum.is_right(outer[:20])
            assert int.from_bytes(outer[2:4], "big") == len(packet.ip) + overhead


@slow
@given(st.tuples(st.integers(0, 2**32), st.just("nat")))
def test_nat_changes_one_end_and_keeps_what_is_wrong_with_a_checksum(world: tuple[int, str]) -> None:
    for frame, decision, reference in a_journey(world):
        backend = reference.config.backends.get(decision.backend_id or 0)
        if backend is None or backend.nat is None or decision.reason not in {None, Reason.PASS_NAT_REPLY}:
            continue
        before, after = (parse_frame(each, reference.config.features) for each in (frame, decision.frame))
        is_reply = decision.placement is Placement.REPLY
        if not is_reply and before.destination != backend.nat.vip:
            continue  # the control plane gives a backend to one VIP alone
        if before.protocol in {ICMPV4, ICMPV6}:
            assert _message_sum(after) == _message_sum(before)
            continue
        shift = -backend.nat.shift if is_reply else backend.nat.shift
        ends = (before.source, before.source_port), (before.destination, before.destination_port)
        address, port = ends[not is_reply]
        assert address == (backend.address if is_reply else backend.nat.vip)
        has_ports = before.fragmented is not Fragmented.LATER
        other = backend.nat.vip if is_reply else backend.address
        changed = other, (port + shift) % 2**16 if has_ports else port
        expected = (changed, ends[1]) if is_reply else (ends[0], changed)
        assert ((after.source, after.source_port), (after.destination, after.destination_port)) == expected
        assert after.hop_limit == before.hop_limit - (decision.reason is None)
        assert after.version == 6 or checksum.is_right(after.ip[: after.transport_offset])
        if has_ports and not (before.protocol == UDP and before.payload[6:8] == bytes(2)):
            assert _transport_sum(after) == _transport_sum(before)
            assert before.protocol != UDP or after.payload[6:8] != bytes(2)


def _transport_sum(packet: Packet) -> int:
    """Return the sum that a TCP or UDP checksum makes 0, modulo 65535: what else it is says how wrong it is."""
    return checksum.sum_of_words(packet.source.packed + packet.destination.packed + packet.payload) % 0xFFFF


def _message_sum(packet: Packet) -> int:
    """Return the same of an ICMP message. Only ICMPv6 has the addresses in it."""
    return checksum.sum_of_words(packet.payload) % 0xFFFF if packet.version == 4 else _transport_sum(packet)


@slow
@given(worlds)
def test_every_packet_is_counted_once(world: tuple[int, str]) -> None:
    for frame, decision, _ in a_journey(world):
        counts = decision.effects.counts
        stopped = sum(value for (kind, _, _), value in counts.items() if kind == "reason")
        ways = {key: value for key, value in counts.items() if key not in UNWRAPPED and key[0] != "reason"}
        sent = {kind: value for (kind, _, name), value in ways.items() if name == "packets"}
        assert stopped == (decision.reason is not None)
        if decision.placement is Placement.REPLY and not stopped:
            assert not sent
            assert counts["vip", decision.vip_id or 0, "replies"] == 1
            continue
        assert sent == ({} if stopped else {"vip": 1, "backend": 1})
        assert stopped or counts["vip", decision.vip_id or 0, "bytes"] == len(frame)


@slow
@given(worlds)
def test_a_flow_has_one_record_and_a_load_is_never_negative(world: tuple[int, str]) -> None:
    *_, (_, _, reference) = a_journey(world)
    assert not reference.state.flows.keys() & reference.state.probation.keys()
    assert all(load >= 0 for load in reference.state.loads.values())


@slow
@given(worlds)
def test_answers_go_back_to_whom_they_are_for(world: tuple[int, str]) -> None:
    for frame, decision, reference in a_journey(world):
        if decision.reason in {Reason.ANSWER_ECHO, Reason.ANSWER_TOO_BIG}:
            asked = parse_frame(frame, reference.config.features)
            answer = parse_frame(decision.frame, reference.config.features)
            assert answer.link == asked.link[6:12] + asked.link[:6] + asked.link[12:]
            assert (answer.source, answer.destination) == (asked.destination, asked.source)
            assert answer.hop_limit == 64
            assert answer.version == 6 or checksum.is_right(answer.ip[:20])
        if decision.reason is Reason.ANSWER_TOO_BIG:
            assert len(answer.ip) == {4: 576, 6: 1280}[answer.version]
            assert _has_right_checksum(answer)


@slow
@given(st.lists(frames(NAMED_SERVICES), min_size=1, max_size=6))
def test_any_bytes_have_a_decision(sequence: list[bytes]) -> None:
    reference = Reference(CONFIG, FlowState())
    for number, frame in enumerate(sequence):
        decision = reference.process(frame, INGRESS, NOW + number)
        is_changed = decision.reason in {Reason.DROP_INTERNAL, Reason.PASS_NAT_REPLY}
        if decision.verdict in {Verdict.PASS, Verdict.DROP} and not is_changed:
            assert decision.frame == frame
        reference.state.apply(decision.effects, 0)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200), st.sampled_from([b"\x08\x00", b"\x86\xdd", b"\x81\x00", b""]))
def test_even_noise_does(noise: bytes, kind: bytes) -> None:
    assert Reference(CONFIG, FlowState()).process(bytes(12) + kind + noise, INGRESS, NOW).verdict


@slow
@given(worlds)
def test_the_hash_is_that_of_the_control_plane(world: tuple[int, str]) -> None:
    for frame, decision, reference in a_journey(world):
        try:
            packet = parse_frame(frame, reference.config.features)
        except (Stop, BadPacket):
            continue
        ports = packet.source_port, packet.destination_port
        for kind in HashKind:
            if packet.version == 4:
                expected = flow_hash(int(packet.source), *ports, kind, destination=int(packet.destination))
            else:
                halves, asked = (divmod(int(address), 1 << 64) for address in (packet.source, packet.destination))
                expected = flow_hash6(halves, *ports, kind, destination=asked)
            hashed = hash_flow(packet, kind)
            assert hashed == int(expected[0])
            assert slot_number(hashed) == int(slot_of(expected)[0])
        assert decision is not None


@pytest.mark.parametrize("length", [40, 41, 1000, 3001])
@pytest.mark.parametrize("vip", ["203.0.113.10", "203.0.113.20"])
def test_fragments_in_order_arrive_where_the_first_one_went(vip: str, length: int) -> None:
    whole = IP(src="192.0.2.7", dst=vip, id=5) / TCP(sport=40000, dport=80, flags="A") / Raw(bytes(length))
    reference = Reference(CONFIG, FlowState())
    backends = []
    for part in whole.fragment(fragsize=24):
        decision = reference.process(bytes(Ether() / part), INGRESS, NOW)
        backends.append(decision.backend_id)
        reference.state.apply(decision.effects, 0)
    assert len(backends) >= 2
    assert set(backends) == {1 if vip.endswith("10") else 2}


def test_an_answer_to_a_ping_has_the_right_checksum_for_all_values_of_the_requests() -> None:
    request = bytes(Ether() / IP(src="192.0.2.7", dst="203.0.113.10") / ICMP(type=8) / Raw(b"1234"))
    packet = parse_frame(request, CONFIG.features)
    seen = set()
    for identifier in range(65536):
        message = packet.payload[:2] + bytes(2) + identifier.to_bytes(2, "big") + packet.payload[6:]
        found = checksum.internet_checksum(message)
        seen.add(found)
        asked = replace(packet, payload=message[:2] + found.to_bytes(2, "big") + message[4:])
        answer = answer_ping(asked).frame
        assert answer is not None
        assert checksum.is_right(answer[34:])
    assert len(seen) == 65535, "a right checksum is never 0: the message is not all zeros"


def _has_right_checksum(answer: Packet) -> bool:
    """Whether an ICMP message's own checksum is right; ICMPv6's covers a pseudo-header (RFC 8200, section 8.1)."""
    covered = answer.payload
    if answer.version == 6:
        length = len(answer.payload).to_bytes(4, "big")
        covered = answer.source.packed + answer.destination.packed + length + bytes([0, 0, 0, 58]) + answer.payload
    return checksum.is_right(covered)
