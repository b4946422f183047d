# SPDX-License-Identifier: Apache-2.0
"""Which backend a packet goes to and what is remembered: the table of docs/slots.md, one packet a row.

Each row sets one slot state and perhaps one record, sends one packet, and looks at the frame that comes out, at the
record after it and at every counter.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import pytest

from tests.bpf import packets
from tests.bpf.balancer import EPOCH, IDLE_SECONDS, VIP_IDS, Balancer, Record, backend, slot
from xdplb.dataplane.layout import FLOW_ESTABLISHED, FLOW_FIN, FLOW_RST, NO_BACKEND, SLOT_PINNED
from xdplb.dataplane.libbpf import XDP_DROP, XDP_TX
from xdplb.dataplane.plane import BackendCounters, VipCounters
from xdplb.model.vip import Protocol

pytestmark = pytest.mark.root

OLD, NEW, OTHER = 1, 2, 3
"""Backends: the slot's previous owner, its owner, and one that has nothing to do with it."""

EST, FIN, RST = FLOW_ESTABLISHED, FLOW_FIN, FLOW_RST
STEADY, MOVING, PINNED = slot(NEW), slot(NEW, OLD), slot(NEW, SLOT_PINNED)
SILENT = IDLE_SECONDS + 5.0
UDP = "udp"
FRESH = Record(OLD, probation=True)
RESET = Record(OLD, EST | RST, probation=True)


@dataclass(frozen=True)
class Row:
    """`packet` is TCP flags in scapy's letters, or UDP; `to` a backend's id, or the reason of the drop."""

    shows: str
    slot: int
    packet: str
    to: int | str
    before: Record | None = None
    after: Record | None = None
    down: int = 0
    drained: int = 0
    at_risk: bool = False
    always: bool = False
    new_flow: bool | None = None  # None: if the packet is a SYN that is sent on


ROWS = [
    # Steady: the owner, and the flow table is neither read nor written.
    Row("a steady slot's owner gets a SYN, nothing is recorded", STEADY, "S", NEW),
    Row("... and what follows", STEADY, "A", NEW),
    Row("... and the end of a connection", STEADY, "FA", NEW),
    Row("... and a reset", STEADY, "R", NEW),
    Row("... and a SYN with ECN bits (RFC 3168)", STEADY, "SEC", NEW),
    Row("a record does not count in a steady slot", STEADY, "A", NEW, before=Record(OLD, EST), after=Record(OLD, EST)),
    Row("a steady slot without an owner", slot(NO_BACKEND), "S", "drop_no_backend"),
    Row("a steady slot whose owner is down", STEADY, "A", "drop_backend_down", down=NEW),
    # Moving, no record: new connections to the owner, old ones to the previous owner, both recorded.
    Row("a SYN in a moving slot is the owner's", MOVING, "S", NEW, after=Record(NEW, probation=True)),
    Row("a packet of an unrecorded connection is the previous owner's", MOVING, "A", OLD, after=Record(OLD, EST)),
    Row("a FIN as well, and it is noted", MOVING, "FA", OLD, after=Record(OLD, EST | FIN)),
    Row("a RST as well, but there is nothing left to record", MOVING, "R", OLD),
    Row("a SYN with ACK is no new connection", MOVING, "SA", OLD, after=Record(OLD, EST)),
    Row("the previous owner is down: the owner, at risk", MOVING, "A", NEW, down=OLD, at_risk=True),
    Row(
        "the previous owner is down: a SYN does not care", MOVING, "S", NEW, down=OLD, after=Record(NEW, probation=True)
    ),
    Row("the owner is down: a SYN is dropped, not recorded", MOVING, "S", "drop_backend_down", down=NEW),
    Row("the owner is down: the old connections live", MOVING, "A", OLD, down=NEW, after=Record(OLD, EST)),
    Row("nobody takes new connections", slot(NO_BACKEND, OLD), "S", "drop_no_backend"),
    Row("... and the old ones live", slot(NO_BACKEND, OLD), "A", OLD, after=Record(OLD, EST)),
    # Moving, recorded: the record wins.
    Row("a record of the previous owner wins", MOVING, "A", OLD, before=Record(OLD, EST), after=Record(OLD, EST)),
    Row("a record of the owner wins", MOVING, "A", NEW, before=Record(NEW), after=Record(NEW, EST)),
    Row("a record of a third backend wins", MOVING, "A", OTHER, before=Record(OTHER, EST), after=Record(OTHER, EST)),
    Row("a FIN is noted", MOVING, "FA", OLD, before=Record(OLD, EST), after=Record(OLD, EST | FIN)),
    Row("a RST is noted", MOVING, "RA", OLD, before=Record(OLD, EST), after=Record(OLD, EST | RST)),
    Row("what follows a FIN stays", MOVING, "A", OLD, before=Record(OLD, EST | FIN), after=Record(OLD, EST | FIN)),
    Row("a retransmitted SYN stays", MOVING, "S", OLD, before=Record(OLD), after=Record(OLD)),
    Row("a SYN on a live connection stays", MOVING, "S", OLD, before=Record(OLD, EST), after=Record(OLD)),
    Row(
        "... and a second one, while its backend takes new ones",
        MOVING,
        "S",
        OLD,
        before=Record(OLD),
        after=Record(OLD),
    ),
    # Port reuse: a SYN on a record that has ended is a new connection.
    Row("a SYN after a FIN is a new connection", MOVING, "S", NEW, before=Record(OLD, EST | FIN), after=Record(NEW)),
    Row("a SYN after a RST is a new connection", MOVING, "S", NEW, before=Record(OLD, EST | RST), after=Record(NEW)),
    Row(
        "a SYN after a long silence is a new connection",
        MOVING,
        "S",
        NEW,
        before=Record(OLD, EST, age=SILENT),
        after=Record(NEW),
    ),
    Row(
        "silence within the promise changes nothing",
        MOVING,
        "S",
        OLD,
        before=Record(OLD, EST, age=IDLE_SECONDS - 10),
        after=Record(OLD, age=IDLE_SECONDS - 10),
    ),
    Row(
        "a packet after a long silence keeps its record, which is fresh again",
        MOVING,
        "A",
        OLD,
        before=Record(OLD, EST, age=SILENT),
        after=Record(OLD, EST),
    ),
    # A SYN on a backend that takes nothing new: the first may be a stray, the second in a row is a new connection.
    Row(
        "the first SYN of a row goes to the backend of the record",
        MOVING,
        "S",
        OLD,
        drained=OLD,
        before=Record(OLD, EST),
        after=Record(OLD),
    ),
    Row("... and the second is a new connection", MOVING, "S", NEW, drained=OLD, before=Record(OLD), after=Record(NEW)),
    Row("... in a pinned slot too", PINNED, "S", NEW, drained=OLD, before=Record(OLD), after=Record(NEW)),
    Row("... and on probation", MOVING, "S", NEW, drained=OLD, before=FRESH, after=Record(NEW, probation=True)),
    Row("... in a pinned slot too", PINNED, "S", NEW, drained=OLD, before=FRESH, after=Record(NEW, probation=True)),
    Row(
        "... if nobody owns the slot it is dropped",
        slot(NO_BACKEND, OLD),
        "S",
        "drop_no_backend",
        drained=OLD,
        before=Record(OLD),
        after=Record(OLD),
    ),
    Row(
        "... what follows the first SYN says that the connection lives",
        MOVING,
        "A",
        OLD,
        drained=OLD,
        before=Record(OLD),
        after=Record(OLD, EST),
    ),
    Row(
        "always: the second SYN of a row is a new connection",
        STEADY,
        "S",
        NEW,
        drained=OLD,
        always=True,
        before=Record(OLD),
        after=Record(NEW),
    ),
    Row(
        "always: ... on probation",
        STEADY,
        "S",
        NEW,
        drained=OLD,
        always=True,
        before=FRESH,
        after=Record(NEW, probation=True),
    ),
    Row(
        "always: ... the first one is not",
        STEADY,
        "S",
        OLD,
        drained=OLD,
        always=True,
        before=Record(OLD, EST),
        after=Record(OLD),
    ),
    # What speaks against a connection, or comes again because nobody answers, does not keep its record fresh.
    Row(
        "a SYN does not make a record fresh",
        MOVING,
        "S",
        OLD,
        before=Record(OLD, EST, age=30.0),
        after=Record(OLD, age=30.0),
    ),
    Row("... nor one on probation", MOVING, "S", OLD, before=replace(FRESH, age=30.0), after=replace(FRESH, age=30.0)),
    Row("... nor a RST", MOVING, "R", OLD, before=Record(OLD, EST, age=30.0), after=Record(OLD, EST | RST, age=30.0)),
    Row(
        "... nor a RST on probation", MOVING, "R", OLD, before=replace(FRESH, age=30.0), after=replace(RESET, age=30.0)
    ),
    Row(
        "... nor a second FIN",
        MOVING,
        "FA",
        OLD,
        before=Record(OLD, EST | FIN, age=30.0),
        after=Record(OLD, EST | FIN, age=30.0),
    ),
    Row("a first FIN does", MOVING, "FA", OLD, before=Record(OLD, EST, age=30.0), after=Record(OLD, EST | FIN)),
    Row(
        "... and what a half-closed connection still sends",
        MOVING,
        "A",
        OLD,
        before=Record(OLD, EST | FIN, age=30.0),
        after=Record(OLD, EST | FIN),
    ),
    # Records that do not count.
    Row(
        "a record of an earlier holder of the id does not count",
        MOVING,
        "A",
        OLD,
        before=Record(OTHER, EST, epoch=EPOCH - 1),
        after=Record(OLD, EST),
    ),
    Row(
        "... nor does it hold a SYN",
        MOVING,
        "S",
        NEW,
        before=Record(OTHER, EST, epoch=EPOCH - 1),
        after=Record(NEW),
    ),
    Row(
        "a record of a backend that is down does not count",
        MOVING,
        "A",
        OLD,
        down=OTHER,
        before=Record(OTHER, EST),
        after=Record(OLD, EST),
    ),
    Row("... nor does it hold a SYN", MOVING, "S", NEW, down=OTHER, before=Record(OTHER, EST), after=Record(NEW)),
    # Pinned: records win, nothing new is recorded.
    Row("a SYN in a pinned slot is the owner's, not recorded", PINNED, "S", NEW),
    Row("a record wins in a pinned slot", PINNED, "A", OLD, before=Record(OLD, EST), after=Record(OLD, EST)),
    Row("no record: the owner, at risk", PINNED, "A", NEW, at_risk=True),
    Row("a retransmitted SYN stays in a pinned slot", PINNED, "S", OLD, before=Record(OLD), after=Record(OLD)),
    Row("port reuse rewrites the record", PINNED, "S", NEW, before=Record(OLD, EST | FIN), after=Record(NEW)),
    Row("... after silence too", PINNED, "S", NEW, before=Record(OLD, EST, age=SILENT), after=Record(NEW)),
    Row(
        "a record of a backend that is down is none",
        PINNED,
        "A",
        NEW,
        down=OLD,
        at_risk=True,
        before=Record(OLD, EST),
        after=Record(OLD, EST),
    ),
    Row(
        "a SYN takes the place of a record that counts again when its backend is back",
        PINNED,
        "S",
        NEW,
        down=OLD,
        before=Record(OLD, EST),
        after=Record(NEW),
    ),
    Row(
        "... and what is no SYN leaves it",
        PINNED,
        "A",
        NEW,
        down=OLD,
        before=Record(OLD, EST),
        after=Record(OLD, EST),
        at_risk=True,
    ),
    Row("a pinned slot whose owner is down", PINNED, "S", "drop_backend_down", down=NEW),
    Row("a pinned slot without an owner", slot(NO_BACKEND, SLOT_PINNED), "A", "drop_no_backend"),
    # UDP moves with its slot.
    Row("UDP in a steady slot", STEADY, UDP, NEW),
    Row("UDP in a moving slot is the owner's", MOVING, UDP, NEW),
    Row("UDP in a pinned slot is the owner's", PINNED, UDP, NEW),
    Row("UDP does not look at records", MOVING, UDP, NEW, before=Record(OLD, EST), after=Record(OLD, EST)),
    # On probation: where a record is until the flow has sent another packet than a SYN.
    Row("a retransmitted SYN stays on probation", MOVING, "S", OLD, before=FRESH, after=FRESH),
    Row("a RST as well: a flood's borrowed hosts send them", MOVING, "R", OLD, before=FRESH, after=RESET),
    Row("what follows the SYN ends probation", MOVING, "A", OLD, before=FRESH, after=Record(OLD, EST)),
    Row("... in a pinned slot too", PINNED, "A", OLD, before=FRESH, after=Record(OLD, EST)),
    Row("... a FIN as well, and it is noted", MOVING, "FA", OLD, before=FRESH, after=Record(OLD, EST | FIN)),
    Row(
        "a SYN after a RST begins another probation", MOVING, "S", NEW, before=RESET, after=Record(NEW, probation=True)
    ),
    Row(
        "a SYN after a long silence begins another probation",
        MOVING,
        "S",
        NEW,
        before=replace(FRESH, age=SILENT),
        after=Record(NEW, probation=True),
    ),
    Row(
        "on probation for a backend that is down: a SYN begins another",
        MOVING,
        "S",
        NEW,
        down=OTHER,
        before=replace(FRESH, backend=OTHER),
        after=Record(NEW, probation=True),
    ),
    Row(
        "on probation for a backend that is down: an old connection is recorded among the open ones",
        MOVING,
        "A",
        OLD,
        down=OTHER,
        before=replace(FRESH, backend=OTHER),
        after=Record(OLD, EST),
    ),
    # Tracking always: every flow has a record.
    Row("always: a SYN is recorded", STEADY, "S", NEW, always=True, after=Record(NEW, probation=True)),
    Row("always: ... and what follows it", STEADY, "A", OLD, always=True, before=FRESH, after=Record(OLD, EST)),
    Row("always: an old connection", STEADY, "A", NEW, always=True, at_risk=True, after=Record(NEW, EST)),
    Row("always: a RST without a record", STEADY, "R", NEW, always=True, at_risk=True),
    Row("always: a record wins", STEADY, "A", OLD, always=True, before=Record(OLD, EST), after=Record(OLD, EST)),
    Row("always: port reuse", STEADY, "S", NEW, always=True, before=Record(OLD, EST | FIN), after=Record(NEW)),
    Row(
        "always: previous in a moving slot",
        MOVING,
        "A",
        OLD,
        always=True,
        at_risk=True,
        after=Record(OLD, EST),
    ),
    Row(
        "always: the previous owner is down",
        MOVING,
        "A",
        NEW,
        down=OLD,
        always=True,
        at_risk=True,
        after=Record(NEW, EST),
    ),
    Row("always: a SYN in a pinned slot", PINNED, "S", NEW, always=True, after=Record(NEW, probation=True)),
    Row(
        "always: a miss in a pinned slot",
        PINNED,
        "A",
        NEW,
        always=True,
        at_risk=True,
        after=Record(NEW, EST),
    ),
    Row("always: UDP is recorded", STEADY, UDP, NEW, always=True, after=Record(NEW, EST), new_flow=True),
    Row("always: UDP sticks", STEADY, UDP, OLD, always=True, before=Record(OLD, EST), after=Record(OLD, EST)),
    Row(
        "always: UDP is another flow after a long silence",
        STEADY,
        UDP,
        NEW,
        always=True,
        before=Record(OLD, EST, age=SILENT),
        after=Record(NEW, EST),
        new_flow=True,
    ),
    Row("always: UDP new in a moving slot", MOVING, UDP, NEW, always=True, after=Record(NEW, EST), new_flow=True),
    Row("always: UDP new in a pinned slot", PINNED, UDP, NEW, always=True, after=Record(NEW, EST), new_flow=True),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.shows)
def test_packet(balancer: Balancer, row: Row) -> None:
    protocol = Protocol.UDP if row.packet == UDP else Protocol.TCP
    backends = [
        backend(number, usable=number != row.down, takes_new=number != row.drained) for number in (OLD, NEW, OTHER)
    ]
    balancer.set_up(row.slot, backends, track_always=row.always)
    if row.before is not None:
        balancer.write_record(protocol, row.before)
    frame = packets.udp() if row.packet == UDP else packets.tcp(row.packet)

    result = balancer.send(frame)

    assert result.verdict == (XDP_DROP if isinstance(row.to, str) else XDP_TX)
    assert result.packet == (frame if isinstance(row.to, str) else packets.through_dr(frame, row.to))
    assert balancer.record(protocol) == row.after
    _check_counters(balancer, row, VIP_IDS[protocol], len(frame))


def _check_counters(balancer: Balancer, row: Row, vip_id: int, length: int) -> None:
    is_syn = "S" in row.packet and "A" not in row.packet
    new_flows = int(is_syn if row.new_flow is None else row.new_flow)
    counters = balancer.plane.counters()
    stopped = {reason: count for reason, count in counters.reasons.items() if count}
    if isinstance(row.to, str):
        assert stopped == {row.to: 1}
        assert counters.vips[vip_id] == VipCounters()
        assert set(counters.backends.values()) == {BackendCounters()}
    else:
        assert not stopped
        assert counters.vips[vip_id] == VipCounters(1, length, new_flows, int(row.at_risk), int(_is_added(row)))
        used = {number: count for number, count in counters.backends.items() if count.packets}
        assert used == {row.to: BackendCounters(1, length, new_flows)}


def _is_added(row: Row) -> bool:
    """Whether the packet adds a record to those of open flows."""
    was_there = row.before is not None and not row.before.probation
    return row.after is not None and not row.after.probation and not was_there


def test_connection_survives_the_whole_life_of_a_move(balancer: Balancer) -> None:
    """steady, moving, pinned, steady: a connection keeps its backend as long as its slot is not steady again."""
    balancer.set_up(slot(OLD), [backend(OLD), backend(NEW)])
    segment = packets.tcp("A")
    assert balancer.send(packets.tcp("S")).packet == packets.through_dr(packets.tcp("S"), OLD)

    balancer.write_slots(MOVING)
    assert balancer.send(segment).packet == packets.through_dr(segment, OLD)
    balancer.write_slots(PINNED)
    assert balancer.send(segment).packet == packets.through_dr(segment, OLD)
    balancer.write_slots(STEADY)
    assert balancer.send(segment).packet == packets.through_dr(segment, NEW)


def test_handshake_during_a_move_stays_where_it_began(balancer: Balancer) -> None:
    """A SYN, its retransmit and the rest go to one backend, whichever owner the slot gets meanwhile."""
    balancer.set_up(MOVING, [backend(OLD), backend(NEW), backend(OTHER)])
    for owner, flags in ((NEW, "S"), (OTHER, "S"), (OTHER, "A"), (OLD, "PA"), (OLD, "FA")):
        balancer.write_slots(slot(owner, OLD))
        assert balancer.send(packets.tcp(flags)).packet == packets.through_dr(packets.tcp(flags), NEW)


def test_port_reuse_begins_anew(balancer: Balancer) -> None:
    """After a FIN the same ports are another connection, with a record that knows nothing of the first."""
    balancer.set_up(MOVING, [backend(OLD), backend(NEW)])
    for flags, to in (("A", OLD), ("FA", OLD), ("A", OLD), ("S", NEW), ("A", NEW), ("S", NEW)):
        assert balancer.send(packets.tcp(flags)).packet == packets.through_dr(packets.tcp(flags), to)
    assert balancer.record(Protocol.TCP) == Record(NEW)


@pytest.mark.parametrize("always", [False, True], ids=["moving", "always"])
def test_a_client_that_dials_again_over_ipv6_leaves_a_drained_backend(balancer: Balancer, *, always: bool) -> None:
    entries = [backend(number, version=6, inner_version=6, takes_new=number != OLD) for number in (OLD, NEW)]
    balancer.set_up(slot(OLD), entries, track_always=always)
    if always:
        assert balancer.send(packets.tcp6("S")).packet == packets.through_dr(packets.tcp6("S"), OLD)
    else:
        balancer.write_slots(MOVING)
    assert balancer.send(packets.tcp6("A")).packet == packets.through_dr(packets.tcp6("A"), OLD)
    balancer.write_slots(MOVING)
    for flags, to in (("S", OLD), ("A", OLD), ("S", OLD), ("S", NEW), ("S", NEW), ("A", NEW), ("S", NEW)):
        assert balancer.send(packets.tcp6(flags)).packet == packets.through_dr(packets.tcp6(flags), to)


def test_a_record_is_touched_once_a_second(balancer: Balancer) -> None:
    """A packet soon after the last one leaves the record's time alone: its cache line stays unwritten."""
    balancer.set_up(MOVING, [backend(OLD), backend(NEW)])
    assert _age_after_a_packet(balancer, 0.5) >= 0.5
    assert _age_after_a_packet(balancer, 1.5) < 1.5


def _age_after_a_packet(balancer: Balancer, age: float) -> float:
    """Return the age of a record, in seconds, after a packet that came when it was `age` old, give or take 0.4."""
    found, took = math.nan, math.inf
    while took > 0.4:  # again, should the host have been busy
        started = time.monotonic()
        balancer.write_record(Protocol.TCP, Record(OLD, EST, age=age))
        balancer.send(packets.tcp("A"))
        found = float(balancer.plane.scan_flows().age[0])
        took = time.monotonic() - started
    return found
