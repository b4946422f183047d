# SPDX-License-Identifier: Apache-2.0
"""A state that does not belong to the maps, with connections open: it is refused, and what goes on without it."""

from __future__ import annotations

import re
import shutil
import signal
from pathlib import Path

import pytest

from xdplb.net.lab import ADDRESSES, VIP

from .balancer import CHECK, KEY, PORT, Balancer, Download, Stream
from .test_traffic_lifecycle import program_on


def stopped(balancer: Balancer) -> Path:
    """Stop the daemon as systemd does, and return the state dir."""
    assert balancer.daemon is not None
    balancer.daemon.send_signal(signal.SIGTERM)
    assert balancer.daemon.wait(20) == 0
    return balancer.lab.folder / "state"


def refused(balancer: Balancer, *options: str) -> str:
    """Return what an `xdplb up` says that is refused because of what it would change."""
    before = len(balancer.log())
    assert balancer.spawn(*options).wait(60) == 4
    return balancer.log()[before:]


def test_maps_whose_state_is_gone_are_adopted_without_breaking_a_connection(balancer: Balancer) -> None:
    balancer.prepare("dr1", "dr2", "ipip1")
    balancer.start()
    balancer.add("dr1", "dr2", "ipip1", vip_options=["--name", "web", *CHECK], weights={"ipip1": 3})
    balancer.cli("vip", "access", "set", KEY, "--deny", "100.64.0.0/10")
    downloads = [Download(balancer, size=4_000_000, seconds=25) for _ in range(6)]
    stream = Stream(balancer)
    program, shares = program_on(balancer), {host: balancer.status(host)["share"] for host in ("dr1", "dr2", "ipip1")}
    generation = balancer.ask("status")["generation"]
    shutil.rmtree(stopped(balancer))
    said = refused(balancer)
    assert "has no VIPs, and the maps in " in said
    assert "(state: no instance, VIPs 0, backends 0; maps: instance " in said
    assert re.search(rf"; maps: instance [0-9a-f]{{16}}, generation {generation}, VIPs 1, backends 3\)", said), said
    assert not (balancer.lab.folder / "state").exists()
    assert program_on(balancer) == program
    balancer.start("--adopt-maps")
    (vip,) = balancer.ask("vip", "ls")["vips"]
    assert (vip["address"], vip["port"], vip["name"]) == (str(VIP), PORT, None)
    backends = {
        one["address"]: (one["weight"], one["status"]["share"])
        for one in balancer.ask("backend", "ls", KEY)["backends"]
    }
    assert backends == {
        str(ADDRESSES[host]): (3 if host == "ipip1" else 1, pytest.approx(shares[host], abs=1e-4))
        for host in ("dr1", "dr2", "ipip1")
    }
    assert "100.64.0.0/10" in balancer.cli("vip", "access", "show", KEY).stdout
    assert f"adopted {KEY}: its name and health check" in balancer.log()
    balancer.cli("vip", "set", KEY, "--name", "web")
    balancer.cli("backend", "drain", KEY, str(ADDRESSES[downloads[0].backend]))
    for download in downloads:
        download.finish()
    assert stream.finish()
    stopped(balancer)
    balancer.start("--adopt-maps")
    assert "--adopt-maps was not needed: the state belongs to the maps" in balancer.log()


def test_an_older_state_is_refused_and_discarding_is_what_it_says(balancer: Balancer) -> None:
    balancer.prepare("dr1", "dr2")
    balancer.start()
    balancer.add("dr1")
    state = stopped(balancer)
    shutil.copytree(state, balancer.lab.folder / "backup")
    balancer.start()
    balancer.add_backend("dr2")
    stopped(balancer)
    shutil.rmtree(state)
    shutil.copytree(balancer.lab.folder / "backup", state)
    said = refused(balancer)
    assert "is older than the maps" in said
    assert "generation 2, VIPs 1, backends 1; maps: " in said
    assert balancer.get(100).keys() == {"dr1", "dr2"}
    balancer.start("--discard-maps")
    assert balancer.get(100).keys() == {"dr1"}
    balancer.kill()
    balancer.start()
    assert [one["address"] for one in balancer.ask("backend", "ls", KEY)["backends"]] == [str(ADDRESSES["dr1"])]


def test_a_log_that_was_cut_is_noticed_also_after_a_boot(balancer: Balancer) -> None:
    balancer.prepare("dr1", "dr2")
    balancer.start()
    balancer.add("dr1", "dr2")
    balancer.kill()
    log = balancer.lab.folder / "state" / "state.db-wal"
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size // 2)
    assert "is older than the maps" in refused(balancer)
    balancer.down()
    assert "lacks changes that were acknowledged" in refused(balancer)
    balancer.start("--discard-maps")


def test_a_backup_is_restored_over_maps_in_use_and_no_connection_breaks(balancer: Balancer) -> None:
    balancer.prepare("dr1", "dr2")
    balancer.start()
    balancer.add("dr1", "dr2", vip_options=["--name", "web", *CHECK])
    file = balancer.lab.folder / "xdplb.backup"
    balancer.cli("backup", str(file))
    balancer.cli("vip", "set", KEY, "--name", "other")
    balancer.cli("vip", "add", "203.0.113.99:80/tcp")
    downloads = [Download(balancer, size=4_000_000, seconds=15) for _ in range(4)]
    stream, program = Stream(balancer), program_on(balancer)
    stopped(balancer)
    assert "add --replace-state" in refused(balancer, "--restore", str(file))
    shutil.rmtree(balancer.lab.folder / "state")
    balancer.start("--restore", str(file))
    assert program_on(balancer) == program
    (vip,) = balancer.ask("vip", "ls")["vips"]
    assert vip["name"] == "web"
    assert "/health" in balancer.cli("health", "show", KEY).stdout
    for download in downloads:
        download.finish()
    assert stream.finish().keys() == {"dr1", "dr2"}
