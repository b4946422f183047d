# SPDX-License-Identifier: Apache-2.0
"""What is made from what was there before a change is what would be made anew."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.any_edits import any_edit
from tests.property.knowing import FLIPS, Knowing
from xdplb.control.health.health_source import CheckTarget
from xdplb.control.health.known import check_targets
from xdplb.control.plan.plan import plan
from xdplb.control.plan.steps import Held
from xdplb.control.state.bindings import Bindings
from xdplb.control.state.places import Places
from xdplb.control.state.snapshot import Snapshot
from xdplb.control.state.touched import touched
from xdplb.control.writing.dirty import Index


class Host(Knowing):
    """Each happening is planned as a change of what was there."""

    def __init__(self) -> None:
        super().__init__()
        self.held = Held()
        self.targets: dict[int, tuple[CheckTarget, ...]] = {}

    def change(self, edit) -> None:
        before = self.snapshot
        if not self.apply(edit):
            return
        gone, targets = check_targets(touched(before, self.snapshot), self.targets)
        for backend_id in gone:
            del self.targets[backend_id]
        self.targets |= targets
        self.bring()

    def flip(self, flips) -> None:
        for backend_id, health in flips.items():
            if backend_id in self.targets:
                self.note(backend_id, health)
        self.bring()

    def bring(self) -> None:
        before, dirty = self.held, self.dirty
        self.held = plan(self.snapshot, self.seen(), before, dirty.only, dirty.seen).after(before)
        dirty.clear()
        whole = plan(self.snapshot, self.seen(), before).after(before)
        assert (self.held.vips, self.held.backends, self.held.access) == (whole.vips, whole.backends, whole.access)
        assert self.held.tables.keys() == whole.tables.keys()
        assert all(table == whole.tables[vip_id] for vip_id, table in self.held.tables.items())
        assert plan(self.snapshot, self.seen(), self.held).steps == ()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(any_edit, FLIPS), min_size=3, max_size=12))
def test_changes_one_after_the_other_lead_to_what_a_new_start_would_make(happenings):
    host = Host()
    for edit, flips in happenings:
        host.change(edit)
        check(host)
        host.flip(flips)


def check(host: Host) -> None:
    """Compare what was made step by step with what is made anew."""
    now = host.snapshot
    anew = Snapshot.of(now.desired, now.bindings, now.generations)
    assert (anew.vips, anew.by_id, list(anew.vips)) == (now.vips, now.by_id, list(now.vips))
    assert all(list(anew.vips[key].backends) == list(vip.backends) for key, vip in now.vips.items())
    assert Bindings(now.bindings.vips, now.bindings.epochs).used == now.bindings.used
    places, wanted = now.desired.places, Places.of(now.desired.vips.values())
    assert (places.names, places.backends) == (wanted.names, wanted.backends)
    assert all(sorted(places.vips_on(key)) == sorted(wanted.vips_on(key)) for key in now.vips)
    index = Index()
    index.follow(now, touched(Snapshot(), now))
    assert index.draining == host.index.draining
    assert index.overlaid == host.index.overlaid
    for vip, backend in now.backends():
        assert host.index.backend(backend.id) == (vip, backend)
        address = backend.backend.address
        assert index.vips_of(address) == host.index.vips_of(address)
    assert host.targets == check_targets(touched(Snapshot(), now), {})[1]
    assert host.held.ids == Held(backends=host.held.backends).ids
