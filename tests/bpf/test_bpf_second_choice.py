# SPDX-License-Identifier: Apache-2.0
"""What a second choice leaves behind, and what a flood of SYNs that get one costs open connections."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.bpf import packets
from tests.bpf.balancer import Balancer, backend, slot
from tests.bpf.test_bpf_flood import CONNECTIONS, NEW, OLD, flood, talk
from xdplb.dataplane.layout import FLOW_SECOND_CHOICE
from xdplb.dataplane.libbpf import XDP_TX

pytestmark = pytest.mark.root

LIMIT = 1  # new connections a second


@pytest.fixture
def second(balancer: Balancer) -> Balancer:
    """A balancer of which OLD owns nearly all slots and gets few new connections; the others go to NEW."""
    slots = balancer.slots(slot(OLD))
    slots[::8] = slot(NEW)
    balancer.set_up(slots, [replace(backend(OLD), max_new_flows=LIMIT), backend(NEW)])
    vips = balancer.plane.read_vips().values()
    balancer.plane.write_vips([replace(vip, second_choice=True) for vip in vips])
    return balancer


def test_the_record_is_on_probation_until_the_client_answers(second: Balancer) -> None:
    talk(second, "S")
    found = second.plane.scan_flows()
    chosen = found.flags & FLOW_SECOND_CHOICE != 0
    assert chosen.sum() > CONNECTIONS / 2
    assert found.probation.all()
    homes = talk(second, "A")
    answered = second.plane.scan_flows()
    is_open = ~answered.probation
    assert (answered.flags[is_open] & FLOW_SECOND_CHOICE).all()
    assert is_open.sum() == chosen.sum()
    assert talk(second, "PA") == homes


def test_open_connections_outlive_a_flood_of_second_choices(second: Balancer) -> None:
    talk(second, "S")
    homes = talk(second, "A")
    records = second.plane.flow_count()
    flood(second, "S")
    assert second.plane.flow_count() == records
    assert talk(second, "PA") == homes
    assert second.send(packets.tcp("S")).verdict == XDP_TX
