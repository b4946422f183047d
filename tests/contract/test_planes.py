# SPDX-License-Identifier: Apache-2.0
"""One suite for every DataPlane: the one in the kernel and its fake keep the same promises.

Here those about the whole; those about VIPs, backends and traffic are in files of their own.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from xdplb.dataplane.features import Feature
from xdplb.dataplane.plane import BackendCounters, DataPlane, Mark, VipCounters
from xdplb.model.errors import CapacityError, InvalidError
from xdplb.model.vip import RateLimits

from .planes import ALL_FEATURES, CAPACITY, KEY, V6, Kit, backend, read_table, table, vip


def test_capacity(plane: DataPlane) -> None:
    assert plane.capacity == CAPACITY


def test_is_empty_at_first(plane: DataPlane) -> None:
    assert plane.read_vips() == {}
    assert plane.read_backends() == {}
    assert plane.read_table(0) is None
    assert plane.flow_count() == 0
    assert plane.counters().vips == {}


def test_tables_are_replaced_and_copied(plane: DataPlane) -> None:
    mine = table(7)
    plane.write_table(2, mine)
    plane.write_table(3, table(8))
    mine[:] = 0
    read = read_table(plane, 2)
    assert np.array_equal(read, table(7))
    read[:] = 1
    assert np.array_equal(read_table(plane, 2), table(7))
    plane.write_table(2, table(9))
    assert np.array_equal(read_table(plane, 2), table(9))
    assert np.array_equal(read_table(plane, 3), table(8))


def test_a_fingerprint_is_kept_until_its_table_is_written_without_one(plane: DataPlane) -> None:
    one, other = bytes(range(16)), bytes(range(1, 17))
    plane.write_table(2, table(7), one)
    plane.write_print(2, other)
    plane.write_table(3, table(8))
    plane.write_print(3, one)
    assert plane.read_prints() == {2: other, 3: one}
    plane.write_table(2, table(9))
    plane.delete_table(3)
    assert plane.read_prints() == {}


def test_a_table_deleted_is_gone_and_again_is_no_error(plane: DataPlane) -> None:
    plane.write_table(2, table(7))
    plane.delete_table(2)
    assert plane.read_table(2) is None
    plane.delete_table(2)


def test_refuses_a_table_beyond_its_capacity_or_of_another_shape(plane: DataPlane) -> None:
    with pytest.raises(CapacityError):
        plane.write_table(CAPACITY.vips, table(1))
    with pytest.raises(ValueError, match="65537"):
        plane.write_table(0, np.zeros(10, np.uint32))


def test_what_is_required_is_there_and_what_was_stays(plain: DataPlane) -> None:
    assert plain.features == frozenset()
    plain.write_vips([vip(0, KEY)])
    plain.require(frozenset({Feature.IPV6, Feature.LIMITS}))
    plain.require(frozenset({Feature.LIMITS}))
    assert plain.features == {Feature.IPV6, Feature.LIMITS}
    limited = vip(5, V6, limits=RateLimits(packets=1))
    plain.write_vips([vip(0, KEY), limited])
    assert plain.read_vips() == {0: vip(0, KEY), 5: limited}


def test_a_frame_that_cannot_be_tried_is_refused(plane: DataPlane) -> None:
    for frame in (b"", bytes(13), bytes(3521)):
        with pytest.raises(InvalidError, match="cannot be run"):
            plane.explain(frame, 1)


def test_what_is_there_already_can_be_required(plane: DataPlane) -> None:
    plane.require(frozenset({Feature.IPV6}))
    assert plane.features == ALL_FEATURES


def test_another_plane_over_the_same_maps_sees_all(kit: Kit) -> None:
    kit.plane.write_vips([vip(1, KEY)])
    kit.plane.write_table(1, table(4))
    kit.plane.write_backends([backend(4)])
    kit.count_vip(1, VipCounters(1, 2, 3, 4))
    kit.count_backend(4, BackendCounters(5, 6, 7))
    again = kit.again()
    assert again.read_vips() == {1: vip(1, KEY)}
    assert np.array_equal(read_table(again, 1), table(4))
    assert again.read_backends() == {4: backend(4)}
    looked = kit.looked_at()
    assert (looked.read_vips(), looked.read_backends()) == ({1: vip(1, KEY)}, {4: backend(4)})
    assert np.array_equal(read_table(looked, 1), table(4))
    assert (looked.read_table(0), looked.capacity) == (None, CAPACITY)
    assert again.counters().vips == {1: VipCounters(1, 2, 3, 4)}
    assert again.counters().backends == {4: BackendCounters(5, 6, 7)}


def test_the_mark_is_the_last_one_written_and_none_at_first(kit: Kit) -> None:
    assert kit.plane.read_mark() is None
    kit.plane.write_mark(Mark(2**63 - 1, 7))
    assert kit.plane.read_mark() == Mark(2**63 - 1, 7)
    kit.plane.write_mark(Mark(5, 2**40))
    assert kit.again().read_mark() == kit.looked_at().read_mark() == Mark(5, 2**40)


def operations() -> list[Callable[[DataPlane], object]]:
    return [lambda plane: plane.write_vips([]), lambda plane: plane.scan_flows(), lambda plane: plane.attachments()]


@pytest.mark.parametrize("operation", operations(), ids=["write_vips", "scan_flows", "attachments"])
def test_operations_can_be_repeated(plane: DataPlane, operation: Callable[[DataPlane], object]) -> None:
    operation(plane)
    operation(plane)
