# SPDX-License-Identifier: Apache-2.0
"""A lab works, and goes away however its owner ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from xdplb.net import lab_home, netns
from xdplb.net.lab import ADDRESSES, ADDRESSES6, Lab, kept_labs, reap
from xdplb.net.lab_home import ROOT, LabHome

OWNER = """
import sys, time
from xdplb.net.lab import Lab
with Lab() as lab:
    server = lab.popen("dr1", ["sleep", "600"], dies_with_parent=False)
    if sys.argv[1] == "kept":
        lab.keep()
    print(lab.home.id, server.pid, flush=True)
    if sys.argv[1] == "killed":
        time.sleep(600)
"""


def owner(kind: str) -> tuple[subprocess.Popen[str], str, int]:
    """Start another owner of a lab; return it, the lab's id and the pid of what runs in it."""
    process = subprocess.Popen([sys.executable, "-c", OWNER, kind], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    words = process.stdout.readline().split()
    process.stdout.close()
    return process, words[0], int(words[1])


def traces(lab: str, pid: int) -> list[str]:
    """Return what there is of a lab."""
    left = [name for name in netns.names() if name.startswith(f"xdplb-{lab}-")]
    left += [str(ROOT / lab)] if (ROOT / lab).exists() else []
    state = Path(f"/proc/{pid}/stat")
    return left + ([f"process {pid}"] if state.exists() and " Z " not in state.read_text() else [])


def gone(lab: str, pid: int) -> bool:
    """Wait a moment for the killed to be gone."""
    end = time.monotonic() + 5
    while (left := traces(lab, pid)) and time.monotonic() < end:
        time.sleep(0.05)
    return not left


@pytest.mark.parametrize("host", sorted(ADDRESSES.keys() - {"side"}))
def test_the_client_reaches_every_host(lab: Lab, host: str) -> None:
    for addresses in (ADDRESSES, ADDRESSES6):
        lab.run("client", ["ping", "-c", "1", "-W", "2", str(addresses[host])])


def test_the_balancer_reaches_the_backend_at_its_side(lab: Lab) -> None:
    for addresses in (ADDRESSES, ADDRESSES6):
        lab.run("balancer", ["ping", "-c", "1", "-W", "2", str(addresses["side"])])


def test_nothing_is_left_of_a_lab() -> None:
    process, lab, pid = owner("left")
    assert process.wait(20) == 0
    assert gone(lab, pid)


def test_a_killed_owner_s_lab_is_reaped() -> None:
    process, lab, pid = owner("killed")
    assert lab not in reap()
    assert len(traces(lab, pid)) > 2
    process.kill()
    process.wait()
    reap()  # or another test that runs at the same time did
    assert gone(lab, pid)


def test_a_lab_that_is_kept_stays_until_asked_for() -> None:
    process, lab, pid = owner("kept")
    assert process.wait(20) == 0
    assert lab in kept_labs()
    assert lab not in reap(kept=["another"])
    assert f"process {pid}" in traces(lab, pid)
    assert lab in reap(kept=[lab])
    assert gone(lab, pid)


def test_the_last_lab_takes_the_folder_of_all_labs_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "labs"
    monkeypatch.setattr(lab_home, "ROOT", root)
    first, second = LabHome(), LabHome()
    first.remove()
    assert [path.name for path in root.iterdir()] == [second.id]
    second.remove()
    assert not root.exists()


def test_a_command_that_fails_says_so(lab: Lab) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        lab.run("client", ["false"])


def test_a_process_is_stopped_with_its_lab() -> None:
    with Lab() as lab:
        process = lab.popen("client", ["sleep", "600"])
        os.kill(process.pid, 0)
    assert process.returncode is not None
