# SPDX-License-Identifier: Apache-2.0
"""The daemon comes, dies, comes back and goes, with packets under way."""

from __future__ import annotations

import json
import os
import signal
import subprocess

from tests.waiting import until
from xdplb.net.lab import ADDRESSES

from .balancer import CHECK, KEY, XDPLB, Balancer, Download, Stream


def program_on(balancer: Balancer, nic: str = "eth0") -> int | None:
    """Return the id of the XDP program on a NIC of the balancer, as the kernel tells `ip`."""
    shown = json.loads(balancer.lab.run("balancer", ["ip", "-j", "-d", "link", "show", nic]).stdout)
    program: int | None = shown[0].get("xdp", {}).get("prog", {}).get("id")
    return program


def test_packets_flow_on_through_kill_9_and_the_next_daemon_takes_over(balancer: Balancer) -> None:
    balancer.prepare("dr1", "ipip1")
    balancer.start()
    balancer.add("dr1", "ipip1", vip_options=CHECK, weights={"ipip1": 2})
    program, shares = program_on(balancer), [balancer.status(host)["share"] for host in ("dr1", "ipip1")]
    assert program is not None
    stream, download = Stream(balancer), Download(balancer, size=4_000_000, seconds=12)
    (counted,) = balancer.metric("xdplb_vip_new_flows_total")
    balancer.kill()
    assert balancer.get(200).keys() == {"dr1", "ipip1"}
    assert program_on(balancer) == program
    balancer.start()
    assert balancer.metric("xdplb_vip_new_flows_total")[0] >= counted + 200
    assert sum(balancer.metric("xdplb_backend_new_flows_total")) >= counted + 200
    assert program_on(balancer) == program
    assert [balancer.status(host)["share"] for host in ("dr1", "ipip1")] == shares
    assert balancer.get(200).keys() == {"dr1", "ipip1"}
    assert stream.finish()
    download.finish()


def test_what_happened_while_it_was_dead_is_found_out(balancer: Balancer) -> None:
    balancer.prepare("dr1", "dr2")
    balancer.start()
    balancer.add("dr1", "dr2", vip_options=CHECK)
    balancer.kill()
    balancer.kill_service("dr2")
    balancer.start()
    until(lambda: balancer.status("dr2")["health"] == "down")
    assert balancer.get(100).keys() == {"dr1"}


def test_a_drain_goes_on_after_kill_9(balancer: Balancer) -> None:
    balancer.prepare("dr1", "dr2")
    balancer.start()
    balancer.add("dr1", "dr2")
    download = Download(balancer, size=4_000_000, seconds=12)
    balancer.cli("backend", "drain", KEY, str(ADDRESSES[download.backend]))
    balancer.kill()
    balancer.start()
    assert balancer.status(download.backend)["share"] == 0
    assert download.backend not in balancer.get(100)
    assert download.running
    download.finish()


def test_it_ends_when_asked_to_and_packets_flow_on(balancer: Balancer) -> None:
    balancer.prepare("dr1")
    balancer.start()
    balancer.add("dr1")
    assert balancer.daemon is not None
    balancer.daemon.send_signal(signal.SIGTERM)
    assert balancer.daemon.wait(10) == 0
    assert balancer.get(50).keys() == {"dr1"}


def test_down_leaves_nothing_and_up_has_the_vips_again(balancer: Balancer) -> None:
    balancer.prepare("dr1")
    balancer.start()
    balancer.add("dr1")
    before = balancer.lab.run("balancer", ["ip", "-o", "address"]).stdout
    balancer.down()
    assert balancer.daemon is not None
    assert balancer.daemon.wait(10) == 0
    assert program_on(balancer) is None
    assert [path for path in balancer.lab.home.bpffs.rglob("*") if path.suffix != ".debug"] == []
    assert balancer.lab.run("balancer", ["ip", "-o", "address"]).stdout == before
    assert balancer.down().returncode == 0
    balancer.start()
    assert balancer.get(50).keys() == {"dr1"}


def test_a_second_up_is_refused_and_told_by_whom_it_is_held(balancer: Balancer) -> None:
    balancer.start()
    assert balancer.daemon is not None
    other = balancer.lab.folder / "other"
    elsewhere = ["--listen", f"unix:{other}.sock", "--state-dir", str(other), "--pin-dir", f"{balancer.lab.pin_dir}-2"]
    refused = balancer.lab.run("balancer", [XDPLB, "up", "eth0", *elsewhere], check=False)
    assert refused.returncode == 4
    assert f"pid {balancer.daemon.pid}" in refused.stderr
    assert program_on(balancer) is not None


def test_a_nic_with_somebody_else_s_program_is_refused(balancer: Balancer) -> None:
    balancer.lab.attach("balancer", "eth0")
    foreign = program_on(balancer)
    refused = balancer.spawn()
    assert refused.wait(30) == 4
    assert f"{foreign}" in (balancer.lab.folder / "daemon.log").read_text()
    assert program_on(balancer) == foreign
    assert not balancer.lab.pin_dir.exists()


def test_a_nic_that_is_not_there_is_said_and_nothing_is_left(balancer: Balancer) -> None:
    refused = balancer.spawn(nics=("eht0",))
    assert refused.wait(30) == 1
    said = (balancer.lab.folder / "daemon.log").read_text()
    assert "eht0" in said
    assert "Traceback" not in said
    assert not balancer.lab.pin_dir.exists()


def test_doctor_asks_the_daemon_where_it_runs(balancer: Balancer) -> None:
    """From another network namespace, where there is no such eth0 and no such pin dir."""
    balancer.prepare("dr1")
    balancer.start()
    balancer.cli("vip", "add", KEY)
    balancer.cli("backend", "add", KEY, str(ADDRESSES["dr1"]))
    until(lambda: balancer.ask("backend", "ls", KEY)["backends"][0]["status"]["mac"] is not None)
    command = [XDPLB, "doctor", "-o", "json"]
    environment = {**os.environ, "XDPLB_SOCKET": str(balancer.socket)}
    told = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    findings = json.loads(told.stdout)["findings"]
    assert [each for each in findings if each["level"] == "fail"] == []
    assert told.returncode == 0
    by_check = {each["check"]: each["detail"] for each in findings}
    assert by_check["eth0 XDP program"].startswith("xdplb's (id ")
    assert by_check["bpffs"].startswith(str(balancer.lab.pin_dir))
    environment["XDPLB_SOCKET"] = str(balancer.lab.folder / "none.sock")
    told = subprocess.run([XDPLB, "doctor"], capture_output=True, text=True, check=False, env=environment)
    assert told.returncode == 1
    assert "fail  daemon: the daemon is not running: nothing listens on" in told.stdout
