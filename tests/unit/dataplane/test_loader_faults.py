# SPDX-License-Identifier: Apache-2.0
"""Loading where something is in the way: killed at any step, no right to, pins that are gone, odd hosts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bpf.balancer import backend
from tests.private_host import add_nic, ip
from tests.unit.dataplane.loading import VIP, change_source, forbid_compiling, in_child, left, program_on, up
from xdplb.dataplane import libbpf, maps, pins
from xdplb.dataplane.loader import unload
from xdplb.dataplane.map_specs import TX_PORTS, map_specs
from xdplb.dataplane.plane import Capacity
from xdplb.model.errors import CapacityError, ConflictError, InvalidError, PlatformError

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("mode", [0o1777, 0o700])
def test_who_is_not_root_is_told(bpffs: Path, pin_dir: Path, mode: int) -> None:
    bpffs.chmod(mode)
    bpffs.parent.chmod(0o755)
    assert "run it as root" in refusal_under(pin_dir, user=65534)


def test_root_without_the_capability_to_open_by_id_is_told(pin_dir: Path) -> None:
    told = refusal_under(pin_dir, "--bounding-set=-all,+bpf,+net_admin,+perfmon")
    assert "this process may not read the maps" in told
    assert "CAP_SYS_ADMIN" in told


def refusal_under(pin_dir: Path, *rights: str, user: int = 0) -> str:
    """Return what a process of this user, with these arguments of setpriv, is told when it loads.

    It becomes that user after its imports: the clone may be where only root can read.
    """
    code = (
        "import os, sys; from pathlib import Path; from tests.unit.dataplane.loading import up;"
        "from xdplb.model.errors import PlatformError\n"
        f"if {user}: os.setgroups([]); os.setuid({user})\n"
        "try: up(Path(sys.argv[1]))\n"
        "except PlatformError as error: print(error)"
    )
    command = ["setpriv", *rights, sys.executable, "-c", code, str(pin_dir)]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout


def test_a_read_only_bpffs_is_told(bpffs: Path, pin_dir: Path) -> None:
    for there in (False, True):
        if there:
            pin_dir.mkdir()
        subprocess.run(["mount", "-o", "remount,ro", bpffs], check=True)
        with pytest.raises(PlatformError, match=r"(?i)read-only") as refused:
            up(pin_dir)
        assert "remount,rw" in refused.value.hint
        subprocess.run(["mount", "-o", "remount,rw", bpffs], check=True)


def test_a_map_whose_pin_is_gone_is_named(bpffs: Path, pin_dir: Path) -> None:
    up(pin_dir)
    (pin_dir / "flows").unlink()
    with pytest.raises(ConflictError, match="the map flows is gone") as refused:
        up(pin_dir)
    assert "xdplb down --all" in refused.value.hint
    assert program_on("eth0") > 0
    unload(pin_dir)
    assert left(bpffs) == []


@pytest.mark.parametrize("name", ["a b", "a:b", 'a"b', "a\\b", "a,b", "ü", "a/b/c"])
def test_any_name_will_do_for_a_pin_dir(bpffs: Path, name: str) -> None:
    assert up(bpffs / name).attachments()
    assert unload(bpffs / name)


def test_a_renamed_nic_is_taken_up_under_its_new_name(pin_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = up(pin_dir).attachments()[0].program_id
    ip("link set eth0 down")
    ip("link set eth0 name lan0")
    forbid_compiling(monkeypatch)
    (attachment,) = up(pin_dir, "lan0").attachments()
    assert (attachment.interface, attachment.program_id) == ("lan0", before)
    with pytest.raises(ConflictError, match="lan0 is attached in native mode"):
        up(pin_dir, "lan0", mode="skb")


def test_a_nic_by_an_alias_is_the_nic(pin_dir: Path) -> None:
    ip("link property add dev eth0 altname uplink0")
    for name in ("eth0:1", "uplink0", "eth0"):
        assert [found.interface for found in up(pin_dir, name).attachments()] == ["eth0"]
    assert [path.name for path in pin_dir.glob("link_*")] == ["link_eth0"]


def test_64_nics_and_not_one_more(pin_dir: Path) -> None:
    names = [f"n{number}" for number in range(TX_PORTS)]
    for name in names:
        add_nic(name)
    assert len(up(pin_dir, *names).attachments()) == TX_PORTS
    with pytest.raises(CapacityError, match="eth0 cannot be attached: 64 NICs"):
        up(pin_dir)
    assert program_on("eth0") == 0
    with pytest.raises(InvalidError, match="65 NICs were given"):
        up(pin_dir, *names, "eth0")


def test_the_largest_capacity_works_and_one_more_is_refused(pin_dir: Path) -> None:
    plane = up(pin_dir, capacity=Capacity(vips=8192, backends=65534, flows=4096))
    vips = [
        replace(VIP, id=number, key=replace(VIP.key, port=number + 1, last_port=number + 1)) for number in range(8192)
    ]
    plane.write_vips(vips)
    assert plane.read_vips() == dict(enumerate(vips))
    last = replace(backend(9), id=65534)
    plane.write_backends([last])
    assert plane.read_backends() == {65534: last}
    with pytest.raises(CapacityError):
        plane.write_backends([replace(last, id=65535)])


def test_a_compiler_ends_with_the_one_that_asked(pin_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would pin a program for maps that the next start has made anew."""
    monkeypatch.delenv("XDPLB_TESTS_COMPILED")  # it compiles, which takes its time
    loading = os.fork()
    if loading == 0:
        up(pin_dir)
        os._exit(0)
    compiling = compiler_of(loading)
    os.kill(loading, signal.SIGKILL)
    os.waitpid(loading, 0)
    deadline = time.monotonic() + 60
    while Path(f"/proc/{compiling}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{compiling}").exists()
    assert not (pin_dir / "program_next").exists()
    assert up(pin_dir).attachments()


def compiler_of(parent: int) -> int:
    """Return the id of the process's child, once it has the compiler in it."""
    children = Path(f"/proc/{parent}/task/{parent}/children")
    while not (found := children.read_text().split()) or "libbcc" not in Path(f"/proc/{found[0]}/maps").read_text():
        time.sleep(0.001)
    return int(found[0])


class DiesAtPin:
    """Ends the process, as kill -9 does, instead of the n-th pin."""

    def __init__(self, number: int) -> None:
        self._left = number

    def __call__(self, fd: libbpf.Fd, path: Path) -> None:
        self._left -= 1
        if self._left == 0:
            os._exit(9)
        libbpf.call("bpf_obj_pin", fd.fileno(), os.fsencode(path))


def up_and_end(pin_dir: Path) -> int:
    up(pin_dir)
    return 0


META_PIN = len(map_specs(Capacity())) + 1  # the program, next, is pinned by the compiler, and then comes the link


@pytest.mark.parametrize("number", [1, 2, META_PIN - 1, META_PIN, META_PIN + 1])
def test_killed_at_a_pin_up_and_down_work_again(
    bpffs: Path, pin_dir: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with monkeypatch.context() as patched:
        dying = DiesAtPin(number)
        patched.setattr(maps, "obj_pin", dying)
        patched.setattr(libbpf, "obj_pin", dying)
        assert in_child(lambda: up_and_end(pin_dir)) == 9
    assert program_on("eth0") == 0
    assert [found.interface for found in up(pin_dir).attachments()] == ["eth0"]
    unload(pin_dir)
    assert left(bpffs) == []


@pytest.mark.parametrize("where", ["link_update", "replace", "set_program"])
def test_killed_in_a_swap_the_next_start_ends_it(pin_dir: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    up(pin_dir).write_vips([VIP])
    change_source(monkeypatch)
    owner = {"link_update": libbpf, "replace": Path, "set_program": pins.Meta}[where]
    with monkeypatch.context() as patched:
        patched.setattr(owner, where, lambda *_: os._exit(9))
        assert in_child(lambda: up_and_end(pin_dir)) == 9
    again = up(pin_dir)
    assert again.read_vips() == {VIP.id: VIP}
    with libbpf.obj_get(pin_dir / "program") as program:
        assert program_on("eth0") == libbpf.program_info(program).id
    assert not (pin_dir / "program_next").exists()


def test_killed_while_taking_down_it_can_be_gone_on_with(
    bpffs: Path, pin_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    up(pin_dir)
    original = Path.unlink
    for count in range(1, 5):
        with monkeypatch.context() as patched:
            left_to_do = [count]

            def unlink(path: Path, missing_ok: bool = False, left_to_do: list[int] = left_to_do) -> None:
                if not left_to_do[0]:
                    os._exit(9)
                left_to_do[0] -= 1
                original(path, missing_ok)

            patched.setattr(Path, "unlink", unlink)
            assert in_child(lambda: len(unload(pin_dir)) * 0) in {0, 9}
    unload(pin_dir)
    assert left(bpffs) == []
    assert program_on("eth0") == 0
