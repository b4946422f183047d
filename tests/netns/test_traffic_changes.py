# SPDX-License-Identifier: Apache-2.0
"""Connections that are open stay where they are, whatever is done to the backends; new ones go where they should."""

from __future__ import annotations

from tests.waiting import until
from xdplb.net.lab import ADDRESSES

from .balancer import CHECK, KEY, Balancer, Download, Stream

HOSTS = ("dr1", "dr2", "ipip1", "ipip2")


def test_a_drain_waits_for_a_download_and_sends_new_connections_elsewhere(ready: Balancer) -> None:
    ready.add(*HOSTS)
    download = Download(ready, size=4_000_000, seconds=6)
    waiting = ready.drain(download.backend, "--quiet", "1s", "--timeout", "60s")
    until(lambda: ready.status(download.backend)["share"] == 0)
    assert ready.get(200).keys() == set(HOSTS) - {download.backend}
    until(lambda: ready.status(download.backend)["flows"] == 1)
    assert download.running
    assert waiting.poll() is None
    download.finish()
    assert waiting.wait(30) == 0
    ready.cli("backend", "undrain", KEY, str(ADDRESSES[download.backend]))
    until(lambda: download.backend in ready.get(100))


def test_a_drain_that_times_out_cuts_nothing(ready: Balancer) -> None:
    ready.add(*HOSTS)
    download = Download(ready, size=4_000_000, seconds=6)
    assert ready.drain(download.backend, "--quiet", "1s", "--timeout", "2s").wait(30) == 5
    assert download.running
    download.finish()


def test_downloads_survive_every_change_around_them(ready: Balancer) -> None:
    ready.add("dr1", "ipip1")
    downloads = [Download(ready, size=2_000_000, seconds=8) for _ in range(4)]
    stream = Stream(ready)
    ready.add_backend("dr2", weight=3)
    ready.add_backend("ipip2")
    ready.cli("backend", "set", KEY, str(ADDRESSES["dr1"]), "--weight", "7")
    ready.cli("backend", "set", KEY, str(ADDRESSES["ipip1"]), "--weight", "0")
    ready.cli("backend", "drain", KEY, str(ADDRESSES["dr1"]))
    ready.cli("backend", "undrain", KEY, str(ADDRESSES["dr1"]))
    ready.cli("backend", "rm", KEY, str(ADDRESSES["ipip2"]))
    assert stream.finish()
    for download in downloads:
        download.finish()


def test_a_dead_backend_gets_nothing_once_it_is_known_and_comes_back_as_it_was(ready: Balancer) -> None:
    ready.add(*HOSTS, vip_options=CHECK)
    shares = {host: ready.status(host)["share"] for host in HOSTS}
    download = Download(ready, size=4_000_000, seconds=8)
    victim = next(host for host in HOSTS if host != download.backend)
    ready.kill_service(victim)
    until(lambda: ready.status(victim)["share"] == 0)
    assert ready.status(victim)["health"] == "down"
    assert ready.get(300).keys() == set(HOSTS) - {victim}
    stream = Stream(ready)
    ready.serve(victim)
    until(lambda: ready.status(victim)["share"] > 0)
    assert victim in ready.get(100)
    assert stream.finish()
    assert {host: ready.status(host)["share"] for host in HOSTS} == shares
    download.finish()


def test_a_backend_gets_nothing_before_its_first_pass(ready: Balancer) -> None:
    ready.kill_service("dr2")
    try:
        ready.add("dr1", vip_options=CHECK)
        ready.add_backend("dr2")
        until(lambda: ready.status("dr2")["health"] == "down")
        assert ready.get(100).keys() == {"dr1"}
    finally:
        ready.serve("dr2")
    until(lambda: ready.status("dr2")["share"] > 0)
    assert ready.get(100).keys() == {"dr1", "dr2"}


def test_a_backend_whose_host_is_silent_is_not_sent_to_and_says_why(ready: Balancer) -> None:
    ready.add("dr1", "dr2")
    ready.lab.configure("dr2", "link set eth0 down")
    ready.lab.configure("balancer", f"neigh del {ADDRESSES['dr2']} dev eth0")
    try:
        until(lambda: ready.status("dr2")["share"] == 0)
        assert ready.status("dr2")["reason"] == f"{ADDRESSES['dr2']} does not answer ARP on eth0"
        assert ready.get(50).keys() == {"dr1"}
    finally:
        ready.lab.configure("dr2", "link set eth0 up", "route replace default via 10.0.0.1")
    until(lambda: ready.status("dr2")["share"] > 0)
    assert ready.get(50).keys() == {"dr1", "dr2"}


def test_a_backend_that_gets_a_new_mac_is_followed(ready: Balancer) -> None:
    ready.add("dr1")
    lab = ready.lab
    lab.configure("dr1", "link set eth0 address 02:00:00:00:00:77")
    until(lambda: lab.run("dr1", ["ping", "-c", "1", "-W", "1", "10.0.0.2"], check=False).returncode == 0)
    until(lambda: ready.status("dr1")["mac"] == "02:00:00:00:00:77")
    assert ready.get(20).keys() == {"dr1"}


def test_without_a_healthy_backend_fail_closed_drops_and_counts(ready: Balancer) -> None:
    ready.add("dr1", vip_options=[*CHECK, "--all-unhealthy", "fail-closed"])
    ready.kill_service("dr1")
    try:
        until(lambda: ready.status("dr1")["share"] == 0)
        before = ready.drops()["no_backend"]
        asked = ["curl", "-s", "--max-time", "1", "http://203.0.113.10/"]
        assert ready.lab.run("client", asked, check=False).returncode == 28
        assert ready.drops()["no_backend"] > before
    finally:
        ready.serve("dr1")
