# SPDX-License-Identifier: Apache-2.0
"""What the doctor finds missing for NAT."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from tests.private_host import add_nic, ip, private_host
from xdplb.daemon.diagnosis.finding import Finding, Level
from xdplb.daemon.diagnosis.nat import examine_nat, examine_replies
from xdplb.net.route_facts import takes_for_forged

VIP = "203.0.113.10"


def findings(
    proc: Path,
    address: str,
    forward: str,
    *,
    forwarding: str = "1",
    forged: bool = False,
    redirects: dict[str, str] | None = None,
) -> list[Finding]:
    """Return what is found for one backend behind eth1, on a host with these settings."""
    version = 6 if ":" in address else 4
    settings = {"ipv4": {"send_redirects": {"all": "0", "eth0": "0"} | (redirects or {})}}
    settings.setdefault(f"ipv{version}", {})["forwarding"] = {"eth0": forwarding}
    for family, names in settings.items():
        for name, values in names.items():
            for nic, value in values.items():
                setting = proc / family / "conf" / nic / name
                setting.parent.mkdir(parents=True, exist_ok=True)
                setting.write_text(value)
    backend = {"address": address, "forward": forward, "status": {"interface": "eth1"}}
    vip = f"{VIP}:80/tcp" if version == 4 else "[2001:db8::10]:80/tcp"
    return list(
        examine_nat({vip: [backend]}, ["eth0"], proc, lambda *what: forged and what == (IPv4Address(VIP), "eth1"))
    )


@pytest.mark.parametrize("address", ["10.0.0.1", "2001:db8:1::1"])
def test_a_host_that_does_not_forward(tmp_path: Path, address: str) -> None:
    (found,) = findings(tmp_path, address, "nat", forwarding="0")
    assert found.level is Level.FAIL
    assert "eth0.forwarding is 0" in found.detail


def test_a_host_that_would_drop_the_replies_that_are_left_to_it(tmp_path: Path) -> None:
    (found,) = findings(tmp_path, "10.0.0.1", "nat", forged=True)
    assert found.level is Level.WARN
    assert f"from {VIP} that come in by eth1 for forged" in found.detail
    assert "net.ipv4.conf.eth1.accept_local=1" in found.fix


@pytest.mark.parametrize("where", ["all", "eth0"])
def test_a_host_that_tells_backends_of_ways_past_it(tmp_path: Path, where: str) -> None:
    (found,) = findings(tmp_path, "10.0.0.1", "nat", redirects={where: "1"})
    assert found.level is Level.WARN
    assert found.detail.startswith(f"net.ipv4.conf.{where}.send_redirects is 1: ")
    assert found.fix == "sysctl -w net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth0.send_redirects=0"


def test_redirects_of_ipv4_do_not_matter_to_backends_of_ipv6(tmp_path: Path) -> None:
    (found,) = findings(tmp_path, "2001:db8:1::1", "nat", redirects={"all": "1"})
    assert found.level is Level.OK


def test_a_host_that_has_all(tmp_path: Path) -> None:
    (found,) = findings(tmp_path, "10.0.0.1", "nat")
    assert found.level is Level.OK


def test_without_nat_nothing_is_asked(tmp_path: Path) -> None:
    assert findings(tmp_path, "10.0.0.1", "dr", forwarding="0", forged=True) == []


SILENT = {
    "none has come": ("nat", "tcp", 500, 0, {}, True),
    "some have come": ("nat", "tcp", 500, 1, {}, False),
    "few packets": ("nat", "tcp", 99, 0, {}, False),
    "the host may route them": ("nat", "tcp", 500, 0, {"nat_reply": 3}, False),
    "UDP need not be answered": ("nat", "udp", 500, 0, {}, False),
    "of dr none come": ("dr", "tcp", 500, 0, {}, False),
}


@pytest.mark.parametrize("case", SILENT)
def test_a_backend_whose_answers_go_past_the_balancer(case: str) -> None:
    forward, protocol, packets, replies, passes, is_told = SILENT[case]
    vip = f"{VIP}:80/{protocol}"
    counted = {"vip": vip, "backends": [{"backend": "10.0.0.1", "packets": packets, "replies": replies}]}
    told = list(
        examine_replies({vip: [{"address": "10.0.0.1", "forward": forward}]}, {"vips": [counted], "passes": passes})
    )
    assert bool(told) is is_told
    for found in told:
        assert found.level is Level.WARN
        assert f"backend 10.0.0.1 of VIP {vip} has got 500 packets" in found.detail
        assert f"xdplb backend-host show {VIP} --forward nat" in found.fix


def setting(name: str, value: int) -> None:
    Path("/proc/sys/net/ipv4", *name.split(".")).write_text(str(value))


@pytest.mark.root
def test_the_kernel_says_what_it_takes_for_forged(tmp_path: Path) -> None:
    """A strict filter wants the way back by the same NIC, a loose one any, and a blackhole is none."""
    with private_host(tmp_path):
        for number, nic in enumerate(("backends", "clients")):
            add_nic(nic)
            ip(f"address add 10.{number}.0.1/24 dev {nic}")
        ip("route add default via 10.1.0.2")
        setting("ip_forward", 1)

        def found(rp_filter: int) -> bool:
            setting("conf.all.rp_filter", 0)
            setting("conf.backends.rp_filter", rp_filter)
            return takes_for_forged(IPv4Address(VIP), "backends")

        assert [found(0), found(1), found(2)] == [False, True, False]
        ip(f"route add blackhole {VIP}")
        assert [found(0), found(1), found(2)] == [False, True, True]
        ip(f"route del blackhole {VIP}")
        ip(f"address add {VIP} dev clients")
        assert found(0)
        setting("conf.backends.accept_local", 1)
        assert not found(0)
        assert not takes_for_forged(IPv4Address(VIP), "no-such-nic")
