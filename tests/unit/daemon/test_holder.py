"""One daemon for a NIC, a pin dir and a state dir."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from xdplb.daemon.holder import Holder, find_holder, hold, remove_stale
from xdplb.model.errors import ConflictError


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "run"


def holder(tmp_path: Path, *interfaces: str, pins: str = "pins", state: str = "state") -> Holder:
    return Holder(os.getpid(), interfaces, str(tmp_path / pins), str(tmp_path / state))


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
        assert len(list(run_dir.iterdir())) == 3
    assert list(run_dir.iterdir()) == []
    assert find_holder(tmp_path / "pins", run_dir) is None


def test_nothing_is_left_behind_after_an_error(tmp_path: Path, run_dir: Path):
    with pytest.raises(RuntimeError), hold(holder(tmp_path, "eth0"), run_dir):
        raise RuntimeError
    assert list(run_dir.iterdir()) == []


def test_a_holder_that_does_not_say_who_it_is_is_not_taken_for_none(tmp_path: Path, run_dir: Path):
    with hold(holder(tmp_path, "eth0"), run_dir):
        for path in run_dir.iterdir():
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
        f"mine = Holder(os.getpid(), ('eth0',), {str(tmp_path / 'pins')!r}, {str(tmp_path / 'state')!r})\n"
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
        files = [json.loads(path.read_text()) for path in run_dir.iterdir()]
    assert {fields["pid"] for fields in files} == {os.getpid()}


def test_what_a_killed_holder_left_goes_and_what_is_held_stays(tmp_path: Path, run_dir: Path):
    with hold(holder(tmp_path, "eth1", pins="p2", state="s2"), run_dir):
        living = set(run_dir.iterdir())
        with held_elsewhere(tmp_path, run_dir):
            remove_stale(run_dir)
            assert len(set(run_dir.iterdir()) - living) == 3
        assert len(set(run_dir.iterdir()) - living) == 3
        remove_stale(run_dir)
        assert set(run_dir.iterdir()) == living


def test_one_that_comes_up_removes_what_a_killed_one_left(tmp_path: Path, run_dir: Path):
    with held_elsewhere(tmp_path, run_dir):
        pass
    with hold(holder(tmp_path, "eth1", pins="p2", state="s2"), run_dir):
        assert len(list(run_dir.iterdir())) == 3


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
                assert len(list(run_dir.iterdir())) == 3
                assert find_holder(tmp_path / "pins", run_dir) is not None
    finally:
        ended.set()
        remover.join()


def test_a_pin_dir_is_one_by_every_path_to_it(tmp_path: Path, run_dir: Path):
    (tmp_path / "pins").mkdir()
    (tmp_path / "alias").symlink_to(tmp_path / "pins")
    with hold(holder(tmp_path, "eth0"), run_dir):
        assert find_holder(tmp_path / "alias", run_dir) is not None
