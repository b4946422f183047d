# SPDX-License-Identifier: Apache-2.0
"""The program that explains: it says of each named packet what the reference model says, and leaves every map alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.config import CONFIG
from tests.fixtures.fixture import Fixture
from tests.fixtures.state import state_before
from tests.fixtures.table import FIXTURES
from tests.fuzz.affinity import on_one_cpu
from tests.fuzz.clock import now
from tests.fuzz.kernel import BUCKETS, COUNTERS, STATE_MAPS, Kernel
from tests.fuzz.mirror import Mirror
from tests.fuzz.profiles import INGRESS
from xdplb.control.explain.differences import differences
from xdplb.reference.flow_state import FlowState
from xdplb.reference.process import Reference

pytestmark = pytest.mark.root

CONFIGURED = (
    *("backends", "backend_loads", "quic_servers", "nat_backends", "nat_index"),
    *("vip_guards", "vip_index", "vip_index6", "vip_tables"),
)


@pytest.fixture(scope="module")
def kernel(pin_dir: Path) -> Iterator[Kernel]:
    """The program with all features, configured as the fixtures want it."""
    with on_one_cpu():
        made = Kernel(pin_dir / "explain", CONFIG.features)
        made.install(CONFIG)
        yield made


def everything(kernel: Kernel) -> dict[str, dict[bytes, bytes]]:
    """Return all maps that hold what packets have done or what was configured."""
    return {name: kernel.contents(name) for name in (*STATE_MAPS, *BUCKETS, *COUNTERS, *CONFIGURED)}


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture.name)
def test_a_named_packet_is_explained_as_the_model_has_it_and_no_map_changes(kernel: Kernel, fixture: Fixture) -> None:
    frame, before = bytes(fixture.frame), now()
    state = state_before(fixture, before, kernel.cpu)
    kernel.forget()
    Mirror(kernel, FlowState(), kernel.cpu).put_all(state)
    maps = everything(kernel)
    early = now()
    with kernel.routed():
        decision = kernel.plane.explain(frame, INGRESS)
    outcomes = [Reference(CONFIG, state).process(frame, INGRESS, at, kernel.cpu) for at in (early, now())]
    assert () in [differences(outcome, decision) for outcome in outcomes], differences(outcomes[0], decision)
    assert everything(kernel) == maps


def test_a_packet_that_is_sent_does_change_maps(kernel: Kernel) -> None:
    fixture = next(each for each in FIXTURES if each.remembered is not None)
    kernel.forget()
    Mirror(kernel, FlowState(), kernel.cpu).put_all(state_before(fixture, now(), kernel.cpu))
    maps = everything(kernel)
    kernel.run(bytes(fixture.frame))
    changed = {name for name, contents in everything(kernel).items() if contents != maps[name]}
    assert {"vip_stats", "backend_stats"} < changed
