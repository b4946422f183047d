"""Edits and what is desired go through JSON and back, and mean the same afterwards."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.any_edits import any_edit
from xdplb.control.edits import edit as edits
from xdplb.control.edits.apply import apply_edit
from xdplb.control.edits.codec import edit_from_json, edit_to_json
from xdplb.control.state.bindings import bind
from xdplb.control.state.codec import canonical, desired_from_json
from xdplb.control.state.desired import Desired
from xdplb.control.state.snapshot import Snapshot
from xdplb.dataplane.plane import Capacity
from xdplb.model.errors import XdplbError

NOW = datetime(2030, 1, 1, 12, 30, 15, 250000, tzinfo=UTC)


@settings(max_examples=200, deadline=None)
@given(any_edit)
def test_an_edit_is_the_same_after_json(edit):
    text = json.dumps(edit_to_json(edit))
    again = edit_from_json(json.loads(text))
    assert json.dumps(edit_to_json(again)) == text
    assert type(again) is type(edit)


def attempted(desired: Desired, edit: edits.Edit) -> Desired | str:
    """What is desired after an edit, or why it is refused."""
    try:
        return apply_edit(desired, edit, NOW)
    except XdplbError as error:
        return f"{type(error).__name__}: {error}"


@settings(max_examples=100, deadline=None)
@given(st.lists(any_edit, min_size=3, max_size=12))
def test_edits_sent_to_another_host_make_the_same_of_it(asked):
    here, there, snapshot = Desired(), Desired(), Snapshot()
    for edit in asked:
        sent = edit_from_json(json.loads(json.dumps(edit_to_json(edit))))
        mine, theirs = attempted(here, edit), attempted(there, sent)
        assert mine == theirs
        if isinstance(mine, Desired) and isinstance(theirs, Desired):
            assert canonical(mine) == canonical(theirs)
            snapshot = snapshot if mine is here else snapshot.then(mine, Capacity())
            here, there = mine, theirs
    assert here == desired_from_json(canonical(here))
    assert snapshot.desired == here
    assert bind(here, snapshot.bindings, Capacity()) is snapshot.bindings
