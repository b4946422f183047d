# SPDX-License-Identifier: Apache-2.0
"""The programs of probes on NICs: beside what others have there, again after a restart, and gone without a trace."""

from __future__ import annotations

import socket
import subprocess
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.private_host import add_nic, ip
from tests.unit.dataplane.loading import CAPACITY, left, up
from xdplb.dataplane import probing, tc
from xdplb.dataplane.loader import unload
from xdplb.dataplane.map_specs import map_specs
from xdplb.dataplane.maps import BpfMap
from xdplb.dataplane.plane import ProbeWay
from xdplb.dataplane.probing import Probing
from xdplb.dataplane.source import flatten
from xdplb.model.errors import CapacityError, PlatformError

pytestmark = pytest.mark.root

WAY = ProbeWay(ip_address("203.0.113.10"))
BOTH = {tc.Hook.IN, tc.Hook.OUT}


def ours(nic: str = "eth0") -> dict[tc.Hook, int]:
    """Return the ids of xdplb's programs on a NIC."""
    return {each.hook: each.program_id for each in tc.filters(socket.if_nametoindex(nic)) if each.is_ours}


def others(nic: str) -> int:
    """Return how many filters of others a NIC has."""
    return sum(not each.is_ours for each in tc.filters(socket.if_nametoindex(nic)))


def run_tc(line: str) -> str:
    return subprocess.run(["tc", *line.split()], check=True, capture_output=True, text=True).stdout


def opened(pin_dir: Path, *nics: str) -> Probing:
    """Return the programs, on these NICs, without a balancer."""
    pin_dir.mkdir(exist_ok=True)
    found = Probing(pin_dir, None)
    if not (pin_dir / "backends").exists():
        next(spec for spec in map_specs(CAPACITY) if spec.name == "backends").create().pin(pin_dir / "backends")
    found.open(BpfMap.open(pin_dir / "backends"), CAPACITY)
    found.keep_on([socket.if_nametoindex(nic) for nic in nics])
    return found


def test_a_restart_takes_them_up_and_they_go_with_their_nics(pin_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_nic("eth1")
    plane = up(pin_dir, "eth0", "eth1")
    with pytest.raises(ValueError, match="open it first"):
        plane.write_probe_ways({1: WAY})
    plane.open_probing()
    plane.write_probe_ways({1: WAY, 2: replace(WAY, source=ip_address("10.0.0.2"))})
    before = ours()
    assert set(before) == BOTH
    with monkeypatch.context() as patch:
        patch.setattr(probing, "compile_program", lambda *_, **__: pytest.fail("it compiled"))
        again = up(pin_dir)
        again.open_probing()
    assert ours() == before
    assert again.keep_probing() == []
    with pytest.raises(CapacityError, match="backend id 65"):
        again.write_probe_ways({CAPACITY.backends + 1: WAY})
    unload(pin_dir, ["eth1"])
    assert "clsact" not in run_tc("qdisc show dev eth1")
    assert ours() == before
    unload(pin_dir)
    assert left(pin_dir.parent) == []
    assert "clsact" not in run_tc("qdisc show dev eth0")


def test_another_source_or_another_map_of_backends_gets_new_programs(
    pin_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(pin_dir, "eth0")
    first = ours()
    (pin_dir / "backends").unlink()
    opened(pin_dir, "eth0")
    second = ours()
    assert not first.items() & second.items()
    monkeypatch.setattr(probing, "flatten", lambda main: flatten(main) + "\n/* newer */\n")
    opened(pin_dir, "eth0")
    assert not ours().items() & second.items()
    assert len(tc.filters(socket.if_nametoindex("eth0"))) == 2


def test_what_others_have_in_clsact_is_left_alone(pin_dir: Path) -> None:
    add_nic("eth1")
    add_nic("eth2")
    add_nic("eth3")
    run_tc("qdisc add dev eth0 clsact")
    run_tc("qdisc add dev eth1 clsact")
    run_tc("qdisc add dev eth3 ingress")
    first = opened(pin_dir, "eth0", "eth1", "eth2")
    for nic in ("eth0", "eth2"):  # eth1 has an empty one, and eth2 one that xdplb has made
        run_tc(f"filter add dev {nic} egress pref 1 handle 1 bpf da object-pinned {pin_dir}/probes/probe_in")
    assert set(ours("eth0")) == set(ours("eth1")) == set(ours("eth2")) == BOTH
    with pytest.raises(PlatformError, match="the kernel refuses a tc program on eth3") as refused:
        first.keep_on([socket.if_nametoindex(nic) for nic in ("eth0", "eth3", "eth1")])
    assert "tc qdisc show dev eth3" in str(refused.value.hint)
    first.close()
    assert [ours(nic) for nic in ("eth0", "eth1", "eth2", "eth3")] == [{}] * 4
    assert [others(nic) for nic in ("eth0", "eth1", "eth2", "eth3")] == [1, 0, 1, 0]
    assert ["clsact" in run_tc(f"qdisc show dev {nic}") for nic in ("eth0", "eth1", "eth2")] == [True] * 3
    assert "ingress" in run_tc("qdisc show dev eth3")


def test_they_stay_in_front_of_what_others_add_later(pin_dir: Path) -> None:
    """A filter that lets packets go would hide them: probes would go to the backend's own address, and pass."""
    found, eth0 = opened(pin_dir, "eth0"), socket.if_nametoindex("eth0")
    run_tc(f"filter add dev eth0 egress bpf da object-pinned {pin_dir}/probes/probe_in")
    assert found.keep_on([eth0]) == []
    order = sorted((each for each in tc.filters(eth0) if each.hook is tc.Hook.OUT), key=lambda each: each.priority)
    assert [each.is_ours for each in order] == [True, False]
    found.close()
    assert others("eth0") == 1


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_nothing_goes_in_front_of_priority_1(pin_dir: Path, before: bool) -> None:
    run_tc("qdisc add dev eth0 clsact")
    other = opened(pin_dir)
    first = f"filter add dev eth0 egress pref 1 bpf da object-pinned {pin_dir}/probes/probe_in"
    if before:
        run_tc(first)
    eth0 = socket.if_nametoindex("eth0")
    other.keep_on([eth0])
    if not before:
        run_tc(first)
    assert other.keep_on([eth0]) == []
    assert set(ours()) == BOTH
    assert all(each.priority for each in tc.filters(eth0))
    other.close()
    assert others("eth0") == 1


def test_what_is_removed_is_put_back_and_new_nics_get_them(pin_dir: Path) -> None:
    found, eth0 = opened(pin_dir, "eth0"), socket.if_nametoindex("eth0")
    there = ours()
    run_tc("qdisc del dev eth0 clsact")
    assert found.keep_on([eth0]) == ["eth0"]
    assert ours() == there
    run_tc("filter del dev eth0 egress")
    (pin_dir / "probes" / "probe_out").unlink()
    assert found.repair() == ["probe_out"]
    assert found.keep_on([eth0]) == ["eth0"]
    assert ours() == there
    add_nic("eth1")
    eth1 = socket.if_nametoindex("eth1")
    assert found.keep_on([eth0, eth1]) == []
    assert ours("eth1") == there
    ip("link del eth1")
    assert found.keep_on([eth0, eth1]) == []


def test_they_are_found_again_where_all_pins_are_lost(pin_dir: Path) -> None:
    opened(pin_dir, "eth0")
    for pin in (pin_dir / "probes").iterdir():
        pin.unlink()
    opened(pin_dir, "eth0")
    assert len(tc.filters(socket.if_nametoindex("eth0"))) == 2
    for pin in (pin_dir / "probes").iterdir():
        pin.unlink()
    probing.take_off(pin_dir, [socket.if_nametoindex("eth0")])
    assert ours() == {}
    probing.remove_probing(pin_dir)
    assert left(pin_dir) == ["backends"]


def test_two_balancers_of_one_host_leave_each_other_alone(bpffs: Path) -> None:
    add_nic("eth1")
    first, second = opened(bpffs / "first", "eth0"), opened(bpffs / "second", "eth1")
    first.close()
    assert ours("eth0") == {}
    assert set(ours("eth1")) == BOTH
    second.close()
    assert "clsact" not in run_tc("qdisc show dev eth1")
