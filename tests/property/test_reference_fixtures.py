# SPDX-License-Identifier: Apache-2.0
"""The named packets, through the reference model; tests/bpf sends the same through the program."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.fixtures.config import CONFIG
from tests.fixtures.fixture import Fixture
from tests.fixtures.page import PAGE, render
from tests.fixtures.state import flow_of, state_before
from tests.fixtures.table import FIXTURES
from tests.fuzz.profiles import INGRESS
from xdplb.dataplane.reasons import REASONS
from xdplb.reference.flow import find
from xdplb.reference.process import HEADROOM, Reference
from xdplb.reference.reasons import Reason

NOW = 10**13


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture.name)
def test_the_model_agrees_with_a_named_packet(fixture: Fixture) -> None:
    state = state_before(fixture, NOW)
    came_in = bytes(fixture.frame)
    headroom = HEADROOM - fixture.before.headroom_taken
    decision = Reference(CONFIG, state).process(came_in, INGRESS, NOW, headroom=headroom)
    assert (decision.reason or decision.verdict) == fixture.decision
    assert decision.frame == (came_in if fixture.out is None else bytes(fixture.out))
    state.apply(decision.effects, 0)
    if fixture.remembered is not None:
        found = find(state, flow_of(fixture))
        assert found is not None
        assert (found.table, found.flow.backend) == fixture.remembered


def test_names_are_unique() -> None:
    assert [name for name, times in Counter(fixture.name for fixture in FIXTURES).items() if times > 1] == []


def test_every_reason_has_a_named_packet() -> None:
    shown = {fixture.decision for fixture in FIXTURES}
    assert set(Reason) - shown == set()


def test_the_models_reasons_are_those_of_the_program() -> None:
    assert [reason.name for reason in REASONS] == [reason.value for reason in Reason]


def test_the_page_is_made_of_them() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "run: python -m tests.fixtures.page"
