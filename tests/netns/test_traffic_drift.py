# SPDX-License-Identifier: Apache-2.0
"""What others do to what xdplb needs, with packets through it: put right where it is xdplb's, told where it is not."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.waiting import until
from xdplb.dataplane import libbpf
from xdplb.dataplane.inner_maps import open_inner
from xdplb.dataplane.maps import BpfMap, MapType
from xdplb.dataplane.single import pass_program
from xdplb.net.lab import ADDRESSES

from .balancer import Balancer
from .conftest import new_lab
from .test_traffic_lifecycle import program_on
from .test_traffic_nics import address_eth0, all_is_well, detach_eth0, make_eth0, pins_of

SOON = 3.0
DR1 = str(ADDRESSES["dr1"])


@pytest.fixture(scope="module")
def one() -> Iterator[Balancer]:
    """A balancer on eth0 with two backends; each test leaves it as it found it."""
    with new_lab() as lab:
        balancer = Balancer(lab)
        balancer.prepare("dr1", "dr2")
        balancer.start()
        balancer.add("dr1", "dr2")
        yield balancer


class Told:
    """What has been told since it was made."""

    def __init__(self, balancer: Balancer) -> None:
        self._balancer, self._before = balancer, len(balancer.log())

    def lines(self, words: str) -> list[str]:
        return [line for line in self._balancer.log()[self._before :].splitlines() if words in line]


def drift(balancer: Balancer) -> list[dict[str, Any]]:
    """Return what `status` says is not as it should be."""
    told: list[dict[str, Any]] = json.loads(balancer.cli("status", "-o", "json", check=False).stdout)["drift"]
    return told


def all_flows_on(balancer: Balancer) -> None:
    until(lambda: all_is_well(balancer, "dr1", "dr2"))
    assert drift(balancer) == []
    assert balancer.get(40).keys() == {"dr1", "dr2"}


def test_another_program_in_the_link_is_replaced_at_once(one: Balancer) -> None:
    told, ours = Told(one), program_on(one)
    with pass_program() as foreign, libbpf.obj_get(one.lab.pin_dir / "link_eth0") as link:
        libbpf.link_update(link, foreign)
    until(lambda: program_on(one) == ours, SOON)
    until(lambda: len(told.lines("drift: kind=program what=eth0 repaired=True")) == 1, SOON)
    assert told.lines("another process has put the program 'pass'")
    all_flows_on(one)


def in_front_of(following: BpfMap) -> libbpf.Fd:
    """Load a program that does nothing but call the first program of an array, as users may have one."""
    # r2 = the array (a wide load of a map's descriptor); r3 = 0; bpf_tail_call(r1, r2, r3); return XDP_PASS
    steps = [
        (0x18, 0x12, 0, following.fd.fileno()),
        (0, 0, 0, 0),
        (0xB7, 3, 0, 0),
        (0x85, 0, 0, 12),
        (0xB7, 0, 0, libbpf.XDP_PASS),
        (0x95, 0, 0, 0),
    ]
    return libbpf.load_xdp("front", b"".join(struct.pack("<BBhi", *step) for step in steps))


def test_a_program_in_front_that_calls_ours_is_left_alone(one: Balancer) -> None:
    told, ours = Told(one), program_on(one)
    with (
        BpfMap.create(MapType.PROG_ARRAY, "next", value_size=4) as following,
        libbpf.obj_get(one.lab.pin_dir / "program") as program,
        libbpf.obj_get(one.lab.pin_dir / "link_eth0") as link,
    ):
        following.update(0, program)
        with in_front_of(following) as front:
            libbpf.link_update(link, front)
            time.sleep(1.5)  # looks come twice a second
            assert program_on(one) == libbpf.program_info(front).id
            all_flows_on(one)
            libbpf.link_update(link, program)
    assert program_on(one) == ours
    assert told.lines("drift") == []


def test_a_detached_program_and_foreign_pins_are_put_right_and_counted(one: Balancer) -> None:
    told, pins = Told(one), pins_of(one)
    detach_eth0(one)
    pin = one.lab.pin_dir / "program"
    pin.unlink()
    with pass_program() as foreign:
        libbpf.obj_pin(foreign, pin)
    until(lambda: program_on(one) is not None, SOON)
    until(lambda: bool(told.lines("drift: kind=pin what='the pin dir' repaired=True")), 15)
    with libbpf.obj_get(pin) as found:
        assert libbpf.program_info(found).name == "xdplb"
    until(lambda: pins_of(one) == pins, SOON)
    until(lambda: all_is_well(one, "dr1", "dr2"))
    counted = one.lab.run("balancer", ["curl", "-sf", "--unix-socket", str(one.socket), "http://localhost/metrics"])
    assert 'xdplb_drift_total{kind="pin",repaired="true"} 1' in counted.stdout
    all_flows_on(one)


def test_a_map_that_is_overwritten_is_written_again(one: Balancer) -> None:
    told = Told(one)
    with BpfMap.open(one.lab.pin_dir / "vip_index") as outer:
        inner = open_inner(outer, 0)
        assert inner is not None
        with inner:
            inner.update(0, bytes(inner.value_bytes))
    until(lambda: bool(told.lines("drift: kind=map what=vip_index repaired=True")), 90)
    all_flows_on(one)


def test_a_flushed_neighbour_is_asked_for_again_and_no_packet_is_lost(one: Balancer) -> None:
    told = Told(one)
    one.lab.run("balancer", ["ip", "neighbour", "flush", "dev", "eth0"])
    assert one.get(40).keys() == {"dr1", "dr2"}
    until(lambda: bool(told.lines("drift: kind=neighbour what=")), SOON)
    all_flows_on(one)


def test_a_permanent_neighbour_entry_with_another_mac_is_told_until_it_is_gone(one: Balancer) -> None:
    told = Told(one)
    one.lab.configure("balancer", f"neighbour replace {DR1} lladdr 02:00:00:00:be:ef nud permanent dev eth0")
    until(lambda: [each["what"] for each in drift(one)] == [DR1], SOON)
    assert "a permanent neighbour entry on eth0 says" in drift(one)[0]["reason"]
    assert "not as it should be since" in one.cli("status", check=False).stderr
    one.lab.configure("balancer", f"neighbour del {DR1} dev eth0")
    until(lambda: drift(one) == [], SOON)
    assert len(told.lines(f"drift: kind=neighbour what={DR1} repaired=False")) == 1
    all_flows_on(one)


def test_the_address_to_send_from_is_removed_and_comes_back(one: Balancer) -> None:
    told = Told(one)
    one.lab.configure("balancer", "address del 10.0.0.2/24 dev eth0")
    until(lambda: any(each["kind"] in {"address", "route"} for each in drift(one)), SOON)
    assert len(told.lines("drift: kind=address what=10.0.0.2 repaired=False")) == 1
    address_eth0(one.lab)
    all_flows_on(one)
    assert told.lines("drift over: kind=")


def test_a_nic_made_anew_under_its_name_without_its_routes_is_told_until_they_are_back(one: Balancer) -> None:
    told = Told(one)
    one.lab.configure("balancer", "link del eth0")
    until(lambda: {"nic", "route"} <= {each["kind"] for each in drift(one)}, SOON)
    make_eth0(one.lab)
    all_flows_on(one)
    assert len(told.lines("drift: kind=nic what=eth0")) == 1
    assert len(told.lines("drift over: kind=nic what=eth0")) == 1


def test_a_changed_mtu_is_told_and_followed(one: Balancer) -> None:
    told = Told(one)
    one.lab.configure("balancer", "link set eth0 mtu 1400")
    until(lambda: one.status("dr1")["mtu"] == 1400, SOON)
    until(lambda: bool(told.lines("drift: kind=mtu what=eth0 repaired=True reason='the MTU of eth0 was 1500")), SOON)
    one.lab.configure("balancer", "link set eth0 mtu 1500")
    all_flows_on(one)
