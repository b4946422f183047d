# SPDX-License-Identifier: Apache-2.0
"""Changes that fail half-way: once a retry succeeds, the maps are as if nothing had ever failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes import new_drifts
from tests.property.any_edits import KEYS, any_edit
from tests.property.knowing import CAPACITY, FLIPS, Knowing
from xdplb.control.edits.edit import CreateVip, ReplaceBackends
from xdplb.control.events import Events
from xdplb.control.plan.plan import plan
from xdplb.control.plan.steps import WriteAccess
from xdplb.control.writing.applier import Applier
from xdplb.control.writing.reading import read_found, read_held
from xdplb.dataplane.fake import FakePlane
from xdplb.model.backend import Backend
from xdplb.model.errors import PlatformError
from xdplb.model.vip import Forward, Vip

WRITES = {"write_backends", "write_table", "write_vips", "write_access", "start_vips", "delete_table", "clear_backends"}


class Failing:
    """A data plane that fails at its n-th call that changes something, after it has done half of the work."""

    def __init__(self, plane: FakePlane) -> None:
        self._plane = plane
        self.left: int | None = None

    def __getattr__(self, name: str) -> Any:
        target: Callable[..., Any] = getattr(self._plane, name)
        return target if name not in WRITES else lambda *given: self._call(target, name, *given)

    def _call(self, target: Callable[..., Any], name: str, *given: Any) -> Any:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.left = None
                if name in {"write_backends", "clear_backends"}:
                    entries: Sequence[Any] = given[0]
                    target(entries[: (len(entries) + 1) // 2])
                raise PlatformError("no memory")
        return target(*given)


class Host(Knowing):
    """What fails stays dirty, and is tried again with the next happening."""

    def __init__(self) -> None:
        super().__init__()
        self.dirty.everything = True
        self.plane = FakePlane(CAPACITY)
        self.failing = Failing(self.plane)
        self.applier = Applier(self.failing, lambda: 0.0, Events(), new_drifts())

    def flip(self, flips: Any) -> None:
        ids = {bound.id for _, bound in self.snapshot.backends()}
        for backend_id in flips.keys() & ids:
            self.note(backend_id, flips[backend_id])

    def bring(self, fails_at: int | None) -> None:
        self.failing.left = fails_at
        try:
            self.applier.bring(self.snapshot, self.seen(), self.dirty.only, self.dirty.seen)
        except PlatformError:
            self.dirty.everything = True
        else:
            self.dirty.clear()
        self.failing.left = None

    def check(self) -> None:
        """Compare the maps, as they are read back, and what is known, with what a plan of everything makes."""
        held = read_held(self.plane, read_found(self.plane), {})
        again = plan(self.snapshot, self.seen(), held)
        assert [step for step in again.steps if not isinstance(step, WriteAccess)] == []
        known = self.applier.known
        assert (held.vips, held.backends) == (known.vips, known.backends)
        assert held.tables == dict(known.tables)
        assert self.plane.access == {vip.id: vip.access for vip in self.snapshot.vips.values() if vip.access}
        assert self.applier.eligibility == again.eligibility


FAILS = st.none() | st.integers(0, 6)
BACKENDS = tuple(Backend(ip_address(text)) for text in ("10.0.0.1", "10.0.0.2", "10.0.0.3"))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(any_edit, FAILS, FLIPS, FAILS), min_size=2, max_size=10))
def test_after_failures_the_maps_and_what_is_known_are_what_a_plan_of_everything_makes(happenings: Any) -> None:
    host = Host()
    for key in KEYS[:2]:
        host.apply(CreateVip(Vip(key, forward=Forward.IPIP)))
        host.apply(ReplaceBackends(key, BACKENDS))
    host.bring(None)
    for edit, first, flips, second in happenings:
        host.apply(edit)
        host.bring(first)
        host.flip(flips)
        host.bring(second)
    host.bring(None)
    host.check()
