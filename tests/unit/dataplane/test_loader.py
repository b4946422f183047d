# SPDX-License-Identifier: Apache-2.0
"""Loading, taking up and taking down, with real programs on veths in namespaces of the test's own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from tests.bpf import packets
from tests.private_host import add_nic, ip, private_host, remove_nic
from tests.unit.dataplane.loading import CAPACITY, VIP, change_source, forbid_compiling, is_gone, left, program_on, up
from xdplb.daemon.diagnosis import host
from xdplb.daemon.diagnosis.finding import Level
from xdplb.dataplane import libbpf
from xdplb.dataplane.features import Feature
from xdplb.dataplane.loader import LoadOptions, decap_down, decap_up, load, pass_program, unload
from xdplb.dataplane.map_specs import map_specs
from xdplb.dataplane.maps import BpfMap
from xdplb.dataplane.pinned_maps import Maps
from xdplb.dataplane.plane import Capacity
from xdplb.dataplane.single import decap_counters
from xdplb.model.errors import ConflictError, InvalidError, NotFoundError, PlatformError

pytestmark = pytest.mark.root

NATIVE = 1 << 2
PLAIN_MAPS = [spec.name for spec in map_specs(CAPACITY)]


def test_attaches_and_pins(pin_dir: Path) -> None:
    plane = up(pin_dir)
    (attachment,) = plane.attachments()
    assert (attachment.interface, attachment.mode) == ("eth0", "native")
    with libbpf.obj_get(pin_dir / "link_eth0") as link:
        assert libbpf.link_info(link).program_id == attachment.program_id
    assert plane.maps.tx_ports.read(attachment.ifindex) == attachment.ifindex.to_bytes(4, "little")


def test_a_nic_that_lost_the_program_is_no_map_that_others_changed(pin_dir: Path) -> None:
    plane = up(pin_dir)
    (attachment,) = plane.attachments()
    with libbpf.obj_get(pin_dir / "link_eth0") as link:
        libbpf.link_detach(link)
    assert "tx_ports" not in list(plane.verify())
    assert plane.maps.tx_ports.lookup(attachment.ifindex) is None
    plane.attach("eth0", "auto")
    plane.maps.tx_ports.delete(attachment.ifindex)
    assert "tx_ports" in list(plane.verify())
    assert plane.maps.tx_ports.lookup(attachment.ifindex) is not None


def test_a_restart_takes_up_what_is_pinned_without_compiling(pin_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = up(pin_dir)
    first.write_vips([VIP])
    forbid_compiling(monkeypatch)
    for capacity in (CAPACITY, None):
        again = up(pin_dir, capacity=capacity)
        assert again.attachments() == first.attachments()
        assert again.read_vips() == {VIP.id: VIP}
        assert again.capacity == CAPACITY


@pytest.mark.parametrize("given", [{"vips": 17}, {"backends": 65}, {"flows": 8192}, {"vips": 17, "flows": 64}])
def test_a_capacity_that_is_not_given_stays_as_it_is(pin_dir: Path, given: dict[str, int]) -> None:
    before = up(pin_dir).maps
    again = load(LoadOptions(("eth0",), pin_dir=pin_dir, capacity=given))
    assert again.capacity == replace(CAPACITY, **given)
    sizes = {"vips": "vip_stats", "backends": "backends", "flows": "flows"}
    same = {name: getattr(before, name).info.id == getattr(again.maps, name).info.id for name in sizes.values()}
    assert same == {sizes[name]: name not in given for name in sizes}


def test_a_capacity_that_is_not_given_has_its_default_where_nothing_is_pinned(pin_dir: Path) -> None:
    assert load(LoadOptions(("eth0",), pin_dir=pin_dir, capacity={"vips": 17})).capacity == Capacity(vips=17)


def test_a_newer_program_is_swapped_under_the_link(pin_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_nic("eth1")
    first = up(pin_dir, "eth0", "eth1")
    first.write_vips([VIP])
    before = {found.interface: found.program_id for found in first.attachments()}
    with libbpf.obj_get(pin_dir / "link_eth0") as link:
        link_id = libbpf.link_info(link).id
    change_source(monkeypatch)
    again = up(pin_dir)
    after = {found.interface: found.program_id for found in again.attachments()}
    assert after.keys() == before.keys()
    assert after["eth0"] == after["eth1"] != before["eth0"]
    assert again.read_vips() == {VIP.id: VIP}
    with libbpf.obj_get(pin_dir / "link_eth0") as link:
        assert libbpf.link_info(link).id == link_id
    assert not (pin_dir / "program_next").exists()


def test_maps_that_no_nic_uses_are_made_anew(pin_dir: Path) -> None:
    pin_dir.mkdir()
    Maps.create(pin_dir, Capacity(4, 8, 100))
    assert up(pin_dir).capacity == CAPACITY


def test_a_second_nic_is_added(pin_dir: Path) -> None:
    up(pin_dir)
    add_nic("eth1.5")
    plane = up(pin_dir, "eth1.5")
    kept, given_up = plane.attachments()
    assert [kept.interface, given_up.interface] == ["eth0", "eth1.5"]
    assert unload(pin_dir, ["eth1.5"]) == ["the program on eth1.5"]
    assert plane.attachments() == [kept]
    assert plane.maps.tx_ports.lookup(kept.ifindex) is not None
    assert plane.maps.tx_ports.lookup(given_up.ifindex) is None


def test_a_nic_that_was_made_anew_is_attached_again(pin_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plane = up(pin_dir)
    remove_nic("eth0")
    assert plane.attachments() == []
    add_nic("eth0")
    assert program_on("eth0") == 0
    forbid_compiling(monkeypatch)
    (attachment,) = up(pin_dir).attachments()
    assert program_on("eth0") == attachment.program_id


def test_a_nic_that_was_renamed_is_known_by_both_names(pin_dir: Path) -> None:
    plane = up(pin_dir)
    ip("link set eth0 down")
    ip("link set eth0 name lan0")
    assert [found.interface for found in plane.attachments()] == ["lan0"]
    assert "the program on eth0" in unload(pin_dir, ["lan0"])
    assert program_on("lan0") == 0


def test_the_name_of_a_nic_that_was_renamed_is_free_for_another(pin_dir: Path) -> None:
    up(pin_dir)
    ip("link set eth0 down")
    ip("link set eth0 name lan0")
    ip("link set peer-eth0 name peer-lan0")
    add_nic("eth0")
    plane = up(pin_dir)
    assert {found.interface for found in plane.attachments()} == {"eth0", "lan0"}
    assert unload(pin_dir, ["lan0"]) == ["the program on lan0"]
    assert program_on("eth0") > 0


def test_a_nic_that_was_in_another_network_namespace_gets_redirected_frames_again(pin_dir: Path) -> None:
    plane = up(pin_dir)
    ifindex = socket.if_nametoindex("eth0")
    name = f"xdplb-test-{os.getpid()}"
    ip(f"netns add {name}")
    try:
        ip(f"link set eth0 netns {name}")
        assert plane.attachments() == []
        assert plane.maps.tx_ports.lookup(ifindex) is None
        with pytest.raises(NotFoundError, match="the NIC eth0 was moved to another network namespace"):
            plane.attach("eth0", "auto")
        ip(f"-n {name} link set eth0 netns {os.getpid()}")
    finally:
        ip(f"netns del {name}")
    plane.attach("eth0", "auto")
    (attachment,) = plane.attachments()
    assert plane.maps.tx_ports.lookup(attachment.ifindex) is not None


def test_a_nic_that_was_moved_away_leaves_its_name_to_another(pin_dir: Path) -> None:
    plane = up(pin_dir)
    name = f"xdplb-test-{os.getpid()}"
    ip(f"netns add {name}")
    try:
        ip(f"link set eth0 netns {name}")
        ip("link set peer-eth0 name old-peer")
        add_nic("eth0")
        plane.attach("eth0", "auto")
        assert program_on("eth0") > 0
        assert (
            "xdp" not in subprocess.run(["ip", "-n", name, "link"], capture_output=True, text=True, check=True).stdout
        )
    finally:
        ip(f"netns del {name}")


def test_a_nic_is_attached_while_the_program_is_swapped(pin_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets the new program, whether before the swap or after it."""
    plane = up(pin_dir)
    with ThreadPoolExecutor(1) as other:
        swapping = other.submit(plane.require, frozenset({Feature.IPV6}))
        for number in range(20):
            add_nic(f"n{number}")
            plane.attach(f"n{number}", "auto")
        swapping.result()
    add_nic("last")
    plane.attach("last", "auto")
    assert len({found.program_id for found in plane.attachments()}) == 1


def test_of_several_nics_one_may_be_missing(pin_dir: Path) -> None:
    plane = up(pin_dir, "eth7", "eth0")
    assert [found.interface for found in plane.attachments()] == ["eth0"]
    with pytest.raises(NotFoundError, match="there is no NIC eth7"):
        plane.attach("eth7", "auto")
    add_nic("eth7")
    plane.attach("eth7", "auto")
    assert program_on("eth7") > 0


def test_the_only_nic_may_be_missing_if_it_was_attached_before(pin_dir: Path) -> None:
    up(pin_dir).write_vips([VIP])
    remove_nic("eth0")
    plane = up(pin_dir)
    assert (plane.attachments(), plane.read_vips()) == ([], {VIP.id: VIP})
    with pytest.raises(NotFoundError, match="the NIC eth0 is gone"):
        plane.attach("eth0", "auto")
    add_nic("eth0")
    plane.attach("eth0", "auto")
    assert program_on("eth0") > 0


def test_what_cannot_be_attached_since_the_pins_were_removed_says_so(pin_dir: Path) -> None:
    plane = up(pin_dir)
    for pin in pin_dir.iterdir():
        pin.unlink()
    assert plane.attachments() == []
    with pytest.raises(PlatformError, match=f"the pins in {pin_dir} were removed") as refused:
        plane.attach("eth0", "auto")
    assert "restart the daemon" in refused.value.hint


def test_an_unknown_nic_is_refused_with_those_there_are(bpffs: Path, pin_dir: Path) -> None:
    with pytest.raises(NotFoundError, match="no NIC eth7") as refused:
        up(pin_dir, "eth7")
    assert "eth0" in refused.value.hint
    assert left(bpffs) == []


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"mode": "fast"}, "mode"),
        ({"capacity": {"vips": 8193}}, "--max-vips"),
        ({"capacity": {"backends": 65535}}, "--max-backends"),
        ({"capacity": {"flows": 0}}, "--max-flows"),
    ],
)
def test_impossible_options_are_refused(bpffs: Path, pin_dir: Path, changes: dict[str, Any], word: str) -> None:
    with pytest.raises(InvalidError) as refused:
        load(LoadOptions(("eth0",), pin_dir=pin_dir, **changes))
    assert word in str(refused.value)
    assert left(bpffs) == []


def test_a_foreign_program_is_refused_by_name(bpffs: Path, pin_dir: Path) -> None:
    with pass_program() as program, libbpf.link_create_xdp(program, socket.if_nametoindex("eth0"), NATIVE):
        with pytest.raises(ConflictError, match=r"another XDP program: 'pass' \(id \d+\)"):
            up(pin_dir)
        assert left(bpffs) == []


def test_a_nic_held_by_another_pin_dir_names_it(bpffs: Path, pin_dir: Path) -> None:
    up(pin_dir)
    with pytest.raises(ConflictError, match=f"pinned in {pin_dir}"):
        up(bpffs / "second")
    assert not (bpffs / "second").exists()


def test_pins_of_another_network_namespace_are_not_taken_up(pin_dir: Path) -> None:
    up(pin_dir)
    with tempfile.TemporaryDirectory() as folder, private_host(Path(folder)):
        add_nic("eth0")
        with pytest.raises(ConflictError, match="another network namespace"):
            up(pin_dir)
        assert program_on("eth0") == 0
    assert program_on("eth0") > 0


def test_auto_falls_back_to_skb_and_says_so(pin_dir: Path) -> None:
    assert [(found.interface, found.mode) for found in up(pin_dir, "lo").attachments()] == [("lo", "skb")]


def test_decap_says_why_it_is_in_skb_mode(pin_dir: Path) -> None:
    attached = decap_up("lo", pin_dir, [IPv4Address("127.0.0.2")])
    assert (attached.mode, attached.note) == ("skb", "native mode was refused, since its driver has no XDP of its own")


def test_native_where_the_driver_has_none(bpffs: Path, pin_dir: Path) -> None:
    with pytest.raises(PlatformError, match="lo cannot run XDP in its driver") as refused:
        up(pin_dir, "lo", mode="native")
    assert "--mode skb" in refused.value.hint
    assert left(bpffs) == []


def test_the_mode_is_not_changed_under_the_traffic(pin_dir: Path) -> None:
    up(pin_dir, mode="skb")
    with pytest.raises(ConflictError, match="attached in skb mode"):
        up(pin_dir, mode="native")
    assert up(pin_dir).attachments()[0].mode == "skb"


def test_a_failure_half_way_leaves_nothing(bpffs: Path, pin_dir: Path) -> None:
    with pytest.raises(PlatformError):
        up(pin_dir, "eth0", "lo", mode="native")
    assert program_on("eth0") == 0
    assert left(bpffs) == []


def test_a_failure_half_way_takes_nothing_that_was_there(pin_dir: Path) -> None:
    before = up(pin_dir).attachments()
    with pytest.raises(PlatformError):
        up(pin_dir, "eth0", "lo", mode="native")
    assert up(pin_dir).attachments() == before


def test_a_pin_dir_outside_of_a_bpffs(tmp_path: Path) -> None:
    for action in (lambda: up(tmp_path / "pins", "lo"), lambda: unload(tmp_path / "pins")):
        with pytest.raises(PlatformError, match="not in a BPF file system") as refused:
            action()
        assert "mount -t bpf" in refused.value.hint


def test_ip_netns_exec_is_told_of_nsenter(bpffs: Path) -> None:
    del bpffs  # only the private mounts and network around this
    name = f"xdplb-test-{os.getpid()}"
    code = "import sys; from xdplb.dataplane.loader import unload; from pathlib import Path; unload(Path(sys.argv[1]))"
    ip(f"netns add {name}")
    try:
        command = ["ip", "netns", "exec", name, sys.executable, "-c", code, "/sys/fs/bpf/xdplb"]
        refused = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        ip(f"netns del {name}")
    assert f"nsenter --net=/run/netns/{name} xdplb" in refused.stderr


def test_down_leaves_nothing_and_frees_the_maps(bpffs: Path, pin_dir: Path) -> None:
    with ExitStack() as stack:
        plane = up(pin_dir)
        (attachment,) = plane.attachments()
        opened = [getattr(plane.maps, name) for name in PLAIN_MAPS]
        ids = [found.info.id for found in opened]
        for found in opened:
            stack.callback(found.close)
    del plane
    removed = unload(pin_dir)
    assert removed[0] == "the program on eth0"
    assert left(bpffs) == []
    assert program_on("eth0") == 0
    assert is_gone(lambda: libbpf.program_by_id(attachment.program_id))
    assert all(is_gone(partial(BpfMap.by_id, map_id)) for map_id in ids)


def test_down_again_is_no_error_and_removes_nothing(pin_dir: Path) -> None:
    up(pin_dir)
    assert unload(pin_dir, ["eth9"]) == []
    assert unload(pin_dir, ["eth0"])
    assert unload(pin_dir, ["eth0"]) == []
    assert unload(pin_dir) == []


def test_down_removes_the_pin_of_a_nic_that_isis_gone(bpffs: Path, pin_dir: Path) -> None:
    up(pin_dir)
    remove_nic("eth0")
    assert "the pin of eth0, which is gone" in unload(pin_dir)
    assert left(bpffs) == []


def test_a_pin_dir_that_is_the_mount_itself(bpffs: Path) -> None:
    up(bpffs)
    unload(bpffs)
    assert left(bpffs) == []


def test_decap_is_attached_with_its_addresses_and_goes_without_a_trace(bpffs: Path, pin_dir: Path) -> None:
    first, second = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")
    assert decap_up("eth0", pin_dir, [first]).mode == "native"
    attached = decap_up("eth0", pin_dir, [second])
    assert attached.program_id == program_on("eth0")
    with BpfMap.open(pin_dir / "decap" / "decap_addresses") as addresses:
        assert [key.tobytes()[-4:] for key in addresses.read_all()[0]] == [second.packed]
    with pytest.raises(ConflictError, match="runs xdplb's decap") as refused:
        up(pin_dir)
    assert refused.value.hint == f"xdplb decap down eth0 --pin-dir {pin_dir}"
    assert decap_down("eth0", pin_dir)
    assert decap_down("eth0", pin_dir) == []
    assert program_on("eth0") == 0
    assert left(bpffs) == []


def test_what_decap_did_is_told(pin_dir: Path) -> None:
    assert decap_counters(pin_dir) == {}
    assert list(host.decap(pin_dir)) == []
    decap_up("eth0", pin_dir, [IPv4Address("10.0.1.3")])
    assert list(host.decap(pin_dir)) == []
    with libbpf.obj_get(pin_dir / "decap" / "program") as program:
        for inner in ("203.0.113.10", "203.0.113.10", "224.0.0.18"):
            libbpf.prog_test_run(program, packets.ipip(packets.tcp(destination=inner), destination="10.0.1.3"))
    assert {name: count for name, count in decap_counters(pin_dir).items() if count} == {
        "unwrapped": 2,
        "drop_martian": 1,
    }
    (finding,) = host.decap(pin_dir)
    assert (finding.level, finding.detail) == (Level.WARN, "2 unwrapped, 1 drop martian")


def test_the_process_that_loads_never_imports_bcc(bpffs: Path, pin_dir: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from xdplb.dataplane.loader import LoadOptions, load;"
        "load(LoadOptions(('eth0',), pin_dir=Path(sys.argv[1])));"
        "sys.exit('bcc' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(pin_dir)], check=True)
    assert program_on("eth0") > 0
    assert "program" in left(bpffs)
