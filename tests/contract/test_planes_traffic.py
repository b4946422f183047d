# SPDX-License-Identifier: Apache-2.0
"""What every DataPlane promises of what packets leave: counters, flow records, loads."""

from __future__ import annotations

from dataclasses import astuple, fields, replace
from ipaddress import IPv4Address, ip_address

import numpy as np
import pytest

from xdplb.dataplane import layout
from xdplb.dataplane.plane import BackendCounters, FlowRecords, VipCounters
from xdplb.dataplane.reasons import REASONS
from xdplb.dataplane.remembered import Buckets, FlowId, Remembered
from xdplb.model.vip import VipKey

from .planes import KEY, UDP, V6, V6_UDP, Kit, backend, vip


def test_counters_are_of_the_vips_and_backends_there_are(kit: Kit) -> None:
    kit.plane.write_vips([vip(1, KEY)])
    kit.plane.write_backends([backend(1), backend(31)])
    kit.count_vip(1, VipCounters(10, 2**40, 3, 4, 5))
    kit.count_vip(2, VipCounters(9, 9, 9, 9, 9))
    kit.count_backend(31, BackendCounters(5, 6, 7))
    kit.count_reason("drop_no_backend", 12)
    counters = kit.plane.counters()
    assert counters.vips == {1: VipCounters(10, 2**40, 3, 4, 5)}
    assert counters.backends == {1: BackendCounters(), 31: BackendCounters(5, 6, 7)}
    assert counters.reasons["drop_no_backend"] == 12
    assert set(counters.reasons) == {reason.name for reason in REASONS}
    assert sum(counters.reasons.values()) == 12


@pytest.mark.parametrize("all_ids", [False, True])
def test_counters_of_few_and_of_all_backends(kit: Kit, all_ids: bool) -> None:
    ids = range(1, 32) if all_ids else [9]
    kit.plane.write_backends([backend(number) for number in ids])
    for number in ids:
        kit.count_backend(number, BackendCounters(number, number * 2, number * 3))
    assert kit.plane.counters().backends == {n: BackendCounters(n, n * 2, n * 3) for n in ids}


def test_a_new_epoch_counts_from_zero_and_the_same_one_goes_on(kit: Kit) -> None:
    kit.plane.write_backends([backend(1, epoch=4), backend(2, epoch=4)])
    for number in (1, 2):
        kit.count_backend(number, BackendCounters(5, 6, 7))
    kit.plane.write_backends([backend(1, epoch=4, usable=False), backend(2, epoch=5)])
    assert kit.plane.counters().backends == {1: BackendCounters(5, 6, 7), 2: BackendCounters()}


def test_a_backend_cleared_and_written_again_counts_from_zero(kit: Kit) -> None:
    kit.plane.write_backends([backend(1)])
    kit.count_backend(1, BackendCounters(5, 6, 7))
    kit.plane.clear_backends([1])
    kit.plane.write_backends([backend(1)])
    assert kit.plane.counters().backends == {1: BackendCounters()}


def test_vip_counters_are_reset_by_id(kit: Kit) -> None:
    kit.plane.write_vips([vip(0, KEY), vip(1, UDP)])
    for number in (0, 1):
        kit.count_vip(number, VipCounters(1, 2, 3, 4))
    kit.plane.start_vips([0])
    kit.plane.start_vips([])
    assert kit.plane.counters().vips == {0: VipCounters(), 1: VipCounters(1, 2, 3, 4)}


def test_flow_records_as_columns(kit: Kit) -> None:
    kit.add_flow("198.51.100.7", 40001, UDP, backend=9, epoch=65535, flags=layout.FLOW_FIN, age=30, vip_id=3)
    records = kit.plane.scan_flows()
    assert records.key.shape == (1, 40)
    assert records.version.tolist() == [4]
    assert records.source.tolist() == [[0, int(IPv4Address("198.51.100.7"))]]
    assert records.source_port.tolist() == [40001]
    assert records.destination.tolist() == [[0, int(UDP.address)]]
    assert records.destination_port.tolist() == [443]
    assert records.protocol.tolist() == [17]
    assert (records.vip.tolist(), records.backend.tolist(), records.epoch.tolist()) == ([3], [9], [65535])
    assert records.flags.tolist() == [layout.FLOW_FIN]
    assert records.age[0] == pytest.approx(30, abs=1)
    assert records.probation.tolist() == [False]


def test_flow_records_of_ipv6(kit: Kit) -> None:
    kit.add_flow("2001:db8:f::7", 40001, V6, backend=9, vip_id=65535)
    records = kit.plane.scan_flows()
    assert records.version.tolist() == [6]
    assert records.source.tolist() == [[0x20010DB8000F0000, 7]]
    assert records.destination.tolist() == [[0x20010DB800000000, 0x10]]
    assert (records.source_port.tolist(), records.destination_port.tolist()) == ([40001], [443])
    assert (records.protocol.tolist(), records.vip.tolist(), records.backend.tolist()) == ([6], [65535], [9])


def test_records_on_probation_are_scanned_and_deleted_but_not_counted(kit: Kit) -> None:
    for number, key in enumerate((KEY, V6)):
        source = "198.51.100.7" if key is KEY else "2001:db8:f::7"
        kit.add_flow(source, 10 + number, key, backend=1, probation=True)
        kit.add_flow(source, 20 + number, key, backend=1)
    records = kit.plane.scan_flows()
    assert dict(zip(records.source_port.tolist(), records.probation.tolist(), strict=True)) == {
        10: True,
        11: True,
        20: False,
        21: False,
    }
    assert kit.plane.flow_count() == 2
    kit.plane.delete_flows(select(records, records.source_port != 21))
    assert kit.plane.scan_flows().source_port.tolist() == [21]


def test_scans_and_counts_all_flows(kit: Kit) -> None:
    for port in range(1, 1501):
        kit.add_flow("198.51.100.7", port, KEY, backend=port % 7)
    records = kit.plane.scan_flows()
    assert sorted(records.source_port.tolist()) == list(range(1, 1501))
    assert all(port % 7 == owner for port, owner in zip(records.source_port, records.backend, strict=True))
    assert kit.plane.flow_count() == 1500


def test_deletes_the_records_given_and_those_gone_are_no_error(kit: Kit) -> None:
    for port in range(1, 101):
        kit.add_flow("198.51.100.7", port, KEY, backend=1)
    records = kit.plane.scan_flows()
    first = select(records, records.source_port % 2 == 1)
    kit.plane.delete_flows(first)
    assert sorted(kit.plane.scan_flows().source_port.tolist()) == list(range(2, 101, 2))
    kit.plane.delete_flows(first)
    kit.plane.delete_flows(records)
    assert kit.plane.flow_count() == 0
    kit.plane.delete_flows(kit.plane.scan_flows())


def select(records: FlowRecords, chosen: np.ndarray) -> FlowRecords:
    return FlowRecords(**{field.name: getattr(records, field.name)[chosen] for field in fields(FlowRecords)})


@pytest.mark.parametrize("probation", [False, True], ids=["open", "probation"])
@pytest.mark.parametrize(("source", "key"), [("198.51.100.7", KEY), ("2001:db8:c::7", V6_UDP)], ids=["IPv4", "IPv6"])
def test_what_packets_have_left_is_recalled(kit: Kit, source: str, key: VipKey, *, probation: bool) -> None:
    flow = FlowId(ip_address(source), 40000, key.address, key.port, key.protocol.numbers[0])
    nothing = kit.plane.recall(flow, 3)
    assert replace(nothing, new_flows=()) == Remembered()
    assert not any(nothing.new_flows)
    kit.add_flow(source, 40000, key, backend=5, epoch=9, flags=3, age=7, vip_id=3, probation=probation)
    kit.fill_buckets(source, 3, Buckets(1, 2**40), Buckets(2**41, 4))
    kit.count_vip(3, VipCounters(new_flows=11))
    kit.plane.write_backends([backend(5), backend(6)])
    kit.plane.write_loads({5: 2, 6: 0})
    found = kit.plane.recall(flow, 3)
    assert found.record is not None
    assert astuple(replace(found.record, last_seen=0)) == (5, 9, 3, 3, 0, probation)
    assert (found.source_buckets, found.vip_buckets) == (Buckets(1, 2**40), Buckets(2**41, 4))
    assert (dict(found.loads), sum(found.new_flows)) == ({5: 2}, 11)
    others = kit.plane.recall(replace(flow, source_port=40001), 2)
    assert (others.record, others.source_buckets, others.vip_buckets) == (None, None, Buckets())
