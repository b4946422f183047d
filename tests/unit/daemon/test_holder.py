# SPDX-License-Identifier: Apache-2.0
"""One daemon for a NIC, a pin dir and a state dir."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.bystander import NOBODY, flocking, open_a_way
from xdplb.daemon.holder import LOCKS, Holder, find_holder, hold, remove_stale
from xdplb.daemon.process import Process
from xdplb.model.errors import ConflictError, PlatformError, XdplbError


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "run"


def holder(tmp_path: Path, *interfaces: str, pins: str = "pins", state: str = "state") -> Holder:
    return Holder(Process.of(os.getpid()), interfaces, str(tmp_path / pins), str(tmp_path / state))


@pytest.mark.parametrize(
    ("second", "what"),
    [
        ({"interfaces": ("eth0",), "pins": "pins2", "state": "state2"}, "eth0"),
        ({"interfaces": ("eth1",), "pins": "pins", "state": "state2"}, "pin dir"),
        ({"interfaces": ("eth1",), "pins": "pins2", "state": "state"}, "state dir"),
    ],
)
def test_what_is_held_is_refused_by_name_of_its_holder(tmp_path: Path, run_dir: Path, second, what: str):
    other = holder(tmp_path, *second["interfaces"], pins=second["pins"], state=second["state"])
    with hold(holder(tmp_path, "eth0"), run_dir), pytest.raises(ConflictError) as refusal, hold(other, run_dir):
        pytest.fail("two hold the same")
    assert refusal.value.detail.startswith(what)
    assert f"pid {os.getpid()}, on eth0" in refusal.value.detail
    assert str(tmp_path / "pins") in refusal.value.detail


def test_two_that_share_nothing_run_side_by_side(tmp_path: Path, run_dir: Path):
    with hold(holder(tmp_path, "eth0"), run_dir), hold(holder(tmp_path, "eth1", pins="p2", state="s2"), run_dir):
        pass


def test_a_refused_one_keeps_nothing_and_takes_nothing(tmp_path: Path, run_dir: Path):
    first = holder(tmp_path, "eth0")
    with hold(first, run_dir):
        with pytest.raises(ConflictError), hold(holder(tmp_path, "eth1", "eth0", pins="p2", state="s2"), run_dir):
            pytest.fail("eth0 is held")
        assert find_holder(tmp_path / "pins", run_dir) == first
        with hold(holder(tmp_path, "eth1", pins="p2", state="s2"), run_dir):
            pass


def test_nothing_is_left_behind(tmp_path: Path, run_dir: Path):
    with hold(holder(tmp_path, "eth0"), run_dir):
        assert len(list((run_dir / LOCKS).iterdir())) == 3
    assert list((run_dir / LOCKS).iterdir()) == []
    assert find_holder(tmp_path / "pins", run_dir) is None


def test_nothing_is_left_behind_after_an_error(tmp_path: Path, run_dir: Path):
    with pytest.raises(RuntimeError), hold(holder(tmp_path, "eth0"), run_dir):
        raise RuntimeError
    assert list((run_dir / LOCKS).iterdir()) == []


def test_a_holder_that_does_not_say_who_it_is_is_not_taken_for_none(tmp_path: Path, run_dir: Path):
    with hold(holder(tmp_path, "eth0"), run_dir):
        for path in (run_dir / LOCKS).iterdir():
            path.write_text("")
        with pytest.raises(ConflictError, match="does not say who it is"):
            find_holder(tmp_path / "pins", run_dir)


@contextmanager
def held_elsewhere(tmp_path: Path, run_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """Hold eth0, `pins` and `state` in another process, which is killed on leaving."""
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from xdplb.daemon.holder import Holder, hold\n"
        "from xdplb.daemon.process import Process\n"
        f"mine = Holder(Process.of(os.getpid()), ('eth0',), {str(tmp_path / 'pins')!r}, {str(tmp_path / 'state')!r})\n"
        f"with hold(mine, Path({str(run_dir)!r})):\n"
        "    print('held', flush=True)\n"
        "    signal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "held\n"
            yield child
        finally:
            child.kill()


def test_a_killed_holder_holds_nothing(tmp_path: Path, run_dir: Path):
    with held_elsewhere(tmp_path, run_dir) as child:
        found = find_holder(tmp_path / "pins", run_dir)
        assert found is not None
        assert found.pid == child.pid
    assert find_holder(tmp_path / "pins", run_dir) is None
    with hold(holder(tmp_path, "eth0"), run_dir):
        files = [json.loads(path.read_text()) for path in (run_dir / LOCKS).iterdir()]
    assert {fields["process"]["pid"] for fields in files} == {os.getpid()}


def test_what_a_killed_holder_left_goes_and_what_is_held_stays(tmp_path: Path, run_dir: Path):
    with hold(holder(tmp_path, "eth1", pins="p2", state="s2"), run_dir):
        living = set((run_dir / LOCKS).iterdir())
        with held_elsewhere(tmp_path, run_dir):
            remove_stale(run_dir)
            assert len(set((run_dir / LOCKS).iterdir()) - living) == 3
        assert len(set((run_dir / LOCKS).iterdir()) - living) == 3
        remove_stale(run_dir)
        assert set((run_dir / LOCKS).iterdir()) == living


def test_one_that_comes_up_removes_what_a_killed_one_left(tmp_path: Path, run_dir: Path):
    with held_elsewhere(tmp_path, run_dir):
        pass
    with hold(holder(tmp_path, "eth1", pins="p2", state="s2"), run_dir):
        assert len(list((run_dir / LOCKS).iterdir())) == 3


def test_removing_what_is_stale_never_comes_between_a_holder_and_its_lock(tmp_path: Path, run_dir: Path):
    ended = threading.Event()

    def remove_all_the_time() -> None:
        while not ended.is_set():
            remove_stale(run_dir)

    remover = threading.Thread(target=remove_all_the_time)
    remover.start()
    try:
        for _ in range(20):
            with hold(holder(tmp_path, "eth0"), run_dir):
                assert len(list((run_dir / LOCKS).iterdir())) == 3
                assert find_holder(tmp_path / "pins", run_dir) is not None
    finally:
        ended.set()
        remover.join()


def test_a_pin_dir_is_one_by_every_path_to_it(tmp_path: Path, run_dir: Path):
    (tmp_path / "pins").mkdir()
    (tmp_path / "alias").symlink_to(tmp_path / "pins")
    with hold(holder(tmp_path, "eth0"), run_dir):
        assert find_holder(tmp_path / "alias", run_dir) is not None


def lock_file(run_dir: Path, kind: str) -> Path:
    return next((run_dir / LOCKS).glob(f"{kind}-*"))


def test_the_locks_are_for_their_owner_alone(tmp_path: Path, run_dir: Path):
    before = os.umask(0)
    try:
        with hold(holder(tmp_path, "eth0"), run_dir):
            modes = {stat.S_IMODE(path.stat().st_mode) for path in (run_dir / LOCKS).iterdir()}
    finally:
        os.umask(before)
    assert modes == {0o600}
    assert stat.S_IMODE((run_dir / LOCKS).stat().st_mode) == 0o700
    assert stat.S_IMODE(run_dir.stat().st_mode) == 0o755  # the group of the socket passes through it


def test_a_folder_that_is_open_to_others_is_closed(tmp_path: Path, run_dir: Path):
    (run_dir / LOCKS).mkdir(parents=True)
    (run_dir / LOCKS).chmod(0o777)
    with hold(holder(tmp_path, "eth0"), run_dir):
        assert stat.S_IMODE((run_dir / LOCKS).stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
@pytest.mark.parametrize("whose", ["", LOCKS])
def test_a_folder_of_another_user_is_refused(tmp_path: Path, run_dir: Path, whose: str):
    (run_dir / LOCKS).mkdir(parents=True)
    os.chown(run_dir / whose, NOBODY, NOBODY)
    with (
        pytest.raises(PlatformError, match=f"{run_dir / whose} belongs to user {NOBODY}") as refusal,
        hold(holder(tmp_path, "eth0"), run_dir),
    ):
        pytest.fail("somebody else can replace the locks")
    assert refusal.value.hint
    with pytest.raises(PlatformError):
        find_holder(tmp_path / "pins", run_dir)


def test_a_folder_where_others_may_write_is_refused(tmp_path: Path, run_dir: Path):
    run_dir.mkdir()
    run_dir.chmod(0o777)
    with pytest.raises(PlatformError, match=f"other users may write to {run_dir}"), hold(holder(tmp_path), run_dir):
        pytest.fail("somebody else can replace the locks")


def test_a_symlink_in_the_place_of_the_folder_is_refused(tmp_path: Path, run_dir: Path):
    run_dir.mkdir()
    (tmp_path / "precious").mkdir(mode=0o755)
    (run_dir / LOCKS).symlink_to(tmp_path / "precious")
    with pytest.raises(PlatformError, match="is a symlink, not a folder"), hold(holder(tmp_path, "eth0"), run_dir):
        pytest.fail("it was followed")
    assert list((tmp_path / "precious").iterdir()) == []


@pytest.mark.parametrize("planted", ["symlink", "hard link", "folder of files"])
def test_what_was_planted_in_the_place_of_a_lock_is_neither_written_nor_followed(
    tmp_path: Path, run_dir: Path, planted: str
):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    with hold(holder(tmp_path, "eth0"), run_dir):
        name = lock_file(run_dir, "pins").name
    if planted == "symlink":
        (run_dir / LOCKS / name).symlink_to(precious)
    elif planted == "hard link":
        (run_dir / LOCKS / name).hardlink_to(precious)
    else:
        (run_dir / LOCKS / name).mkdir()
    assert find_holder(tmp_path / "pins", run_dir) is None
    with suppress(XdplbError), hold(holder(tmp_path, "eth0"), run_dir):
        assert planted != "folder of files"
    assert precious.read_text() == "mine"
    assert stat.S_IMODE(precious.stat().st_mode) == 0o644


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_another_user_can_lock_nothing(tmp_path: Path, run_dir: Path):
    open_a_way(tmp_path)
    with held_elsewhere(tmp_path, run_dir):
        files = list((run_dir / LOCKS).iterdir())
    with flocking(*files) as told:
        assert told == ["Permission denied"] * 3
        with hold(holder(tmp_path, "eth0"), run_dir):
            pass


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_a_lock_of_another_user_on_a_file_that_was_open_once_counts_for_nothing(tmp_path: Path, run_dir: Path):
    open_a_way(tmp_path)
    with held_elsewhere(tmp_path, run_dir):
        files = list((run_dir / LOCKS).iterdir())
    (run_dir / LOCKS).chmod(0o755)
    for path in files:
        path.chmod(0o644)
    with flocking(*files) as told:
        assert told == ["locked"] * 3
        assert find_holder(tmp_path / "pins", run_dir) is None
        with hold(holder(tmp_path, "eth0"), run_dir):
            found = find_holder(tmp_path / "pins", run_dir)
            assert found is not None
            assert found.pid == os.getpid()


def test_what_a_file_says_is_not_believed(tmp_path: Path, run_dir: Path):
    with held_elsewhere(tmp_path, run_dir) as child, subprocess.Popen(["sleep", "60"]) as victim:
        try:
            path = lock_file(run_dir, "pins")
            said = json.loads(path.read_text())
            said["process"] = {"pid": victim.pid, "started": Process.of(victim.pid).started}
            path.write_text(json.dumps(said))
            with pytest.raises(ConflictError, match=f"held by process {child.pid} .*does not say who it is"):
                find_holder(tmp_path / "pins", run_dir)
        finally:
            victim.kill()


def test_a_pid_that_another_process_has_now_is_not_the_daemon():
    with subprocess.Popen(["sleep", "60"]) as later:
        try:
            now = Process.of(later.pid)
            os.close(now.open())
            with pytest.raises(ProcessLookupError):
                dataclasses.replace(now, started=now.started - 1).open()
        finally:
            later.kill()
