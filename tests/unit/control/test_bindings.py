# SPDX-License-Identifier: Apache-2.0
"""The ids that a host gives to what is desired, and what stays the same between hosts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from ipaddress import ip_address

import pytest

from xdplb.control.edits.apply import apply_edit
from xdplb.control.edits.edit import (
    Batch,
    DeleteBackend,
    DeleteVip,
    DrainBackend,
    Edit,
    PutBackend,
    PutCheck,
    PutVip,
    ReplaceBackends,
    SingleEdit,
)
from xdplb.control.state.bindings import BackendBinding, Bindings, bind
from xdplb.control.state.desired import Desired
from xdplb.control.state.snapshot import Snapshot
from xdplb.control.state.written import all_written
from xdplb.dataplane.plane import Capacity
from xdplb.model.backend import Backend
from xdplb.model.errors import CapacityError, ConflictError, InvalidError, NotFoundError
from xdplb.model.health import HealthCheck
from xdplb.model.vip import Vip, VipKey

NOW = datetime(2030, 1, 1, tzinfo=UTC)
WEB, DNS = VipKey.parse("203.0.113.10:443/tcp"), VipKey.parse("203.0.113.53:53/udp")
ROOM = Capacity()


def backend(last: int, **asked: object) -> Backend:
    return Backend(ip_address(f"10.0.0.{last}"), **asked)  # type: ignore[arg-type]


def desired(*edits: Edit) -> Desired:
    made = Desired()
    for edit in edits:
        made = apply_edit(made, edit, NOW)
    return made


def snapshot(*edits: Edit, capacity: Capacity = ROOM) -> Snapshot:
    made = Snapshot()
    for edit in edits:
        made = made.then(apply_edit(made.desired, edit, NOW), capacity)
    return made


def ids(made: Bindings, key: VipKey = WEB) -> dict[int, tuple[int, int]]:
    return {int(address) & 0xFF: (binding.id, binding.epoch) for address, binding in made.vips[key].backends.items()}


def test_hosts_with_other_histories_have_the_same_desired_and_other_ids() -> None:
    one = snapshot(PutVip(Vip(DNS)), PutVip(Vip(WEB)), PutBackend(WEB, backend(1)), DeleteVip(DNS))
    other = snapshot(PutVip(Vip(WEB)), PutBackend(WEB, backend(2)), ReplaceBackends(WEB, (backend(1),)))
    assert one.desired == other.desired
    assert all_written(one.desired).digest == all_written(other.desired).digest
    assert one.bindings != other.bindings
    assert (one.bindings.vips[WEB].id, ids(one.bindings)) == (1, {1: (1, 0)})
    assert (other.bindings.vips[WEB].id, ids(other.bindings)) == (0, {1: (2, 0)})


def test_the_digest_does_not_depend_on_the_order_of_edits() -> None:
    one = desired(PutVip(Vip(WEB)), PutVip(Vip(DNS)), ReplaceBackends(WEB, (backend(2), backend(10), backend(1))))
    other = desired(PutVip(Vip(DNS)), PutVip(Vip(WEB)), ReplaceBackends(WEB, (backend(1), backend(2), backend(10))))
    assert all_written(one).digest == all_written(other).digest


def test_the_digest_is_one_for_equal_values_however_they_are_written() -> None:
    later = timezone(timedelta(hours=5, minutes=30))
    one = desired(PutVip(Vip(WEB)), PutBackend(WEB, backend(1)), PutCheck(WEB, HealthCheck(interval_seconds=2)))
    other = desired(PutVip(Vip(WEB)), PutBackend(WEB, backend(1)), PutCheck(WEB, HealthCheck(interval_seconds=2.0)))
    drained = apply_edit(one, DrainBackend(WEB, ip_address("10.0.0.1"), 60, 5), NOW)
    again = apply_edit(other, DrainBackend(WEB, ip_address("10.0.0.1"), 60.0, 5.0), NOW.astimezone(later))
    assert drained == again
    assert all_written(drained).digest == all_written(again).digest


def test_binding_again_changes_nothing_and_is_the_same_object() -> None:
    made = desired(PutVip(Vip(WEB)), PutBackend(WEB, backend(1)))
    first = bind(made, Bindings(), ROOM)
    assert bind(made, first, ROOM) is first


def test_what_is_bound_keeps_its_id_and_what_comes_back_is_another_holder() -> None:
    first = snapshot(PutVip(Vip(WEB)), ReplaceBackends(WEB, (backend(1), backend(2))))
    gone = first.then(apply_edit(first.desired, DeleteBackend(WEB, ip_address("10.0.0.1")), NOW), ROOM)
    back = gone.then(apply_edit(gone.desired, PutBackend(WEB, backend(1)), NOW), ROOM)
    assert ids(gone.bindings) == {2: (2, 0)}
    assert ids(back.bindings) == {2: (2, 0), 1: (1, 1)}
    assert back.bindings.epochs == {1: 1, 2: 0}


def test_an_id_that_leaves_by_the_same_change_is_given_out_last() -> None:
    small = Capacity(vips=2, backends=3)
    first = snapshot(PutVip(Vip(WEB)), ReplaceBackends(WEB, (backend(1), backend(2))), capacity=small)
    second = first.then(apply_edit(first.desired, ReplaceBackends(WEB, (backend(8), backend(9))), NOW), small)
    assert ids(second.bindings) == {8: (3, 0), 9: (1, 1)}


def test_a_vip_may_take_the_place_of_another_in_one_change() -> None:
    small = Capacity(vips=1, backends=1)
    first = snapshot(PutVip(Vip(WEB)), PutBackend(WEB, backend(1)), capacity=small)
    swap = Batch((DeleteVip(WEB), PutVip(Vip(DNS)), PutBackend(DNS, backend(1))))
    second = first.then(apply_edit(first.desired, swap, NOW), small)
    assert second.bindings.vips[DNS].id == 0
    assert second.bindings.vips[DNS].backends == {ip_address("10.0.0.1"): BackendBinding(1, 1)}
    assert second.generation == first.generation + 1


@pytest.mark.parametrize(
    ("edit", "words"),
    [(PutVip(Vip(DNS)), "1 of 1 VIPs"), (PutBackend(WEB, backend(2)), "1 of 1 backends")],
)
def test_what_does_not_fit_is_refused(edit: Edit, words: str) -> None:
    small = Capacity(vips=1, backends=1)
    first = snapshot(PutVip(Vip(WEB)), PutBackend(WEB, backend(1)), capacity=small)
    with pytest.raises(CapacityError, match=f"the data plane is full: {words}"):
        first.then(apply_edit(first.desired, edit, NOW), small)


def test_a_change_that_asks_for_more_than_there_is_room_for_says_how_much() -> None:
    small = Capacity(vips=2, backends=2)
    first = snapshot(PutVip(Vip(WEB)), capacity=small)
    three = ReplaceBackends(WEB, (backend(1), backend(2), backend(3)))
    with pytest.raises(CapacityError, match="this needs 3 backends, and there is room for 2"):
        first.then(apply_edit(first.desired, three, NOW), small)


def test_a_batch_is_one_generation_and_what_it_leaves_keeps_its_own() -> None:
    first = snapshot(PutVip(Vip(WEB)), PutVip(Vip(DNS)), PutBackend(WEB, backend(1)))
    batch = Batch((PutBackend(WEB, backend(2)), PutBackend(WEB, backend(3)), PutBackend(WEB, backend(1))))
    second = first.then(apply_edit(first.desired, batch, NOW), ROOM)
    assert second.generation == 4
    assert {int(a) & 0xFF: g for a, g in second.generations.vips[WEB].backends.items()} == {1: 3, 2: 4, 3: 4}
    assert second.vips[DNS] is first.vips[DNS]


def test_a_batch_is_done_whole_or_not_at_all_and_says_which_edit_cannot_be() -> None:
    before = desired(PutVip(Vip(WEB)))
    duplicate = ReplaceBackends(WEB, (backend(1), backend(1)))
    with pytest.raises(InvalidError) as raised:
        apply_edit(before, Batch((PutBackend(WEB, backend(2)), duplicate)), NOW)
    assert [problem.pointer for problem in raised.value.problems] == ["/edits/1/backends/1/address"]
    assert before == desired(PutVip(Vip(WEB)))
    with pytest.raises(ConflictError) as conflict:
        apply_edit(before, Batch((PutVip(Vip(WEB, name="a")), PutVip(Vip(DNS, name="a")))), NOW)
    assert [problem.pointer for problem in conflict.value.problems] == ["/edits/1/name"]


@pytest.mark.parametrize(
    ("edit", "pointer"),
    [(DeleteVip(DNS), "/edits/1/key"), (DeleteBackend(WEB, backend(9).address), "/edits/1/address")],
)
def test_a_batch_points_at_what_it_does_not_find(edit: SingleEdit, pointer: str) -> None:
    with pytest.raises(NotFoundError) as raised:
        apply_edit(desired(PutVip(Vip(WEB))), Batch((PutBackend(WEB, backend(2)), edit)), NOW)
    assert [problem.pointer for problem in raised.value.problems] == [pointer]
