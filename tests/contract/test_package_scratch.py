# SPDX-License-Identifier: Apache-2.0
"""Trying a package leaves no container, no mount and no folder, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.package.debian import Debian
from tests.package.scratch import mounts_in, remove, scratch_folder
from tests.private_host import private_host
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
NSPAWN = """#!/bin/sh
# As systemd-nspawn: an init as its child, and SIGTERM ends both.
sleep 60 & init=$!
trap 'kill $init; exit 0' TERM
echo $$ $init >"$STARTED.new"
mv "$STARTED.new" "$STARTED"
wait
"""
RUN = """
import sys
from pathlib import Path
from tests.package.container import Container
from tests.package.debian import Debian
from tests.package.scratch import scratch_folder

parent = Path(sys.argv[1])
with scratch_folder(parent) as folder, Container(Debian(folder), "none", parent / "bpf", parent / "log"):
    pass
"""


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_killed_run_ends_its_container(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "systemd-nspawn").write_text(NSPAWN)
    (tmp_path / "systemd-nspawn").chmod(0o755)
    started = tmp_path / "started"
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": ":".join(str(ROOT / part) for part in (".", "api", "scripts/lib")),
        "STARTED": str(started),
    }
    with subprocess.Popen([sys.executable, "-c", RUN, tmp_path], env=environment, stderr=subprocess.DEVNULL) as run:
        until(started.exists)
        pids = [int(pid) for pid in started.read_text().split()]
        run.send_signal(number)
        run.wait(10)
    until(lambda: not any(runs(pid) for pid in pids))
    if number != signal.SIGKILL:  # after which nobody is left to remove it
        assert not list(tmp_path.glob("xdplb-package-*"))


@pytest.mark.root
def test_what_is_mounted_in_a_root_is_unmounted_before_it_is_removed(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "bpf").mkdir()
    with private_host(tmp_path / "bpf"):  # a mount namespace of the test's own
        with scratch_folder(tmp_path) as folder:
            (folder / "a mount").mkdir()
            subprocess.run(["mount", "--bind", tmp_path / "precious", folder / "a mount"], check=True)
            (folder / "a mount" / "file").touch()
            assert mounts_in(folder) == [folder / "a mount"]
            with pytest.raises(RuntimeError, match="umount it first"):
                Debian(folder).copy(tmp_path / "copy")
        assert not folder.exists()
    assert (tmp_path / "precious" / "file").exists()


@pytest.mark.root
def test_a_root_in_which_something_stays_mounted_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "bpf").mkdir()
    (tmp_path / "root" / "busy").mkdir(parents=True)
    with private_host(tmp_path / "bpf"):
        subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path / "root" / "busy"], check=True)
        with (tmp_path / "root" / "busy" / "open").open("w"), pytest.raises(RuntimeError, match="is left alone"):
            remove(tmp_path / "root")
        assert (tmp_path / "root" / "busy" / "open").exists()


@pytest.mark.root
def test_what_still_runs_in_a_root_is_ended_with_it(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    chroot = "import os, sys, time; os.chroot(sys.argv[1]); time.sleep(60)"
    inside = subprocess.Popen([sys.executable, "-c", chroot, tmp_path / "root"])
    until(lambda: str(Path(f"/proc/{inside.pid}/root").readlink()) != "/")
    remove(tmp_path / "root")
    assert inside.wait(5) == -signal.SIGKILL
    assert not (tmp_path / "root").exists()
