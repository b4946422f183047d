# SPDX-License-Identifier: Apache-2.0
"""What the doctor makes of what it sees."""

from __future__ import annotations

import dataclasses
import errno
import ipaddress
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from xdplb.client import TimedOutError
from xdplb.control.clock import boot_id
from xdplb.daemon import diagnosis
from xdplb.daemon.diagnosis import host, nic, running
from xdplb.daemon.diagnosis.finding import Finding, Level
from xdplb.daemon.diagnosis.place import Place
from xdplb.daemon.diagnosis.rights import examine_rights
from xdplb.daemon.diagnosis.running import AskDaemon
from xdplb.daemon.privileges import missing_capabilities, require_privileges
from xdplb.model.errors import PlatformError, XdplbError
from xdplb.net.links import Link, XdpAttachment


def proc_status(tmp_path: Path, effective: int) -> Path:
    path = tmp_path / "status"
    path.write_text(f"Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t{effective:016x}\n")
    return path


@pytest.mark.parametrize(
    ("effective", "missing"),
    [
        (0, ["CAP_NET_ADMIN", "CAP_SYS_ADMIN"]),
        (1 << 12 | 1 << 39 | 1 << 38, ["CAP_SYS_ADMIN"]),  # CAP_BPF and CAP_PERFMON do not open objects by id
        (1 << 12 | 1 << 21, []),
        (1 << 12, ["CAP_SYS_ADMIN"]),
        (1 << 21, ["CAP_NET_ADMIN"]),
    ],
)
def test_capabilities_are_judged(tmp_path: Path, effective: int, missing: list[str]):
    assert missing_capabilities(proc_status(tmp_path, effective)) == missing
    assert (host.privileges(missing).level is Level.FAIL) is bool(missing)


def process(proc: Path, *threads: dict[str, int]) -> int:
    """Make /proc of a process whose threads have these capabilities."""
    for number, sets in enumerate(threads):
        task = proc / "77" / "task" / str(number)
        task.mkdir(parents=True)
        lines = [
            f"{name}:\t{value:016x}" if name.startswith("Cap") else f"{name}:\t{value}" for name, value in sets.items()
        ]
        (task / "status").write_text("\n".join(lines) + "\n")
        (task / "comm").write_text("xdplb\n")
    return 77


FEW = {"CapPrm": 0x203000, "CapEff": 0x203000, "CapBnd": 0x203000, "CapAmb": 0, "NoNewPrivs": 1}


def test_what_the_daemon_may_do_is_said(tmp_path: Path):
    (found,) = examine_rights(process(tmp_path, FEW, FEW), tmp_path)
    assert found.level is Level.OK
    assert found.detail == ("pid 77 has CAP_NET_ADMIN, CAP_NET_RAW and CAP_SYS_ADMIN; it can get no other capabilities")


@pytest.mark.parametrize(
    ("more", "count"),
    [({"CapPrm": 0x203003, "CapEff": 0x203000}, 2), ({"CapAmb": 0x20}, 1), ({"CapBnd": 0x20300F, "NoNewPrivs": 0}, 4)],
)
def test_a_daemon_of_which_one_thread_may_do_more_is_a_warning(tmp_path: Path, more: dict[str, int], count: int):
    (found,) = examine_rights(process(tmp_path, FEW, FEW | more), tmp_path)
    assert found.level is Level.WARN
    assert f"has or can get {count} capabilities more than it needs" in found.detail
    assert "restart it" in found.fix


def test_a_thread_that_ends_while_it_is_looked_at_is_left_out(tmp_path: Path):
    process(tmp_path, FEW)
    (tmp_path / "77" / "task" / "9").mkdir()  # its files are gone already
    (found,) = examine_rights(77, tmp_path)
    assert found.level is Level.OK


def test_a_daemon_that_has_ended_has_no_privileges(tmp_path: Path):
    assert list(examine_rights(77, tmp_path)) == []


def test_what_needs_root_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("xdplb.daemon.privileges.missing_capabilities", lambda: ["CAP_BPF"])
    with pytest.raises(PlatformError, match="attaching to a NIC needs root") as refusal:
        require_privileges("attaching to a NIC")
    assert refusal.value.hint == "run it with sudo"


@pytest.mark.parametrize(
    ("release", "level"),
    [
        ("6.1.0-18-amd64", Level.OK),
        ("5.15.0", Level.OK),
        ("10.0-rc1", Level.OK),
        ("5.14.21", Level.FAIL),
        ("4.19", Level.FAIL),
        ("?", Level.FAIL),
    ],
)
def test_kernels_are_judged(release: str, level: Level):
    assert host.kernel(release).level is level


def test_a_library_that_is_missing_names_its_package():
    found = host.libbpf("libnosuch.so.9")
    assert (found.level, found.fix) == (Level.FAIL, "apt-get install libbpf1")


@pytest.fixture
def python(tmp_path: Path):
    """Return how to make an interpreter that sees one module called bcc, and no other."""

    def make(source: str | None) -> str:
        modules = tmp_path / "modules"
        modules.mkdir()
        if source is not None:
            (modules / "bcc.py").write_text(source)
        script = tmp_path / "python"
        script.write_text(f'#!/bin/sh\nshift\nPYTHONPATH={modules} exec {sys.executable} -S "$@"\n')
        script.chmod(0o755)
        return str(script)

    return make


def test_the_right_bcc_is_recognized(python):
    found = host.bcc(python("__version__ = '0.26.0'\nclass BPF: pass\n"))
    assert found.level is Level.OK
    assert "0.26.0" in found.detail


def test_the_bcc_of_pypi_is_told_from_the_right_one(python):
    found = host.bcc(python("lattice = 1\n"))
    assert found.level is Level.FAIL
    assert "another project" in found.detail
    assert "pip uninstall bcc" in found.fix


def test_no_bcc_names_its_package(python):
    found = host.bcc(python(None))
    assert found.level is Level.FAIL
    assert "No module named 'bcc'" in found.detail
    assert "python3-bpfcc" in found.fix


def test_missing_headers_are_told_as_the_compiler_tells_them():
    def find() -> Path | None:
        raise PlatformError("no kernel headers were found", hint="apt-get install linux-headers-amd64")

    found = host.headers(find)
    assert (found.level, found.detail, found.fix) == (
        Level.FAIL,
        "no kernel headers were found",
        "apt-get install linux-headers-amd64",
    )
    assert host.headers(lambda: None).level is Level.OK


@pytest.mark.parametrize(("text", "level"), [("1\n", Level.OK), ("2\n", Level.OK), ("0\n", Level.WARN)])
def test_the_jit_is_judged(tmp_path: Path, text: str, level: Level):
    setting = tmp_path / "bpf_jit_enable"
    setting.write_text(text)
    assert host.jit(setting).level is level


def test_a_folder_that_is_on_no_bpffs_is_refused(tmp_path: Path):
    found = host.bpffs(tmp_path / "pins")
    assert found.level is Level.FAIL
    assert found.fix


def interface(driver: str | None, xdp: XdpAttachment | None = None) -> Link:
    return Link(name="eth0", ifindex=2, mac=b"\x02\0\0\0\0\1", mtu=1500, up=True, ethernet=True, xdp=xdp, driver=driver)


@pytest.mark.parametrize(
    ("driver", "xdp", "level"),
    [
        ("ixgbe", None, Level.OK),
        ("e1000e", None, Level.WARN),
        (None, None, Level.WARN),
        ("veth", None, Level.WARN),
        ("e1000e", XdpAttachment(7, "native"), Level.OK),
    ],
)
def test_drivers_are_judged(driver: str | None, xdp: XdpAttachment | None, level: Level):
    assert nic.native_xdp(interface(driver, xdp)).level is level


def test_a_program_that_is_not_ours_is_named(tmp_path: Path):
    assert nic.other_program(interface("ixgbe"), tmp_path).level is Level.OK
    found = nic.other_program(interface("ixgbe", XdpAttachment(0x7FFFFFFF, "skb")), tmp_path)
    assert found.level is Level.FAIL
    assert "id 2147483647, skb mode" in found.detail
    assert "ip link set dev eth0 xdp off" in found.fix


def test_a_program_that_only_root_can_see_is_no_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def refuse(_number: int) -> NoReturn:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(nic, "program_by_id", refuse)
    found = nic.other_program(interface("ixgbe", XdpAttachment(7, "native")), tmp_path)
    assert (found.level, found.fix) == (Level.WARN, "run it as root")
    assert found.detail == "one is attached (id 7, native mode), but only root can see which"


@pytest.mark.parametrize(("flags", "levels"), [(0, []), (1 << 15, [Level.WARN]), (1 << 8, [Level.OK])])
def test_offloads_are_judged(flags: int, levels: list[Level]):
    assert [found.level for found in nic.offloads("eth0", flags)] == levels


def test_tags_that_the_nic_takes_off_are_missed_where_there_are_vlan_devices():
    (found,) = nic.offloads("eth0", 1 << 8, ["eth0.7", "eth0.8"])
    assert (found.level, found.fix) == (Level.WARN, "ethtool -K eth0 rxvlan off")
    assert "eth0.7, eth0.8" in found.detail


@pytest.mark.parametrize(
    ("where", "level", "fix"),
    [
        ({"vlan_of": "eth1"}, Level.FAIL, "xdplb up eth1"),
        ({"master": "bond0", "master_kind": "bond"}, Level.FAIL, "xdplb up bond0"),
        ({"master": "br0", "master_kind": "bridge"}, Level.WARN, "outside of br0"),
    ],
)
def test_a_nic_that_routes_do_not_leave_by_is_told(where: dict[str, Any], level: Level, fix: str):
    (found,) = nic.place(dataclasses.replace(interface("ixgbe"), **where))
    assert found.level is level
    assert fix in found.fix
    assert list(nic.place(interface("ixgbe"))) == []


def test_a_nic_that_is_not_there_is_a_failure(tmp_path: Path):
    (found,) = nic.examine_nic("nosuch0", tmp_path)
    assert found.level is Level.FAIL
    assert "nosuch0" in found.detail


@pytest.mark.parametrize(("mtu", "level"), [(1500, Level.WARN), (1519, Level.WARN), (1520, Level.OK), (9000, Level.OK)])
def test_the_mtu_is_judged_for_ipip(mtu: int, level: Level):
    assert running.tunnel_room("eth0", mtu, 20).level is level


def backend(address: str, mac: str | None, *, forward: str = "dr", reason: str = "") -> dict[str, object]:
    assert ipaddress.ip_address(address)
    status = {"mac": mac, "interface": "lo" if mac else None, "reason": reason}
    return {"address": address, "forward": forward, "status": status}


def test_a_backend_whose_next_hop_is_unknown_is_a_failure_with_its_reason():
    found = list(
        running.examine_backends(
            "203.0.113.10:80/tcp",
            [backend("10.0.0.1", "02:00:00:00:00:01"), backend("10.0.0.2", None, reason="does not answer ARP")],
        )
    )
    assert [(each.level, each.detail) for each in found] == [(Level.FAIL, "does not answer ARP")]
    assert "10.0.0.2" in found[0].check
    assert "10.0.0.2" in found[0].fix


def test_the_mtu_matters_only_where_packets_are_encapsulated():
    reached = "02:00:00:00:00:01"
    plain = list(running.examine_backends("v", [backend("10.0.0.1", reached)]))
    tunnelled = list(running.examine_backends("v", [backend("10.0.0.1", reached, forward="ipip")]))
    assert ["MTU" in found.check for found in plain] == [False]
    assert ["MTU" in found.check for found in tunnelled] == [False, True]


def test_the_longest_outer_headers_are_what_the_mtu_must_have_room_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(running, "link", lambda name: dataclasses.replace(interface("ixgbe"), name=name))
    reached = "02:00:00:00:00:01"
    wrapped = [backend("10.0.0.1", reached, forward="ipip"), backend("2001:db8::1", reached, forward="gue")]
    *_, found = running.examine_backends("v", wrapped)
    assert "1452 bytes" in found.detail
    assert "mtu 1548" in found.fix


STATUS = {
    "ready": True, "generation": 7, "not_ready": [], "warnings": [], "vips": [],
    "nics": [{"interface": "nosuch0", "note": ""}],
}  # fmt: skip


def findings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ask: AskDaemon) -> list[tuple[Level, str, str]]:
    """Return what the doctor finds beside the host."""
    monkeypatch.setattr(diagnosis, "examine_host", lambda _pin_dir: iter(()))
    return [(each.level, each.check, each.detail) for each in diagnosis.diagnose(None, tmp_path, ask)]


def test_no_daemon_is_no_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (found,) = findings(monkeypatch, tmp_path, lambda: None)
    assert found == (Level.OK, "daemon", "not running, so backends were not checked")


def test_a_daemon_that_gives_no_useful_answer_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def ask() -> None:
        raise XdplbError("you may not open the socket", hint="use sudo")

    (found,) = findings(monkeypatch, tmp_path, ask)
    assert found == (Level.WARN, "daemon", "you may not open the socket")


def test_the_nics_of_a_running_daemon_and_what_it_says_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    said = running.Running({**STATUS, "not_ready": ["a rollout failed"]}, {"v": [backend("10.0.0.1", None)]})
    found = findings(monkeypatch, tmp_path, lambda: said)
    assert [(level, check) for level, check, _ in found] == [
        (Level.FAIL, "nosuch0"),
        (Level.OK, "daemon"),
        (Level.FAIL, "daemon"),
        (Level.FAIL, "backend 10.0.0.1 of v"),
    ]


def test_a_daemon_that_hangs_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def ask() -> None:
        raise TimedOutError("the daemon did not answer within 20 s")

    (found,) = findings(monkeypatch, tmp_path, ask)
    assert found == (Level.FAIL, "daemon", "the daemon did not answer within 20 s")


def place(**other: object) -> Place:
    here = Path("/proc/thread-self/ns/net").stat().st_ino
    fields = {"pid": os.getpid(), "boot_id": boot_id(), "network_namespace": here, **other}
    return Place(pin_dir=Path("/pins"), state_dir=Path("/state"), **fields)  # type: ignore[arg-type]


def test_the_daemons_folders_are_looked_at_and_not_the_default_ones(monkeypatch: pytest.MonkeyPatch):
    asked: list[Path] = []

    def examine_host(pin_dir: Path) -> Iterator[Finding]:
        asked.append(pin_dir)
        return iter(())

    monkeypatch.setattr(diagnosis, "examine_host", examine_host)
    said = running.Running({**STATUS, "nics": []}, {}, place())
    found, rights = diagnosis.diagnose(None, None, lambda: said)
    assert rights.check == "daemon's privileges"
    assert found.detail == "ready, generation 7, state in /state, pins in /pins"
    list(diagnosis.diagnose(None, Path("/given"), lambda: said))
    list(diagnosis.diagnose(None, None, lambda: None))
    assert asked == [Path("/pins"), Path("/given"), Path("/sys/fs/bpf/xdplb")]


def test_a_daemon_on_another_host_does_not_make_this_one_be_judged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    said = running.Running(STATUS, {}, place(boot_id="another"))
    found = list(diagnosis.diagnose(None, tmp_path, lambda: said))
    assert [(each.level, each.check) for each in found] == [(Level.OK, "host"), (Level.OK, "daemon")]
    assert "another host" in found[0].detail


def test_a_daemon_that_cannot_be_seen_from_here_is_no_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    said = running.Running(STATUS, {}, place(pid=2**22 + 1, network_namespace=1))
    found = findings(monkeypatch, tmp_path, lambda: said)
    assert [(level, check) for level, check, _ in found] == [(Level.WARN, "daemon's namespace"), (Level.OK, "daemon")]


def test_what_the_daemon_warns_of_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    said = running.Running({**STATUS, "warnings": ["VIP v takes answers to this host"]}, {})
    found = findings(monkeypatch, tmp_path, lambda: said)
    assert found[-1:] == [(Level.WARN, "VIPs on own addresses", "VIP v takes answers to this host")]


def test_the_store_is_looked_at_and_is_no_failure_when_it_is_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    store = {"place": "etcd://10.0.0.1:2379/xdplb", "state": "up", "reason": "", "generation": 7}
    up = {**store, "pending": [], "refused": [{"path": "vips/v", "reason": "there is no room"}]}
    said = running.Running({**STATUS, "nics": [], "store": up}, {})
    assert findings(monkeypatch, tmp_path, lambda: said)[-2:] == [
        (Level.OK, "store", "etcd://10.0.0.1:2379/xdplb answers, generation 7"),
        (Level.WARN, "vips/v in the store", "it is not taken here: there is no room"),
    ]
    pending = [{"vip": "203.0.113.10:443/tcp", "address": "10.0.0.11"}]
    away = {**store, "state": "away", "reason": "nobody answers", "pending": pending, "refused": []}
    said = running.Running({**STATUS, "nics": [], "store": away}, {})
    assert findings(monkeypatch, tmp_path, lambda: said)[-2:] == [
        (Level.WARN, "store", "etcd://10.0.0.1:2379/xdplb is away: nobody answers"),
        (Level.WARN, "store", "changed here alone, and not written to it yet: 10.0.0.11 of 203.0.113.10:443/tcp"),
    ]
