# SPDX-License-Identifier: Apache-2.0
"""NICs that go, come back, come late, are renamed, moved, detached by hand or set down, with packets through them."""

from __future__ import annotations

import json
import re
import shutil
import signal
import time
from collections.abc import Iterator

import pytest

from tests.waiting import until
from xdplb.dataplane import libbpf
from xdplb.net.lab import ADDRESSES, Lab

from .balancer import KEY, Balancer
from .conftest import new_lab
from .test_traffic_lifecycle import program_on

SOON = 3.0
"""Seconds for the daemon to see what happened to a NIC, and to attach. On an idle machine it takes tenths of one."""


def log_of(balancer: Balancer) -> str:
    return (balancer.lab.folder / "daemon.log").read_text()


def readyz(balancer: Balancer) -> tuple[int, str]:
    """Return the status of /readyz and its body."""
    asked = ["curl", "-s", "-w", "\n%{http_code}", "--unix-socket", str(balancer.socket), "http://localhost/readyz"]
    body, _, status = balancer.lab.run("balancer", asked).stdout.rpartition("\n")
    return int(status), body


def why_not_ready(balancer: Balancer) -> str:
    """Return the reasons of a 503, "" if it is ready."""
    status, body = readyz(balancer)
    return "" if status == 200 else "; ".join(json.loads(body)["reasons"])


def attached(balancer: Balancer, nic: str) -> int:
    """Return `xdplb_interface_attached` of a NIC."""
    asked = ["curl", "-sf", "--unix-socket", str(balancer.socket), "http://localhost/metrics"]
    told = balancer.lab.run("balancer", asked).stdout
    found = re.search(rf'xdplb_interface_attached\{{iface="{nic}",mode="\w+"}} (\d)', told)
    assert found is not None
    return int(found[1])


def make_eth0(lab: Lab) -> None:
    """Connect the balancer's eth0 with the switch, with the addresses and routes that it has in the lab."""
    peer = f"type veth peer name eth0 netns {lab.namespace('balancer')}"
    lab.configure("switch", f"link add balancer {peer}", "link set balancer master ports up")
    lab.attach("switch", "balancer")
    address_eth0(lab)


def address_eth0(lab: Lab, nic: str = "eth0") -> None:
    lab.configure("balancer", f"link set {nic} up", f"address replace 10.0.0.2/24 dev {nic}")
    lab.configure("balancer", f"address replace 2001:db8::2/64 dev {nic}", "route replace default via 10.0.0.1")
    lab.run("router", ["ip", "neighbour", "flush", "10.0.0.2"])  # a NIC made anew has another MAC


def detach_eth0(balancer: Balancer) -> None:
    """Do what `bpftool link detach` does."""
    with libbpf.obj_get(balancer.lab.pin_dir / "link_eth0") as link:
        libbpf.link_detach(link)


def pins_of(balancer: Balancer) -> list[str]:
    folder = balancer.lab.pin_dir
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def make_eth1(lab: Lab) -> None:
    """Connect the balancer's eth1 with the host at its side."""
    peer = f"type veth peer name eth0 netns {lab.namespace('side')}"
    lab.configure("balancer", f"link add eth1 {peer}", "link set eth1 up", "address add 10.0.2.1/24 dev eth1")
    lab.configure("side", "link set eth0 up", "address add 10.0.2.11/24 dev eth0")
    lab.attach("side", "eth0")


def all_is_well(balancer: Balancer, *hosts: str) -> bool:
    return readyz(balancer)[0] == 200 and all(balancer.status(host)["share"] > 0 for host in hosts)


@pytest.fixture(scope="module")
def two() -> Iterator[Balancer]:
    """A balancer on eth0 and eth1, with a backend behind each."""
    with new_lab() as lab:
        balancer = Balancer(lab)
        balancer.prepare("dr1", "side")
        balancer.start(nics=("eth0", "eth1"))
        balancer.add("dr1", "side")
        yield balancer


def test_both_nics_are_deleted_and_made_again_one_after_the_other(two: Balancer) -> None:
    lab = two.lab
    lab.configure("balancer", "link del eth0")
    until(lambda: "the NIC eth0 is gone" in why_not_ready(two), SOON)
    assert attached(two, "eth0") == 0
    assert attached(two, "eth1") == 1
    until(lambda: two.status("dr1")["reason"] == "there is no route to 10.0.0.11, since eth0 is gone", SOON)
    (shown,) = two.ask("vip", "ls")["vips"]
    assert shown["status"]["operating_status"] == "DEGRADED"
    assert two.cli("doctor", "--pin-dir", str(lab.pin_dir), check=False).returncode == 1
    assert "eth0 (not attached)" in two.cli("status", check=False).stdout
    make_eth0(lab)
    until(lambda: program_on(two) is not None, SOON)
    until(lambda: all_is_well(two, "dr1", "side"))
    assert two.get(60).keys() == {"dr1", "side"}
    assert attached(two, "eth0") == 1

    lab.configure("balancer", "link del eth1")
    until(lambda: "the NIC eth1 is gone" in why_not_ready(two), SOON)
    assert two.get(30).keys() == {"dr1"}
    make_eth1(lab)
    until(lambda: all_is_well(two, "dr1", "side"))
    assert two.get(60).keys() == {"dr1", "side"}
    log = log_of(two)
    assert "drift: kind=nic what=eth0 repaired=False reason='the NIC eth0 is gone" in log
    assert log.count("NIC attached: interface=eth0") == log.count("NIC attached: interface=eth1") == 2


def test_detached_by_hand_it_is_attached_again(two: Balancer) -> None:
    before = log_of(two)
    detach_eth0(two)
    until(lambda: "another process has detached the program" in log_of(two)[len(before) :], SOON)
    until(lambda: program_on(two) is not None, SOON)
    until(lambda: all_is_well(two, "dr1", "side"), SOON)
    assert two.get(40).keys() == {"dr1", "side"}


def test_pins_that_are_removed_come_back_and_no_packet_is_lost_meanwhile(two: Balancer) -> None:
    pins = pins_of(two)
    before = program_on(two)
    for removed in (["link_eth0"], ["program"], ["meta", "flows"], pins):
        for name in removed:
            (two.lab.pin_dir / name).unlink(missing_ok=True)
        assert program_on(two) == before
        assert two.get(10).total() == 10
        until(lambda: pins_of(two) == pins, SOON)
    shutil.rmtree(two.lab.pin_dir)
    until(lambda: pins_of(two) == pins, SOON)
    assert "another process has removed or replaced the pins of link_eth0" in log_of(two)
    assert all_is_well(two, "dr1", "side")
    two.kill()  # and the next one takes over what was pinned again
    two.start(nics=("eth0", "eth1"))
    assert program_on(two) == before
    until(lambda: all_is_well(two, "dr1", "side"))


def test_detached_by_hand_while_no_daemon_runs_it_is_attached_by_the_next(two: Balancer) -> None:
    two.kill()
    detach_eth0(two)
    assert program_on(two) is None
    two.start(nics=("eth0", "eth1"))
    until(lambda: all_is_well(two, "dr1", "side"))
    assert two.get(40).keys() == {"dr1", "side"}


def test_a_foreign_program_in_its_place_is_named_and_replaced_once_it_is_gone(two: Balancer) -> None:
    assert two.daemon is not None
    two.daemon.send_signal(signal.SIGSTOP)  # otherwise it would be the first to attach
    detach_eth0(two)
    two.lab.attach("balancer", "eth0")
    two.daemon.send_signal(signal.SIGCONT)
    try:
        until(lambda: "eth0 has another XDP program: 'pass'" in why_not_ready(two), SOON)
        assert attached(two, "eth0") == 0
        until(lambda: "eth0 has another XDP program" in two.status("dr1")["reason"], SOON)
        assert "`xdplb up`" not in two.status("dr1")["reason"]
    finally:
        two.lab.configure("balancer", "link set eth0 xdp off")
    until(lambda: all_is_well(two, "dr1", "side"))
    assert two.get(40).keys() == {"dr1", "side"}


def test_down_and_up_and_without_a_carrier(two: Balancer) -> None:
    lab = two.lab
    lab.configure("balancer", "link set eth0 down")
    until(lambda: "eth0 is down" in why_not_ready(two), SOON)
    assert attached(two, "eth0") == 1
    address_eth0(lab)
    until(lambda: all_is_well(two, "dr1", "side"))
    lab.configure("switch", "link set balancer down")
    until(lambda: "eth0 has no carrier" in why_not_ready(two), SOON)
    lab.configure("switch", "link set balancer up")
    until(lambda: all_is_well(two, "dr1", "side"))
    assert two.get(40).keys() == {"dr1", "side"}
    assert "drift: kind=nic what=eth0 repaired=False reason='eth0 has no carrier" in log_of(two)
    assert "drift over: kind=nic what=eth0" in log_of(two)


def test_renamed_it_is_missing_and_another_of_its_name_gets_the_program(two: Balancer) -> None:
    lab = two.lab
    lab.configure("balancer", "link set eth0 down", "link set eth0 name lan0", "link set lan0 up")
    until(lambda: "there is no NIC eth0: it is called lan0 now" in why_not_ready(two), SOON)
    assert program_on(two, "lan0") is not None
    peer = f"type veth peer name far0 netns {lab.namespace('switch')}"
    lab.configure("balancer", f"link add eth0 {peer}", "link set eth0 up")
    lab.configure("switch", "link set far0 up")
    until(lambda: program_on(two, "eth0") is not None, SOON)
    assert program_on(two, "lan0") is not None
    until(lambda: readyz(two)[0] == 200, SOON)
    assert "lan0 (native, not named in up)" in two.cli("status").stdout
    lab.configure("balancer", "link del eth0")
    lab.configure("balancer", "link set lan0 down", "link set lan0 name eth0")
    address_eth0(lab)
    until(lambda: all_is_well(two, "dr1", "side"))
    assert two.get(40).keys() == {"dr1", "side"}


def test_moved_to_another_network_namespace_and_back(two: Balancer) -> None:
    lab = two.lab
    lab.configure("balancer", f"link set eth0 netns {lab.namespace('client')} name moved0")
    until(lambda: "eth0 was moved to another network namespace" in why_not_ready(two), SOON)
    lab.configure("client", f"link set moved0 netns {lab.namespace('balancer')} name eth0")
    address_eth0(lab)
    until(lambda: all_is_well(two, "dr1", "side"))
    assert two.get(40).keys() == {"dr1", "side"}


def test_moved_away_for_good_another_takes_its_place(two: Balancer) -> None:
    lab = two.lab
    lab.configure("balancer", f"link set eth0 netns {lab.namespace('client')} name moved0")
    until(lambda: "eth0 was moved" in why_not_ready(two), SOON)
    lab.configure("switch", "link set balancer name old0")
    make_eth0(lab)
    until(lambda: all_is_well(two, "dr1", "side"))
    shown = json.loads(lab.run("client", ["ip", "-j", "-d", "link", "show", "moved0"]).stdout)
    assert "xdp" not in shown[0]
    assert two.get(40).keys() == {"dr1", "side"}
    lab.configure("client", "link del moved0")


def test_the_only_nic_comes_back_and_the_daemon_starts_without_it(balancer: Balancer) -> None:
    balancer.prepare("dr1")
    balancer.start()
    balancer.add("dr1")
    balancer.lab.configure("balancer", "link del eth0")
    until(lambda: "the NIC eth0 is gone" in why_not_ready(balancer), SOON)
    make_eth0(balancer.lab)
    until(lambda: all_is_well(balancer, "dr1"))
    assert balancer.get(20).keys() == {"dr1"}
    balancer.lab.configure("balancer", "link del eth0")
    balancer.kill()
    balancer.daemon = balancer.spawn()
    until(lambda: "balancing on eth0 (not attached)" in log_of(balancer), 60)
    assert "the NIC eth0 is gone" in why_not_ready(balancer)
    make_eth0(balancer.lab)
    until(lambda: all_is_well(balancer, "dr1"))
    assert balancer.get(20).keys() == {"dr1"}


def test_a_nic_that_comes_late_is_attached_then_and_down_says_the_truth(balancer: Balancer) -> None:
    lab = balancer.lab
    lab.configure("balancer", "link del eth1")
    balancer.prepare("dr1")
    balancer.daemon = balancer.spawn(nics=("eth0", "eth1"))
    until(lambda: "balancing on eth0 (native), eth1 (not attached)" in log_of(balancer), 60)
    assert "there is no NIC eth1; xdplb attaches to eth1 as soon as it is there" in why_not_ready(balancer)
    make_eth1(lab)
    began = time.monotonic()
    until(lambda: readyz(balancer)[0] == 200, SOON)
    assert time.monotonic() - began < SOON
    balancer.prepare("side")
    balancer.add("dr1", "side")
    assert balancer.get(40).keys() == {"dr1", "side"}
    balancer.down("--all")
    assert balancer.daemon.wait(10) == 0
    last = log_of(balancer).splitlines()[-1]
    assert "stopped by xdplb down, which detaches the program from eth0 eth1" in last
    assert "stays" not in last


def test_every_backend_out_of_reach_is_not_ready(balancer: Balancer) -> None:
    balancer.prepare("dr1")
    balancer.start()
    balancer.cli("vip", "add", KEY)
    assert readyz(balancer)[0] == 200
    balancer.cli("backend", "add", KEY, "192.0.2.77", "--forward", "ipip")
    balancer.lab.configure("balancer", "route del default")
    until(lambda: "no packet can be sent to the only backend" in why_not_ready(balancer), SOON)
    balancer.cli("backend", "add", KEY, str(ADDRESSES["dr1"]))
    until(lambda: readyz(balancer)[0] == 200)
