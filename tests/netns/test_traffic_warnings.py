# SPDX-License-Identifier: Apache-2.0
"""What a change does to open connections is said, with real ones, also while most of them have no record."""

from __future__ import annotations

import subprocess
import sys

from xdplb.net.lab import ADDRESSES

from .balancer import KEY, Balancer, Download


def test_open_connections_and_the_last_backend_do_not_go_without_a_word(ready: Balancer) -> None:
    ready.add("dr1")
    quiet = ready.cli("vip", "rm", KEY, "--dry-run")
    assert "warning" not in quiet.stderr
    download = Download(ready, size=4_000_000, seconds=20)
    sentence = f"warning: open connections of VIP {KEY} break: {ADDRESSES['dr1']} had packets "
    for words in (["vip", "rm", KEY], ["backend", "rm", KEY, str(ADDRESSES["dr1"])]):
        assert sentence in ready.cli(*words, "--dry-run").stderr
    drained = ready.cli("backend", "drain", KEY, str(ADDRESSES["dr1"]))
    assert f"warning: no backend of VIP {KEY} takes new connections now" in drained.stderr
    assert download.running
    ready.cli("backend", "undrain", KEY, str(ADDRESSES["dr1"]))
    removed = ready.cli("vip", "rm", KEY)
    assert "warning: open connections of VIP" in removed.stderr
    assert removed.returncode == 0


def test_a_backend_that_does_not_answer_is_told_when_it_is_added(ready: Balancer) -> None:
    ready.add("dr1")
    told = ready.cli("backend", "add", KEY, "10.0.0.99")
    assert f"warning: backend 10.0.0.99 of VIP {KEY} gets no packets yet: " in told.stderr
    assert "10.0.0.99" in told.stderr.rpartition("yet: ")[2]
    told = ready.cli("backend", "add", KEY, str(ADDRESSES["balancer"]))
    assert "is an address of this host itself" in told.stderr
    told = ready.cli("backend", "add", KEY, "10.0.1.99")  # behind the router, where dr does not reach
    assert "gets no packets: it is behind the gateway " in told.stderr
    assert "warning" not in ready.cli("backend", "add", KEY, str(ADDRESSES["dr2"])).stderr


def test_a_vip_over_the_session_that_it_is_added_from_is_told(ready: Balancer) -> None:
    own = ADDRESSES["balancer"]
    serve = (
        f"import socket; s = socket.create_server(('{own}', 2222)); print('listens', flush=True); s.accept()[0].recv(1)"
    )
    service = ready.lab.popen("balancer", [sys.executable, "-c", serve], stdout=subprocess.PIPE, text=True)
    assert service.stdout is not None
    assert service.stdout.readline() == "listens\n"
    dial = f"import socket; s = socket.create_connection(('{own}', 2222)); print('dials', flush=True); s.recv(1)"
    client = ready.lab.popen("client", [sys.executable, "-c", dial], stdout=subprocess.PIPE, text=True)
    assert client.stdout is not None
    assert client.stdout.readline() == "dials\n"
    told = ready.cli("vip", "add", f"{own}:2222/tcp", "--dry-run").stderr
    assert f"takes packets to this host itself: port 2222, with an open connection from {ADDRESSES['client']};" in told
    assert "takes packets to this host" not in ready.cli("vip", "add", f"{own}:2223/tcp", "--dry-run").stderr
    for process in (client, service):
        process.kill()
        process.communicate()
