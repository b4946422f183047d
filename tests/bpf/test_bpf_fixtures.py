# SPDX-License-Identifier: Apache-2.0
"""The named packets, through the program; docs/named-packets.md shows them. And what scapy makes for the same VIPs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fixtures.config import CONFIG, NAMED_SERVICES
from tests.fixtures.fixture import Fixture
from tests.fixtures.state import flow_of, state_before
from tests.fixtures.table import FIXTURES
from tests.fuzz.affinity import on_one_cpu
from tests.fuzz.both import Both
from tests.fuzz.clock import now
from tests.fuzz.kernel import Kernel
from tests.fuzz.mirror import Mirror
from tests.fuzz.scapy_frames import frames
from xdplb.dataplane.reasons import REASONS
from xdplb.reference.flow_state import FlowState, FlowTable
from xdplb.reference.reasons import Reason

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def kernel(pin_dir: Path) -> Iterator[Kernel]:
    """The program with all features, configured as the fixtures want it."""
    with on_one_cpu():
        made = Kernel(pin_dir / "fixtures", CONFIG.features)
        made.install(CONFIG)
        yield made


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture.name)
def test_the_program_agrees_with_a_named_packet(kernel: Kernel, fixture: Fixture) -> None:
    came_in = bytes(fixture.frame)
    mirror = Mirror(kernel, FlowState(), kernel.cpu)
    kernel.forget()
    mirror.put_all(state_before(fixture, now(), kernel.cpu))
    before = kernel.sums("reason_stats")[:, 0]
    with kernel.routed():
        verdict, out = kernel.run(came_in, metadata=bytes(fixture.before.headroom_taken))
    counted = [reason.name for reason in REASONS if (kernel.sums("reason_stats")[:, 0] - before)[reason.number]]
    assert counted == ([fixture.decision.value] if isinstance(fixture.decision, Reason) else [])
    assert verdict == (fixture.decision.verdict if isinstance(fixture.decision, Reason) else fixture.decision)
    assert out == (came_in if fixture.out is None else bytes(fixture.out))
    if fixture.remembered is not None:
        table, backend = fixture.remembered
        flows = {each: mirror.read_flow(each, flow_of(fixture)) for each in FlowTable}
        assert {each: flow.backend for each, flow in flows.items() if flow is not None} == {table: backend}


@settings(deadline=None, max_examples=250)
@given(sequence=st.lists(frames(NAMED_SERVICES), min_size=1, max_size=8))
def test_the_program_agrees_with_the_model_on_what_scapy_makes(kernel: Kernel, sequence: list[bytes]) -> None:
    kernel.forget()
    kernel.zero_counters()
    both = Both(kernel, CONFIG)
    with kernel.routed():
        for frame in sequence:
            both.send(frame)
    both.compare_state()
