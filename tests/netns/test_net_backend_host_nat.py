# SPDX-License-Identifier: Apache-2.0
"""Setting a backend's host up for NAT: its answers leave by the balancers, and undoing it leaves what was there."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from tests.netns.balancer import XDPLB
from tests.netns.conftest import new_lab
from xdplb.model.errors import ConflictError, InvalidError, XdplbError
from xdplb.model.vip import Forward
from xdplb.net.lab import VIP, VIP6, Lab
from xdplb.net.undo_log import VipHost

from .test_net_backend_host import Host

ONE, TWO = ip_address("10.0.0.2"), ip_address("10.0.0.3")
ONE6, TWO6 = ip_address("2001:db8::2"), ip_address("2001:db8::3")
CLIENTS = ip_network("198.51.100.0/24")


@pytest.fixture(scope="module")
def shared() -> Iterator[Lab]:
    with new_lab() as built:
        yield built


@pytest.fixture
def host(shared: Lab, tmp_path: Path) -> Iterator[Host]:
    """A backend, whose routes and settings are as before after each test."""
    found = Host(shared, "dr1", tmp_path)
    before = found.picture()
    yield found
    for vip in (VIP, VIP6):
        found.undo(vip)
    assert found.picture() == before


def default_route(lab: Lab, version: int = 4) -> str:
    return lab.run("dr1", ["ip", f"-{version}", "-oneline", "route", "show", "default"]).stdout


WAYS: dict[str, tuple[VipHost, dict[str, Any]]] = {
    "one": (VIP, {"via": (ONE,)}),
    "two": (VIP, {"via": (ONE, TWO)}),
    "clients": (VIP, {"via": (ONE,), "clients": (CLIENTS, ip_network("192.0.2.7/32"))}),
    "one6": (VIP6, {"via": (ONE6,)}),
    "two6": (VIP6, {"via": (ONE6, TWO6)}),
    "link6": (VIP6, {"via": (ip_address("fe80::2"),), "interface": "eth0"}),
}


@pytest.mark.parametrize("way", WAYS)
def test_answers_leave_by_the_balancers_and_undo_leaves_what_was_there(host: Host, shared: Lab, way: str) -> None:
    vip, how = WAYS[way]
    before = host.picture()
    assert any(
        "so that answers to clients leave by the balancer" in text for text in host.wrong(vip, Forward.NAT, **how)
    )
    assert host.setup(vip, Forward.NAT, **how)
    assert host.wrong(vip, Forward.NAT, **how) == []
    client = "198.51.100.9" if vip.version == 4 else "2001:db8:c::9"
    assert str(how["via"][0])[:6] in shared.run("dr1", ["ip", "route", "get", client]).stdout
    assert host.setup(vip, Forward.NAT, **how) == []
    host.undo(vip)
    assert host.picture() == before


def test_no_address_of_the_vip_is_needed(host: Host, shared: Lab) -> None:
    host.setup(VIP, Forward.NAT, via=(ONE,))
    assert str(VIP) not in shared.run("dr1", ["ip", "address"]).stdout


def test_a_default_route_of_dhcp_stays_and_comes_second(host: Host, shared: Lab) -> None:
    """DHCP would set it again."""
    before = default_route(shared).strip()
    shared.configure("dr1", "route del default", "route add default via 10.0.0.254 dev eth0 proto dhcp metric 100")
    try:
        host.setup(VIP, Forward.NAT, via=(ONE,))
        first, second = default_route(shared).splitlines()
        assert first.split()[:3] == ["default", "via", str(ONE)]
        assert "proto dhcp" in second
        assert host.wrong(VIP, Forward.NAT, via=(ONE,)) == []
        host.undo(VIP)
        assert default_route(shared).split() == second.split()
    finally:
        shared.configure("dr1", "route del default", f"route add {before}")


def test_without_a_default_route_it_gets_one_and_loses_it_again(host: Host, shared: Lab) -> None:
    before = default_route(shared).strip()
    shared.configure("dr1", "route del default")
    try:
        assert any("before: none" in text for text in host.setup(VIP, Forward.NAT, via=(ONE,)))
        assert host.wrong(VIP, Forward.NAT, via=(ONE,)) == []
        host.undo(VIP)
        assert default_route(shared) == ""
    finally:
        shared.configure("dr1", f"route add {before}")


KILLED_AT_WRITE = """
import os, signal, sys
from xdplb.net import host_route, host_settings, setup_log, undo_log

left = int(sys.argv.pop(1))


def killing(function):
    def write(*arguments):
        global left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)
    return write


for kind in (host_route.HostRoute, host_settings.Sysctl, host_settings.Checksums):
    kind.write = killing(kind.write)
for log in (setup_log, undo_log):
    log.write_json = killing(log.write_json)

from xdplb.cli.main import main

main()
"""


def test_what_a_kill_left_half_done_is_undone(host: Host, shared: Lab, tmp_path: Path) -> None:
    """Killed ahead of each of its writes; what it had done by then is put back."""
    before = host.picture()
    argv = ["backend-host", "setup", str(VIP), "--forward", "nat", "--via", str(ONE), "--state-dir", str(tmp_path)]
    for count in range(1, 20):
        ended = shared.run("dr1", [sys.executable, "-c", KILLED_AT_WRITE, str(count), *argv], check=False)
        host.undo(VIP)
        assert host.picture() == before
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert count > 5


REFUSED: dict[str, tuple[VipHost, dict[str, Any], type[XdplbError], str]] = {
    "no balancer": (VIP, {}, InvalidError, "no address of it is given"),
    "another family": (VIP, {"via": (ONE6,)}, InvalidError, "2001:db8::2 is IPv6, and VIP 203.0.113.10 is IPv4"),
    "clients of another family": (
        *(VIP, {"via": (ONE,), "clients": (ip_network("2001:db8:c::/64"),)}),
        *(InvalidError, "2001:db8:c::/64 is IPv6"),
    ),
    "many addresses": (ip_network("203.0.113.0/28"), {"via": (ONE,)}, InvalidError, "has many addresses"),
    "no NIC": (VIP6, {"via": (ip_address("fe80::2"),)}, InvalidError, "fe80::2 is an address of one link"),
    "far": (VIP, {"via": (ip_address("192.0.2.9"),)}, ConflictError, "192.0.2.9 is not on a network of this host"),
    "itself": (VIP, {"via": (ip_address("10.0.0.11"),)}, ConflictError, "10.0.0.11 is not on a network of this host"),
    "neighbours": (
        *(VIP, {"via": (ONE,), "clients": (ip_network("10.0.0.0/24"),)}),
        *(ConflictError, r"clients in 10\.0\.0\.0/24 are on a network of this host \(eth0\), .*: use dr for these"),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_and_changes_nothing(host: Host, case: str) -> None:
    vip, how, error, said = REFUSED[case]
    before = host.picture()
    with pytest.raises(error, match=said):
        host.setup(vip, Forward.NAT, **how)
    assert host.picture() == before


def test_show_tells_what_setup_refuses(host: Host) -> None:
    told = host.wrong(VIP, Forward.NAT, via=(ip_address("192.0.2.9"),))
    assert told[0].startswith("192.0.2.9 is not on a network of this host")


def test_a_route_past_the_balancer_and_believed_redirects_are_told(host: Host, shared: Lab) -> None:
    host.setup(VIP, Forward.NAT, via=(ONE,))
    shared.configure("dr1", "route add 198.51.0.0/16 via 10.0.0.1 dev eth0")
    shared.run("dr1", ["sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/eth0/accept_redirects"])
    try:
        told = host.wrong(VIP, Forward.NAT, via=(ONE,))
        assert len(told) == 2
        assert "answers to clients in 198.51.0.0/16 leave by 10.0.0.1, past the balancer" in told[0]
        assert "net.ipv4.conf.eth0.accept_redirects is 1, but should be 0" in told[1]
    finally:
        shared.configure("dr1", "route del 198.51.0.0/16")
        shared.run("dr1", ["sh", "-c", "echo 0 >/proc/sys/net/ipv4/conf/eth0/accept_redirects"])


def test_checksums_are_not_left_to_a_veth(host: Host, shared: Lab) -> None:
    said = host.setup(VIP, Forward.NAT, via=(ONE,))
    assert any("this host computes the checksums of what it sends by eth0 now" in text for text in said)
    assert "tx-checksumming: off" in shared.run("dr1", ["ethtool", "-k", "eth0"]).stdout
    host.undo(VIP)
    assert "tx-checksumming: on" in shared.run("dr1", ["ethtool", "-k", "eth0"]).stdout


def test_the_commands_know_what_was_set_up(host: Host, shared: Lab, tmp_path: Path) -> None:
    def run(verb: str, *options: str) -> subprocess.CompletedProcess[str]:
        command = [XDPLB, "backend-host", verb, str(VIP), *options, "--state-dir", str(tmp_path)]
        return shared.run("dr1", command, check=False)

    missing = run("setup", "--forward", "nat")
    assert (missing.returncode, "give --via" in missing.stderr) == (2, True)
    wrong = run("setup", "--via", str(ONE))
    assert (wrong.returncode, "--via and --clients are for nat" in wrong.stderr) == (2, True)
    options = ["--forward", "nat", "--via", str(ONE), "--via", str(TWO)]
    assert f"nexthop via {ONE} dev eth0" in run("setup", *options, "--dry-run").stdout
    assert run("setup", *options).returncode == 0
    shown = run("show")
    assert (shown.returncode, shown.stderr) == (0, "for nat, as set up\n")
    shared.configure("dr1", "route replace default via 10.0.0.1")
    told = run("show")
    assert told.returncode == 1
    assert "so that answers to clients leave by the balancer" in " ".join(told.stdout.split())
    assert run("setup", *options).returncode == 0
    assert run("undo").returncode == 0
