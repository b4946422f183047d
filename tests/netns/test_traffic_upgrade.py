# SPDX-License-Identifier: Apache-2.0
"""A newer program takes the place of the one in use, with numbered datagrams under way: a good one, and bad ones."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.waiting import until
from xdplb.dataplane.pins import WATCH
from xdplb.net.lab import ADDRESSES, VIP

from .balancer import READY_SECONDS
from .conftest import new_lab
from .test_traffic_lifecycle import program_on
from .versions import Version, Versioned, change, copy_of_this

SEQUENCE = str(Path(__file__).with_name("sequence.py"))
HOSTS = ("dr1", "ipip1")
UDP, FLOWS, RATE = 90, 16, 500

_CHOOSE = r"(?s)(static __always_inline enum reason choose\(.*?\n{\n)"


@pytest.fixture(scope="module")
def balancer() -> Iterator[Versioned]:
    with new_lab() as lab:
        made = Versioned(lab)
        for host in HOSTS:
            forward = "dr" if host.startswith("dr") else "ipip"
            made.backend_host(host, "setup", str(VIP), "--forward", forward, "--interface", "eth0")
            lab.popen(host, [sys.executable, SEQUENCE, "serve", host, str(VIP), str(UDP)])
        made.start()
        made.add(*HOSTS, key=f"{VIP}:{UDP}/udp")
        yield made


@contextmanager
def datagrams(balancer: Versioned) -> Iterator[dict[str, int]]:
    """Send numbered datagrams; at the end, say in `sent` and `lost` how many."""
    argv = [sys.executable, SEQUENCE, "send", str(VIP), str(UDP), str(FLOWS), str(RATE)]
    sender = balancer.lab.popen("client", argv, stdout=subprocess.PIPE)
    told: dict[str, int] = {}
    time.sleep(0.5)
    yield told
    sender.terminate()
    flows = json.loads(sender.communicate(timeout=30)[0]).values()
    told["sent"] = sum(flow["sent"] for flow in flows)
    told["lost"] = sum(len(flow["lost"]) for flow in flows)


def version(balancer: Versioned, name: str, line: str) -> Version:
    """Return a version whose program has this line of C where it chooses a backend."""
    made = copy_of_this(balancer.lab.folder / name)
    change(made.folder / "bpf" / "xdplb.c", _CHOOSE, rf"\1\t{line}\n")
    return made


def upgrade(balancer: Versioned, to: Version, *options: str) -> str:
    """Run the daemon of another version; return what it logs until it is ready."""
    balancer.stop()
    balancer.version, before = to, len(balancer.log())
    balancer.start(*options, nics=("eth0", "eth1"))
    return balancer.log()[before:]


def is_watched(balancer: Versioned) -> bool:
    return (balancer.lab.pin_dir / WATCH).exists()


def test_a_good_upgrade_loses_not_one_frame(balancer: Versioned) -> None:
    before = program_on(balancer)
    with datagrams(balancer) as told:
        log = upgrade(balancer, version(balancer, "good", "/* newer */"))
        assert "differences=0" in log, log
        assert program_on(balancer) != before
        until(lambda: not is_watched(balancer))
    assert told["sent"] > RATE
    assert told["lost"] == 0
    assert "new program kept" in balancer.log()


def refused(balancer: Versioned, to: Version) -> str:
    """Run the daemon of another version, which must refuse; return what it says."""
    balancer.stop()
    good, balancer.version, before = balancer.version, to, len(balancer.log())
    assert balancer.spawn().wait(READY_SECONDS) == 4
    balancer.version = good
    return balancer.log()[before:]


def test_a_broken_program_is_refused(balancer: Versioned) -> None:
    before = program_on(balancer)
    bad = version(balancer, "broken", "if (packet->protocol == 17) return DROP_NO_BACKEND;")
    with datagrams(balancer) as told:
        said = refused(balancer, bad)
        assert program_on(balancer) == before
        balancer.start(nics=("eth0", "eth1"))
    assert told["lost"] == 0
    assert "--accept-differences" in said
    assert "old sent back by the NIC it came in by" in said, said
    assert "new drop (drop_no_backend)" in said
    assert program_on(balancer) == before


def test_a_fault_that_no_sample_shows_is_rolled_back(balancer: Versioned) -> None:
    client = int.from_bytes(ADDRESSES["client"].packed, "little")
    bad = version(balancer, "hidden", f"if (packet->source[0] == {client}U) return DROP_NO_BACKEND;")
    before = program_on(balancer)
    with datagrams(balancer) as told:
        log = upgrade(balancer, bad)
        until(lambda: program_on(balancer) == before)
        time.sleep(0.5)
    assert "differences=0" in log
    assert 0 < told["lost"] < 3 * RATE, told
    until(lambda: "new program rolled back" in balancer.log())
    assert "drop_no_backend" in balancer.log()
    assert not is_watched(balancer)
    assert any("an older program is in use" in note for note in balancer.ask("status")["notes"])
