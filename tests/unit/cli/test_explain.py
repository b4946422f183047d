# SPDX-License-Identifier: Apache-2.0
"""`xdplb explain` where program and model do not agree, and all that it can be told."""

from __future__ import annotations

from typing import Any

from tests.scripted_daemon import Script

PATH = "/v1/explain?client=%5B2001%3Adb8%3A%3A9%5D%3A4000&vip=web&packet=established"
BODY: dict[str, Any] = {
    "packet": {
        "client": "2001:db8::9", "client_port": 4000, "address": "2001:db8::10", "port": 443, "protocol": "tcp",
        "kind": "established", "interface": "eth0",
    },
    "if_down": None,
    "vip": "[2001:db8::10]:443/tcp",
    "action": "send",
    "reason": None,
    "backend": "10.0.0.2",
    "chosen_by": "record",
    "slot": {"number": 7, "state": "moving", "owner": "10.0.0.1", "previous": "10.0.0.2"},
    "record": {
        "backend": "10.0.0.2", "counts": True, "age_seconds": 3.21, "flags": ["established", "fin"], "probation": True,
    },
    "sent": {
        "forward": "gue",
        "outer": {"source": "10.0.0.9", "destination": "10.0.0.2", "source_port": 50000, "destination_port": 6080},
        "next_hop": {
            "mac": "02:00:00:00:02:0b", "interface": "eth0", "gateway": "10.0.0.254", "mtu": 1500, "vlans": [10, 20],
        },
    },
    "why": ["the record of its flow names 10.0.0.2"],
    "agree": False,
    "differences": [{"what": "backend", "model": "2", "program": "1"}],
    "note": "",
}  # fmt: skip


def test_a_program_that_says_otherwise_is_a_bug_and_exit_1(script: Script):
    script.on("GET", PATH, BODY)
    told = script.run("explain", "-o", "wide", "[2001:db8::9]:4000", "web", "--established")
    assert told.returncode == 1
    assert "tcp established [2001:db8::9]:4000 > [2001:db8::10]:443, in by eth0" in told.stdout
    assert "7, moving from 10.0.0.2, of 10.0.0.1" in told.stdout
    assert "10.0.0.2, 3.2 s old (established, fin, on probation)" in told.stdout
    assert "gue, outer 10.0.0.9 > 10.0.0.2, ports 50000 > 6080" in told.stdout
    assert "by eth0, MTU 1500, through the gateway 10.0.0.254, VLAN 20 in 10" in told.stdout
    assert "- the record of its flow names 10.0.0.2" in told.stdout
    assert told.stdout.splitlines()[-1].split() == ["backend", "2", "1"]
    assert "this is a bug" in told.stderr


def test_as_json_it_is_the_api_s_body_and_exit_1_all_the_same(script: Script):
    script.on("GET", PATH, BODY)
    told = script.run("explain", "[2001:db8::9]:4000", "web", "--established", "-o", "json")
    assert (told.returncode, told.stderr) == (1, "")


def test_a_program_that_agrees_is_exit_0(script: Script):
    body = {**BODY, "agree": True, "differences": [], "sent": None, "record": None, "slot": None, "reason": "denied"}
    script.on("GET", PATH, {**body, "action": "drop"})
    told = script.run("explain", "[2001:db8::9]:4000", "web", "--established")
    assert (told.returncode, told.stderr) == (0, "")
    assert "drop: denied" in told.stdout
    assert "agrees" in told.stdout
