# SPDX-License-Identifier: Apache-2.0
"""A NAT backend that is taken over from the maps: its port, also if the map of replies has lost it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.contract.planes import HOP, KEY, backend, vip
from xdplb.control.state.adoption import adopt
from xdplb.control.state.snapshot import Snapshot
from xdplb.dataplane.fake import FakePlane
from xdplb.dataplane.features import Feature
from xdplb.dataplane.plane import NatWay
from xdplb.model.vip import Forward


@pytest.mark.parametrize(("first", "shift", "port"), [(8080, 7637, 8080), (0, 7637, 8080), (443, 0, None)])
def test_the_port_of_a_nat_backend_is_taken_over(first: int, shift: int, port: int | None) -> None:
    plane = FakePlane()
    plane.require(frozenset(Feature))
    way = NatWay(KEY.address, shift, first, first, (6,))
    plane.write_vips([vip(0, KEY)])
    plane.write_backends([backend(1, vip_id=0, forward=Forward.NAT, nat=way, next_hop=HOP)])
    made = adopt(plane, Snapshot(), 1, datetime.now(UTC)).snapshot
    ((address, taken),) = made.desired.vips[KEY].backends.items()
    assert (address.version, taken.backend.port) == (4, port)
