# SPDX-License-Identifier: Apache-2.0
"""The ledger of a drain: whatever becomes of connections, each that was seen is counted once, also over a restart."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes import FakeClock
from xdplb.control.flows.ledger import Ledger, RecordsOf, Seen
from xdplb.control.state.certificate import Counted
from xdplb.dataplane.fake import FakePlane
from xdplb.dataplane.layout import FLOW_ESTABLISHED, FLOW_FIN, FLOW_RST
from xdplb.model.vip import VipKey

KEY = VipKey.parse("203.0.113.10:443/tcp")
IDLE = 60.0
MINE, OTHER = 1, 2
CONNECTIONS = range(6)
ENDS = {"fin": FLOW_ESTABLISHED | FLOW_FIN, "reset": FLOW_ESTABLISHED | FLOW_RST, "speak": FLOW_ESTABLISHED, "syn": 0}

steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([*ENDS, "redial"]), st.sampled_from(CONNECTIONS)),
        st.tuples(st.sampled_from(["wait"]), st.sampled_from([1, 4, 11, 70])),
        st.tuples(st.sampled_from(["scan", "restart", "cut"]), st.just(0)),
    ),
    max_size=30,
)


class Drained:
    """A drain of a backend in a plane, with what is known of its connections without looking at records."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.plane = FakePlane(clock=lambda: int(self.clock.seconds * 1e9))
        self.began = self.clock.seconds
        self.ledger = Ledger()
        self.spoke: set[int] = set()
        self.elsewhere: set[int] = set()

    def do(self, what: str, argument: int) -> None:
        if what == "wait":
            self.scan()
            self.clock.advance(argument)
        elif what == "scan":
            self.scan()
        elif what == "restart":
            self.scan()
            before = self.ledger.counted
            self.ledger = Ledger(self.ledger.forgotten)
            self.scan()
            assert self.ledger.counted == before
        elif what == "cut":
            self.scan()
            left = self.ledger.counted.left
            cut = self.ledger.counted.cut
            self.ledger.cut()
            assert (self.ledger.counted.left, self.ledger.counted.cut) == (0, cut + left)
        elif argument not in self.elsewhere:
            self._packet(what, argument)

    def _packet(self, what: str, number: int) -> None:
        if what == "redial":
            self.elsewhere.add(number)
        self.spoke.add(number)
        backend = OTHER if what == "redial" else MINE
        self.plane.add_flow("198.51.100.1", number, KEY, backend=backend, flags=ENDS.get(what, 0))
        if backend == MINE:
            self.scan()

    def scan(self) -> None:
        seconds = self.clock.seconds - self.began
        self.ledger.note(
            Seen(RecordsOf(self.plane.scan_flows(), [MINE]), seconds, MINE, 0, IDLE, is_usable=True), records_udp=False
        )

    @property
    def counted(self) -> Counted:
        return self.ledger.counted


@settings(max_examples=60, deadline=None)
@given(steps)
def test_every_connection_that_spoke_is_counted_once(taken: list[tuple[str, int]]) -> None:
    drained = Drained()
    for what, argument in taken:
        drained.do(what, argument)
        seen_here = {number for number in drained.spoke if number not in drained.elsewhere}
        assert len(seen_here) <= drained.counted.seen <= len(drained.spoke)
        assert drained.counted.lost == drained.counted.broken == drained.counted.handed_over == 0
    drained.scan()
    drained.ledger.cut()
    assert drained.counted.seen == drained.counted.ended + drained.counted.cut
