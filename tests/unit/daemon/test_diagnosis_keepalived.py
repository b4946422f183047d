# SPDX-License-Identifier: Apache-2.0
"""What the doctor says of a keepalived.conf beside the VIPs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from xdplb.convert.keepalived.vrrp import read_vrrp
from xdplb.daemon.diagnosis.finding import Finding, Level
from xdplb.daemon.diagnosis.keepalived import examine_keepalived, judge

EXAMPLES = Path(__file__).parents[3] / "docs/examples/ha"
WEB = {"address": "203.0.113.10", "announce": "never"}
WEB6 = {"address": "2001:db8:f::10", "announce": "never"}
SECOND = [{"address": "203.0.113.11", "announce": "never"}, {"address": "2001:db8:f::11", "announce": "never"}]


def no_file(name: str) -> str:
    raise AssertionError(name)


def warnings(text: str, *vips: dict[str, str]) -> list[Finding]:
    vrrp = read_vrrp(text, "k.conf", config_id="lb1", open_file=no_file)
    return [each for each in judge(vrrp, "k.conf", vips) if each.level is not Level.OK]


def instance(*lines: str, address: str = "203.0.113.10/32", before: str = "") -> str:
    inner = "\n".join(lines) or "track_file {\n x\n }"
    known = 'track_file x {\n file "/run/xdplb/vrrp"\n weight 1\n }\n'
    return (
        f"{before or known}vrrp_instance V {{\n interface eth0\n {inner}\n virtual_ipaddress {{\n {address}\n }}\n}}\n"
    )


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("keepalived-active-*.conf")))
def test_nothing_is_wrong_with_the_ready_configurations(name: str) -> None:
    more = SECOND if "active-active" in name else []
    assert warnings((EXAMPLES / name).read_text(), WEB, WEB6, *more) == []


def test_an_address_without_a_vip_is_told_and_a_vip_without_an_address() -> None:
    told = warnings(instance(address="203.0.113.99/32 dev eth0"), WEB)
    assert [each.check for each in told] == ["keepalived V", "keepalived and VIPs"]
    assert "no VIP has 203.0.113.99" in told[0].detail
    assert "no vrrp_instance has 203.0.113.10" in told[1].detail


def test_prefixes_routes_and_link_local_addresses_are_no_reason_to_say_anything() -> None:
    text = instance(address="fe80::51/64\n 203.0.113.99")
    assert warnings(text, {"address": "203.0.113.0/24"}, {"address": "192.0.2.1", "announce": "healthy"}) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (instance("priority 100"), "tracks nothing of xdplb"),
        (instance("track_file {\n x\n }", "nopreempt"), "nopreempt"),
        (instance("track_file {\n x\n }", "preempt_delay 5"), "preempt_delay"),
        (instance("track_file {\n x\n }", "use_vmac", "vmac_xmit_base"), "vmac_xmit_base"),
        (instance("track_script {\n s\n }", before='vrrp_script s {\n script "/bin/true"\n }\n'), "s has no weight"),
        (instance("track_file {\n x weight 0\n }"), "x has no weight"),
        (instance("track_file {\n x\n }", before="track_file x {\n weight 1\n }\n"), "names no file"),
        (instance() + "virtual_server 203.0.113.10 80 {\n}\n", "IPVS"),
    ],
)
def test_what_does_not_go_together_is_told(text: str, words: str) -> None:
    (told,) = warnings(text, WEB)
    assert words in told.detail
    assert told.fix


@pytest.mark.parametrize(
    "text",
    [
        instance("track_script {\n s\n }", before='vrrp_script s {\n script "/bin/true"\n weight -30\n }\n'),
        instance("track_script {\n s weight -30\n }", before='vrrp_script s {\n script "/bin/true"\n }\n'),
        instance("track_process {\n p\n }"),
        instance("nopreempt", "track_process {\n p\n }"),
    ],
)
def test_what_goes_together_is_not(text: str) -> None:
    assert warnings(text, WEB) == []


def process(proc: Path, pid: int, parent: int, *words: str, comm: str = "keepalived") -> None:
    here = proc / str(pid)
    (here / "ns").mkdir(parents=True)
    (here / "ns/net").hardlink_to(proc / "net")
    (here / "comm").write_text(f"{comm}\n")
    (here / "stat").write_text(f"{pid} ({comm}) S {parent} 1 1")
    (here / "cmdline").write_bytes(b"\0".join(map(os.fsencode, words)) + b"\0")
    (here / "root").symlink_to(proc.parent)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    folder = tmp_path / "proc"
    (folder / "thread-self/ns").mkdir(parents=True)
    (folder / "net").touch()
    (folder / "thread-self/ns/net").hardlink_to(folder / "net")
    return folder


def told_of(proc: Path) -> list[Any]:
    return [(each.level.value, each.detail) for each in examine_keepalived([WEB], proc)]


def test_no_keepalived_is_nothing_to_say_anything_about(proc: Path) -> None:
    process(proc, 7, 1, "bash", comm="bash")
    assert told_of(proc) == []


@pytest.mark.parametrize(
    "option", [["-f", "/k.conf"], ["-f/k.conf"], ["--use-file=/k.conf"], ["--use-file", "/k.conf"]]
)
def test_the_configuration_is_that_of_the_process_that_the_others_belong_to(proc: Path, option: list[str]) -> None:
    (proc.parent / "k.conf").write_text("@lb7 include more\n" + instance())
    (proc.parent / "more").write_text("")
    process(proc, 8, 9, "keepalived")
    process(proc, 9, 1, "keepalived", "-n", *option, "--config-id=lb1")
    assert told_of(proc) == [("ok", "/k.conf: 203.0.113.10 in V")]


def test_a_configuration_that_cannot_be_read_is_told(proc: Path) -> None:
    process(proc, 9, 1, "keepalived")
    ((level, detail),) = told_of(proc)
    assert level == "warn"
    assert "/etc/keepalived/keepalived.conf cannot be read: No such file" in detail
    (proc.parent / "etc/keepalived").mkdir(parents=True)
    (proc.parent / "etc/keepalived/keepalived.conf").write_text("vrrp_instance V {")
    ((level, detail),) = told_of(proc)
    assert level == "warn"
    assert "is not closed" in detail
