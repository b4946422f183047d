# SPDX-License-Identifier: Apache-2.0
"""`xdplb vip` and `xdplb backend` for VIPs of all kinds: what is asked is what is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from .cli_harness import Daemon, shown

VIP6 = "[2001:db8::10]:443/udp"


@pytest.mark.parametrize(
    "vip",
    [VIP6, "203.0.113.10:8000-8999/tcp", "203.0.113.10:0/tcp+udp", "203.0.113.0/24:80/tcp", "[2001:db8::/64]:53/udp"],
)
def test_a_vip_of_any_kind_is_added_shown_changed_and_removed(daemon: Daemon, vip: str):
    assert daemon.ok("vip", "add", vip).stderr == f"VIP {vip} added\n"
    assert daemon.ok("vip", "add", vip).stderr == f"VIP {vip} already exists\n"
    assert shown(daemon, "vip", "show", vip)["vip"] == vip
    assert daemon.ok("vip", "ls").stdout.splitlines()[1].startswith(f"{vip} ")
    assert daemon.ok("vip", "set", vip, "--name", "it").stderr == f"VIP {vip} changed\n"
    assert daemon.ok("backend", "add", vip, "10.0.0.1", "--forward", "gue").returncode == 0
    assert daemon.ok("backend", "ls").stdout.splitlines()[1].startswith(vip)
    assert daemon.ok("vip", "rm", vip).stderr == f"VIP {vip} removed\n"


def test_the_options_of_a_vip_are_what_it_shows(daemon: Daemon):
    daemon.ok(
        "vip", "add", VIP6, "--scheduler", "wlc", "--vlan", "keep", "--quic-server-id-bytes", "2", "--quic-config-id",
        "3", "--limit-packets", "1000000", "--limit-source-packets", "1000", "--forward", "gue",
    )  # fmt: skip
    fields = shown(daemon, "vip", "show", VIP6)
    assert [fields[name] for name in ("scheduler", "tracking", "vlan", "forward")] == ["wlc", "always", "keep", "gue"]
    assert fields["quic"] == "server IDs of 2 bytes, config ID 3"
    assert fields["limits"] == "packets 1000000/s, source-packets 1000/s"
    daemon.ok("backend", "add", VIP6, "2001:db8:1::11", "--quic-server-id", "00a7")
    assert shown(daemon, "backend", "show", VIP6, "2001:db8:1::11")["quic-server-id"] == "00a7"


def test_options_take_away_what_options_gave(daemon: Daemon):
    daemon.ok("vip", "add", VIP6, "--quic-server-id-bytes", "1", "--limit-packets", "9", "--forward", "ipip")
    daemon.ok("backend", "add", VIP6, "10.0.0.1", "--quic-server-id", "a7")
    told = daemon.run("vip", "set", VIP6, "--quic-server-id-bytes", "off")
    assert (told.returncode, "backend 10.0.0.1 has a server ID" in told.stderr) == (2, True)
    daemon.ok("backend", "set", VIP6, "10.0.0.1", "--quic-server-id", "none")
    daemon.ok("vip", "set", VIP6, "--quic-server-id-bytes", "off", "--limit-packets", "0")
    fields = shown(daemon, "vip", "show", VIP6)
    assert (fields["quic"], fields["limits"]) == ("-", "-")


def test_one_limit_is_set_without_the_others(daemon: Daemon):
    daemon.ok("vip", "add", VIP6, "--limit-packets", "9")
    daemon.ok("vip", "set", VIP6, "--limit-source-packets", "3")
    assert shown(daemon, "vip", "show", VIP6)["limits"] == "packets 9/s, source-packets 3/s"
    daemon.ok("vip", "add", "203.0.113.10:80/tcp", "--limit-new-flows", "5000")
    daemon.ok("vip", "set", "203.0.113.10:80/tcp", "--limit-source-new-flows", "50")
    assert shown(daemon, "vip", "show", "203.0.113.10:80/tcp")["limits"] == "new-flows 5000/s, source-new-flows 50/s"


def test_a_scheduler_brings_what_it_needs_and_a_dry_run_says_what_that_costs(daemon: Daemon):
    daemon.ok("vip", "add", "203.0.113.10:80/tcp")
    told = daemon.ok("vip", "set", "203.0.113.10:80/tcp", "--scheduler", "rr", "--dry-run").stderr
    assert "open connections of VIP 203.0.113.10:80/tcp without a record go to other backends" in told
    daemon.ok("vip", "set", "203.0.113.10:80/tcp", "--scheduler", "rr")
    assert shown(daemon, "vip", "show", "203.0.113.10:80/tcp")["tracking"] == "always"


def test_an_access_list_is_set_shown_and_cleared(daemon: Daemon, tmp_path: Path):
    daemon.ok("vip", "add", "203.0.113.10:80/tcp", "--name", "web")
    file = tmp_path / "blocked.txt"
    file.write_text("\ufeff192.0.2.0/24\n# by mail of Monday\n\n198.51.100.7 # scans\n")  # as Windows writes it
    assert shown(daemon, "vip", "show", "web")["access"] == "any source"

    told = daemon.ok("vip", "access", "set", "web", "--deny-file", str(file), "--allow", "0.0.0.0/0", "--dry-run")
    assert "allows 1 prefix and denies 2; every other source is denied" in told.stdout
    assert shown(daemon, "vip", "show", "web")["access"] == "any source"
    words = ["vip", "access", "set", "web", "--deny-file", str(file), "--allow", "0.0.0.0/0"]
    assert daemon.ok(*words).stderr == "access list of web set\n"
    assert daemon.ok(*words).stderr == "access list of web is unchanged\n"

    assert shown(daemon, "vip", "show", "web")["access"] == "1 prefixes allowed, 2 denied"
    assert [line.split() for line in daemon.ok("vip", "access", "show", "web").stdout.splitlines()[1:]] == [
        ["allow", "0.0.0.0/0"],
        ["deny", "192.0.2.0/24"],
        ["deny", "198.51.100.7/32"],
    ]
    assert daemon.ok("vip", "access", "clear", "web").stderr == "access list of web cleared\n"
    assert daemon.ok("vip", "access", "clear", "web").stderr == "access list of web is unchanged\n"


def test_a_line_that_is_no_prefix_is_named(daemon: Daemon, tmp_path: Path):
    file = tmp_path / "blocked.txt"
    file.write_text("192.0.2.0/24\n# and\n192.0.2.0/33\n")
    daemon.ok("vip", "add", "203.0.113.10:80/tcp", "--name", "web")
    told = daemon.run("vip", "access", "set", "web", "--deny", "10.0.0.0/8", "--deny-file", str(file))
    assert told.returncode == 2
    assert f"{file}:3: '192.0.2.0/33' is not an IP prefix" in told.stderr
    file.write_text("2001:db8::/32\n")
    told = daemon.run("vip", "access", "set", "web", "--allow-file", str(file))
    assert told.returncode == 2
    assert f"{file}:1: no packet to this VIP can come from 2001:db8::/32" in told.stderr
    assert shown(daemon, "vip", "show", "web")["access"] == "any source"


def test_the_more_specific_vip_stands_beside_the_wider_one(daemon: Daemon):
    for vip in ("203.0.113.0/24:0/tcp", "203.0.113.10:80-90/tcp", "203.0.113.10:85/tcp"):
        daemon.ok("vip", "add", vip)
    told = daemon.run("vip", "add", "203.0.113.10:90-100/tcp")
    assert told.returncode == 4
    assert "VIP 203.0.113.10:90-100/tcp and VIP 203.0.113.10:80-90/tcp match the same packets" in told.stderr
