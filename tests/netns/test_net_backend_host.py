# SPDX-License-Identifier: Apache-2.0
"""Setting a backend's host up for a VIP, and undoing it, which leaves exactly what was there."""

from __future__ import annotations

import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from tests.netns.balancer import XDPLB
from xdplb.model.address import IPAddress
from xdplb.model.errors import ConflictError, PlatformError
from xdplb.model.vip import Forward
from xdplb.net import backend_host
from xdplb.net.lab import VIP, VIP6, Lab
from xdplb.net.setup_log import HostSetup
from xdplb.net.undo_log import VipHost

OTHER = ip_address("203.0.113.11")
VIPS: list[VipHost] = [VIP, VIP6, ip_network("203.0.113.0/28"), ip_network("2001:db8:f::/64")]

every_vip_and_forward = pytest.mark.parametrize(
    ("vip", "forward"),
    [(vip, forward) for vip in VIPS for forward in (Forward.DR, Forward.IPIP, Forward.GUE)],
    ids=str,
)


class Host:
    """A host of the lab as a backend; its decapsulation is only noted."""

    def __init__(self, lab: Lab, name: str, state_dir: Path) -> None:
        self._lab, self._name, self._state_dir = lab, name, state_dir
        self.unwraps_on: set[str] = set()

        self.lacks: PlatformError | None = None

    def require(self) -> None:
        if self.lacks is not None:
            raise self.lacks

    def up(self, interface: str) -> None:
        self.unwraps_on.add(interface)

    def down(self, interface: str) -> None:
        self.unwraps_on.discard(interface)

    def is_up(self, interface: str) -> bool:
        return interface in self.unwraps_on

    def setup(self, vip: VipHost, forward: Forward, interface: str | None = None, **others: Any) -> list[str]:
        how = HostSetup(forward, interface, **others)
        return self._lab.inside(self._name, lambda: backend_host.setup(vip, how, decap=self, state_dir=self._state_dir))

    def wrong(self, vip: VipHost, forward: Forward, **others: Any) -> list[str]:
        """Return what `show` finds wrong."""
        how = HostSetup(forward, **others)
        findings = self._lab.inside(self._name, lambda: backend_host.show(vip, how, decap=self))
        return [finding.text for finding in findings if not finding.good]

    def undo(self, vip: VipHost) -> list[str]:
        return self._lab.inside(self._name, lambda: backend_host.undo(vip, decap=self, state_dir=self._state_dir))

    def foretold(self, vip: VipHost) -> tuple[list[str], list[str]]:
        """Return what an undo would write and what it would leave, as sentences."""
        steps = self._lab.inside(
            self._name, lambda: backend_host.preview_undo(vip, decap=self, state_dir=self._state_dir)
        )
        return [step.text for step in steps if step.writes], [step.text for step in steps if not step.writes]

    def picture(self) -> str:
        """Return all of the host that `setup` may touch."""
        settings = ["sh", "-c", "cd /proc/sys/net/ipv4/conf && grep -r . ."]
        routes = (["ip", family, "route", "show", "table", "all"] for family in ("-4", "-6"))
        shows = (["ip", "address"], *routes, ["ip", "link"], settings)
        return "".join(self._lab.run(self._name, argv).stdout for argv in shows) + str(self.unwraps_on)


@pytest.fixture
def host(lab: Lab, tmp_path: Path) -> Host:
    return Host(lab, "dr1", tmp_path)


@every_vip_and_forward
def test_undo_leaves_exactly_what_was_there(host: Host, vip: VipHost, forward: Forward) -> None:
    before = host.picture()
    assert host.setup(vip, forward)
    assert host.picture() != before
    host.undo(vip)
    assert host.picture() == before


@every_vip_and_forward
def test_show_is_content_after_setup_and_only_then(host: Host, vip: VipHost, forward: Forward) -> None:
    wrong = host.wrong(vip, forward)
    assert any(", but should be present, so that this host accepts packets for the VIP" in text for text in wrong)
    host.setup(vip, forward)
    assert host.wrong(vip, forward) == []
    host.undo(vip)
    assert host.wrong(vip, forward) == wrong


@every_vip_and_forward
def test_a_second_setup_changes_nothing_and_undo_still_knows_what_was_there(
    host: Host, vip: VipHost, forward: Forward
) -> None:
    before = host.picture()
    host.setup(vip, forward)
    assert host.setup(vip, forward) == []
    host.undo(vip)
    assert host.picture() == before
    assert host.undo(vip) == []


def test_what_two_vips_need_stays_until_the_second_is_undone(host: Host) -> None:
    before = host.picture()
    host.setup(VIP, Forward.DR)
    assert len(host.setup(OTHER, Forward.DR)) == 1
    said = host.undo(VIP)
    assert any(f"net.ipv4.conf.all.arp_ignore is 1: it stays, because {OTHER} needs it" in text for text in said)
    assert host.wrong(OTHER, Forward.DR) == []
    host.undo(OTHER)
    assert host.picture() == before


def test_an_undo_is_foretold_in_its_own_words(host: Host) -> None:
    host.setup(VIP, Forward.IPIP)
    host.setup(OTHER, Forward.DR)
    before = host.picture()
    written, left = host.foretold(VIP)
    assert f"{VIP}/32 is not on lo again" in written
    assert any(text.endswith(f"it stays, because {OTHER} needs it") for text in left)
    assert host.picture() == before
    assert sorted(host.undo(VIP)) == sorted(written + left)
    assert host.foretold(VIP) == ([], [])


def test_a_decap_that_cannot_be_is_told_before_anything_is_changed(host: Host) -> None:
    before = host.picture()
    host.lacks = PlatformError("there is no BPF file system")
    with pytest.raises(PlatformError, match="no BPF file system"):
        host.setup(VIP, Forward.IPIP)
    assert host.picture() == before
    assert host.undo(VIP) == []
    assert host.setup(VIP, Forward.DR)


def test_what_was_right_already_is_not_ours_to_undo(host: Host, lab: Lab) -> None:
    lab.run("dr1", ["sh", "-c", "echo 2 >/proc/sys/net/ipv4/conf/all/arp_ignore"])
    before = host.picture()
    assert not any("arp_ignore" in text for text in host.setup(VIP, Forward.DR))
    host.undo(VIP)
    assert host.picture() == before


def test_what_somebody_changed_since_is_left(host: Host, lab: Lab) -> None:
    host.setup(VIP, Forward.DR)
    lab.run("dr1", ["sh", "-c", "echo 2 >/proc/sys/net/ipv4/conf/all/arp_ignore"])
    assert "net.ipv4.conf.all.arp_ignore is 2: it was changed since, so it is not restored" in host.undo(VIP)


def test_the_host_answers_for_the_vip_and_no_arp_for_it(host: Host, lab: Lab) -> None:
    lab.configure("router", "route replace 203.0.113.0/24 dev segment")
    host.setup(VIP, Forward.DR)
    asked = ["ping", "-c", "1", "-W", "1", str(VIP)]
    assert lab.run("router", asked, check=False).returncode
    lab.configure("router", f"route replace {VIP} via 10.0.0.11")
    assert lab.run("router", asked).returncode == 0


def test_an_address_of_ipv6_on_lo_is_not_told_to_the_segment(host: Host, lab: Lab) -> None:
    lab.configure("router", "route replace 2001:db8:f::/64 dev segment")
    host.setup(VIP6, Forward.DR)
    asked = ["ping", "-c", "1", "-W", "1", str(VIP6)]
    assert lab.run("router", asked, check=False).returncode
    lab.configure("router", f"route replace {VIP6} via 2001:db8::11")
    assert lab.run("router", asked).returncode == 0


@pytest.mark.parametrize("vip", [ip_network("203.0.113.0/28"), ip_network("2001:db8:f::/64")], ids=str)
def test_the_host_answers_for_a_whole_prefix_and_tells_nobody(host: Host, lab: Lab, vip: VipHost) -> None:
    router, gateway = ("203.0.113.0/24", "10.0.0.11") if vip.version == 4 else ("2001:db8:f::/64", "2001:db8::11")
    asked = ["ping", "-c", "1", "-W", "1", "203.0.113.7" if vip.version == 4 else "2001:db8:f::7:7"]
    lab.configure("router", f"route replace {router} dev segment")
    host.setup(vip, Forward.DR)
    assert lab.run("router", asked, check=False).returncode
    lab.configure("router", f"route replace {router} via {gateway}")
    assert lab.run("router", asked).returncode == 0


def test_no_connection_of_the_host_begins_with_an_address_of_ipv6_on_lo(host: Host, lab: Lab) -> None:
    lab.configure("dr1", "address del 2001:db8::11/64 dev eth0", "address add fd00::11/64 dev eth0")
    host.setup(VIP6, Forward.DR)
    assert "src fd00::11" in lab.run("dr1", ["ip", "route", "get", "2001:db8:c::2"]).stdout


LARGEST = {
    (VIP, Forward.IPIP, 4): 1440,
    (VIP, Forward.IPIP, 6): 1420,
    (VIP, Forward.GUE, 4): 1432,
    (VIP, Forward.GUE, 6): 1412,
    (VIP6, Forward.IPIP, 4): 1420,
    (VIP6, Forward.IPIP, 6): 1400,
    (VIP6, Forward.GUE, 4): 1412,
    (VIP6, Forward.GUE, 6): 1392,
}


@pytest.mark.parametrize("way", LARGEST, ids=str)
def test_clients_are_had_to_send_segments_that_fit_when_wrapped(
    host: Host, lab: Lab, way: tuple[IPAddress, Forward, int]
) -> None:
    vip, forward, outer = way
    host.setup(vip, forward, outer=outer)
    assert host.unwraps_on == {"eth0"}
    shown = lab.run("dr1", ["ip", f"-{vip.version}", "route", "show", "default"]).stdout
    assert f"advmss {LARGEST[way]}" in shown


def test_a_default_route_that_a_router_announces_is_left_to_it(host: Host, lab: Lab) -> None:
    lab.configure("dr1", "route del ::/0", "route add ::/0 via fe80::1 dev eth0 proto ra")
    before = lab.run("dr1", ["ip", "-6", "route", "show", "default"]).stdout
    host.setup(VIP6, Forward.IPIP)
    assert lab.run("dr1", ["ip", "-6", "route", "show", "default"]).stdout == before


def test_rp_filter_is_loosened_where_answers_leave_by_another_nic(lab: Lab, tmp_path: Path) -> None:
    lab.run("side", ["sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/all/rp_filter"])
    host = Host(lab, "side", tmp_path)
    said = host.setup(VIP, Forward.DR, interface="eth0")
    assert any("net.ipv4.conf.eth0.rp_filter is 2" in text for text in said)
    assert host.setup(OTHER, Forward.DR, interface="eth0")
    host.undo(VIP)
    assert lab.run("side", ["cat", "/proc/sys/net/ipv4/conf/eth0/rp_filter"]).stdout == "2\n"


def test_a_vip_on_a_nic_is_refused(host: Host, lab: Lab) -> None:
    lab.configure("dr1", f"address add {VIP}/32 dev eth0")
    with pytest.raises(ConflictError, match=f"{VIP} is on eth0, which answers ARP"):
        host.setup(VIP, Forward.DR)


def test_an_address_of_ipv6_on_a_nic_is_refused(host: Host, lab: Lab) -> None:
    lab.configure("dr1", f"address add {VIP6}/128 dev eth0")
    with pytest.raises(ConflictError, match=f"{VIP6} is on eth0, which answers neighbour discovery"):
        host.setup(VIP6, Forward.DR)


def test_without_a_default_route_the_nic_must_be_named(host: Host, lab: Lab) -> None:
    lab.configure("dr1", "route del default", "route del ::/0")
    with pytest.raises(PlatformError, match="--interface"):
        host.setup(VIP, Forward.DR)
    assert host.setup(VIP, Forward.DR, interface="eth0")


def test_a_record_that_cannot_be_read_is_said(host: Host, tmp_path: Path) -> None:
    (tmp_path / "backend-host.json").write_text("{")
    with pytest.raises(PlatformError, match=r"backend-host\.json cannot be read"):
        host.setup(VIP, Forward.DR)


@pytest.mark.parametrize("forward", ["ipip", "gue", "dr"])
def test_show_looks_at_what_was_set_up(lab: Lab, tmp_path: Path, forward: str) -> None:
    """With the commands: show knows the forwarding, and misses what is taken away; undo leaves nothing to show."""
    places = ["--state-dir", str(tmp_path), "--pin-dir", str(lab.home.bpffs / "ipip1")]

    def run(verb: str, *options: str) -> subprocess.CompletedProcess[str]:
        command = [XDPLB, "backend-host", verb, str(VIP), *options, *places]
        return lab.run("ipip1", command, check=False)

    assert run("setup", "--forward", forward).returncode == 0
    shown = run("show")
    assert (shown.returncode, shown.stderr) == (0, f"for {forward}, as set up\n")
    asked = run("show", "--forward", forward)
    assert (asked.returncode, asked.stdout) == (0, shown.stdout)
    assert shown.stdout.count("ok") == run("show", "-o", "json").stdout.count('"good": true')
    if forward != "dr":
        [unwraps] = [line for line in shown.stdout.splitlines() if "unwrap" in line or "tunl0" in line][:1]
        assert unwraps.startswith("ok")
        if "tunl0" in unwraps:
            lab.run("ipip1", ["ip", "link", "set", "tunl0", "down"])
        else:
            lab.run("ipip1", [XDPLB, "decap", "down", "eth0", *places[2:]])
    else:
        lab.run("ipip1", ["ip", "address", "del", f"{VIP}/32", "dev", "lo"])
    missing = run("show")
    assert missing.returncode == 1
    assert "fail" in missing.stdout
    assert run("setup", "--forward", forward).returncode == 0
    assert run("undo").returncode == 0
    after = run("show")
    assert (after.returncode, f"for dr: {tmp_path} has no record of a setup" in after.stderr) == (1, True)
    assert f"{tmp_path} notes no change for it" in run("undo").stderr


def test_where_sysctls_are_read_only_as_in_a_container_it_says_so_and_nothing_is_left(lab: Lab, tmp_path: Path) -> None:
    read_only = 'mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec "$@"'
    setup = [XDPLB, "backend-host", "setup", str(VIP), "--state-dir", str(tmp_path / "state")]
    told = lab.run("dr1", ["unshare", "--mount", "sh", "-c", read_only, "sh", *setup], check=False)
    assert told.returncode == 1
    assert "arp_ignore cannot be written: Read-only file system" in told.stderr
    assert "in a container" in told.stderr
    assert "root" not in told.stderr.partition("hint:")[2]
    assert str(VIP) not in lab.run("dr1", ["ip", "address", "show", "lo"]).stdout
