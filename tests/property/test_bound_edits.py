# SPDX-License-Identifier: Apache-2.0
"""What edits make of a state gets ids as it comes, and nothing of it gets others when all is bound again."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.any_edits import any_edit
from xdplb.control.edits.apply import apply_edit
from xdplb.control.state.bindings import bind
from xdplb.control.state.snapshot import Snapshot
from xdplb.dataplane.plane import Capacity
from xdplb.model.errors import XdplbError

NOW = datetime(2030, 1, 1, 12, 30, 15, 250000, tzinfo=UTC)


@settings(max_examples=100, deadline=None)
@given(st.lists(any_edit, min_size=3, max_size=12))
def test_a_state_that_edits_made_has_its_ids(asked):
    snapshot = Snapshot()
    for edit in asked:
        try:
            after = apply_edit(snapshot.desired, edit, NOW)
        except XdplbError:
            continue
        if after is not snapshot.desired:
            snapshot = snapshot.then(after, Capacity())
    assert bind(snapshot.desired, snapshot.bindings, Capacity()) is snapshot.bindings
