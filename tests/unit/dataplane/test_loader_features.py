# SPDX-License-Identifier: Apache-2.0
"""What the program is compiled for grows under the traffic and shrinks at the next start; an error changes nothing."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path

import numpy as np
import pytest

from tests.private_host import add_nic, remove_nic
from tests.unit.dataplane.loading import VIP, forbid_compiling, in_child, left, program_on, up
from xdplb.dataplane import layout, libbpf, pins, programs
from xdplb.dataplane.bcc_plane import BccPlane
from xdplb.dataplane.decisions import CaptureFilter
from xdplb.dataplane.features import Feature, Features
from xdplb.dataplane.loader import pass_program, unload
from xdplb.dataplane.maps import BpfMap
from xdplb.dataplane.pinned_maps import Maps
from xdplb.dataplane.plane import VipEntry
from xdplb.model.decap import Decap
from xdplb.model.errors import ConflictError, PlatformError
from xdplb.model.vip import VipKey

pytestmark = pytest.mark.root


IPV6: Features = frozenset({Feature.IPV6})
VLAN: Features = frozenset({Feature.VLAN})
NICS: Features = frozenset({Feature.NICS})
GUE: Features = frozenset({Feature.GUE})
MAPS6 = {"flows6", "probation6", "vip_index6"}
VIP6 = VipEntry(4, VipKey.parse("[2001:db8::10]:443/tcp"), track_always=False, idle_seconds=60)


def names(pin_dir: Path) -> set[str]:
    return {path.name for path in pin_dir.iterdir()}


def test_what_is_required_is_compiled_in_and_swapped_on_all_nics(pin_dir: Path) -> None:
    add_nic("eth1")
    plane = up(pin_dir, "eth0", "eth1")
    plane.write_vips([VIP])
    before = program_on("eth0")
    assert not MAPS6 & names(pin_dir)
    plane.require(IPV6)
    assert plane.features == IPV6
    assert program_on("eth0") == program_on("eth1") != before
    assert names(pin_dir) >= MAPS6
    plane.write_vips([VIP, VIP6])
    plane.require(VLAN)
    assert plane.features == IPV6 | VLAN
    assert plane.read_vips() == {VIP.id: VIP, VIP6.id: VIP6}
    assert unload(pin_dir)


def test_tunnels_that_end_here_are_compiled_in_and_left_out_again_by_the_next_start(pin_dir: Path) -> None:
    decap = Decap((ip_address("10.0.0.2"),), (ip_network("10.0.0.0/24"),))
    plane = up(pin_dir, decap=decap)
    assert plane.features == frozenset({Feature.DECAP})
    assert plane.counters().unwrapped == 0
    with BpfMap.open(pin_dir / "tunnel_sources") as found:
        assert len(list(found.items())) == 2  # its prefix, and that others are refused
    plane = up(pin_dir)
    assert plane.features == frozenset()
    assert plane.counters().unwrapped is None
    assert "tunnel_sources" not in names(pin_dir)
    assert unload(pin_dir)


def test_what_is_there_compiles_nothing(pin_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plane = up(pin_dir, features=IPV6 | VLAN)
    forbid_compiling(monkeypatch)
    plane.require(IPV6)
    plane.require(frozenset())


def test_a_restart_with_the_same_features_compiles_nothing(pin_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def daemon() -> int:
        up(pin_dir, features=VLAN).require(IPV6)
        return 0

    assert in_child(daemon) == 0
    program = program_on("eth0")
    forbid_compiling(monkeypatch)
    again = up(pin_dir, features=IPV6 | VLAN)
    assert again.features == IPV6 | VLAN
    assert program_on("eth0") == program


def test_a_start_shrinks_to_what_is_needed(pin_dir: Path) -> None:
    plane = up(pin_dir, features=IPV6 | GUE)
    plane.write_vips([VIP6])
    assert up(pin_dir).features == IPV6, "a VIP that packets find is not taken from them"
    plane.write_vips([])
    assert up(pin_dir).features == frozenset()
    assert not MAPS6 & names(pin_dir)


def test_tags_are_read_on_where_they_were_read(pin_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start does not know yet whether frames come in tagged."""
    up(pin_dir, features=VLAN)
    forbid_compiling(monkeypatch)
    assert up(pin_dir).features == VLAN


def fail_to_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_program(*_: object, **__: object) -> None:
        raise PlatformError("the kernel refused the program")

    monkeypatch.setattr(programs, "compile_program", compile_program)


def fail_to_swap_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    original, calls = libbpf.link_update, []

    def link_update(link: libbpf.Fd, program: libbpf.Fd) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise OSError(12, "Cannot allocate memory")
        original(link, program)

    monkeypatch.setattr(libbpf, "link_update", link_update)


@pytest.mark.parametrize("fail", [fail_to_compile, fail_to_swap_the_second])
def test_an_error_changes_nothing(
    pin_dir: Path, monkeypatch: pytest.MonkeyPatch, fail: Callable[[pytest.MonkeyPatch], None]
) -> None:
    add_nic("eth1")
    plane = up(pin_dir, "eth0", "eth1", features=VLAN)
    plane.write_vips([VIP])
    before, program = names(pin_dir), program_on("eth0")
    with monkeypatch.context() as patched:
        fail(patched)
        with pytest.raises(PlatformError):
            plane.require(IPV6)
    assert (names(pin_dir), plane.features) == (before, VLAN)
    assert program_on("eth0") == program_on("eth1") == program
    assert plane.read_vips() == {VIP.id: VIP}
    with monkeypatch.context() as patched:
        forbid_compiling(patched)
        up(pin_dir, "eth0", "eth1", features=VLAN)
    plane.require(IPV6)
    assert plane.features == IPV6 | VLAN


@pytest.mark.parametrize("where", ["compile_program", "link_update", "replace", "set_program"])
def test_killed_while_it_grows_the_next_start_goes_on(
    pin_dir: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    owner = {"compile_program": programs, "link_update": libbpf, "replace": Path, "set_program": pins.Meta}[where]
    up(pin_dir).write_vips([VIP])

    def dies() -> int:
        plane = BccPlane(Maps.adopt(pin_dir))
        monkeypatch.setattr(owner, where, lambda *_, **__: os._exit(9))
        plane.require(IPV6)
        return 0

    assert in_child(dies) == 9
    for features in (frozenset[Feature](), IPV6):
        plane = up(pin_dir, features=features)
        assert plane.features == features
        with libbpf.obj_get(pin_dir / "program") as program:
            assert program_on("eth0") == libbpf.program_info(program).id
    plane.write_vips([VIP, VIP6])
    assert "program_next" not in names(pin_dir)
    assert up(pin_dir, features=IPV6).read_vips() == {VIP.id: VIP, VIP6.id: VIP6}


def test_a_capture_does_not_replace_a_program_that_was_put_in_front(pin_dir: Path) -> None:
    add_nic("eth1")
    plane = up(pin_dir, "eth0", "eth1")
    ours = program_on("eth0")
    with pass_program() as front, libbpf.obj_get(pin_dir / "link_eth1") as link:
        libbpf.link_update(link, front)
        with pytest.raises(ConflictError, match="eth1 has the XDP program 'pass' in xdplb's link") as raised:
            plane.start_capture(CaptureFilter())
        assert str(pin_dir / "program") in raised.value.hint
        assert (program_on("eth0"), program_on("eth1")) == (ours, libbpf.program_info(front).id)
        assert plane.features == frozenset()
        with libbpf.obj_get(pin_dir / "program") as program:
            libbpf.link_update(link, program)
    plane.start_capture(CaptureFilter())
    assert plane.features == {Feature.CAPTURE}
    plane.stop_capture()
    assert program_on("eth0") == program_on("eth1") > 0


def test_what_replaces_a_program_that_was_put_in_front_says_so(pin_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    plane = up(pin_dir)
    plane.require(VLAN)
    assert not caplog.records
    with pass_program() as front, libbpf.obj_get(pin_dir / "link_eth0") as link:
        libbpf.link_update(link, front)
        plane.require(IPV6)
    with libbpf.obj_get(pin_dir / "program") as program:
        assert program_on("eth0") == libbpf.program_info(program).id
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "interface=eth0 program='pass'" in caplog.text


def test_down_takes_the_maps_of_all_features(bpffs: Path, pin_dir: Path) -> None:
    up(pin_dir, features=frozenset({Feature.IPV6, Feature.ACCESS, Feature.LIMITS}))
    assert names(pin_dir) >= {"access4", "access6", "source_buckets"}
    unload(pin_dir)
    assert left(bpffs) == []


def test_a_nic_that_is_gone_does_not_keep_the_program_from_growing(pin_dir: Path) -> None:
    add_nic("eth1")
    plane = up(pin_dir, "eth0", "eth1")
    remove_nic("eth1")
    plane.require(VLAN)
    assert plane.features == VLAN


def test_packets_of_a_nic_are_counted_from_when_the_program_comes_onto_it(pin_dir: Path) -> None:
    plane = up(pin_dir, "eth0", features=NICS)
    add_nic("eth1")
    stats = plane.maps.nic_stats
    assert stats is not None
    some = np.full(stats.value_bytes // 8, 5, np.uint64)
    for nic in ("eth0", "eth1"):  # what another NIC left, whose number had the same last bits
        stats.update(socket.if_nametoindex(nic) % layout.NIC_PLACES, some)
    again = up(pin_dir, "eth0", "eth1", features=NICS)
    counted = again.counters().nics
    assert sum(counted["eth1"].values()) < 5 <= min(counted["eth0"].values())
    assert not up(pin_dir, "eth0", "eth1").counters().nics
    assert "nic_stats" not in names(pin_dir)
