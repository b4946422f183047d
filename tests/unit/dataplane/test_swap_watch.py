# SPDX-License-Identifier: Apache-2.0
"""A program of another source is swapped in under a guard: refused, kept, or put back, whatever ends the process."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.private_host import add_nic, private_host
from tests.unit.dataplane.loading import CAPACITY, change_source, in_child, left, program_on, up
from xdplb.dataplane import libbpf, programs
from xdplb.dataplane.bcc_plane import BccPlane
from xdplb.dataplane.features import Feature, Features
from xdplb.dataplane.instructions import Instructions
from xdplb.dataplane.loader import unload
from xdplb.dataplane.maps import BpfMap
from xdplb.dataplane.pins import CODE, NEXT, PROGRAM, Meta
from xdplb.dataplane.program_code import ProgramCode
from xdplb.dataplane.shadow import Side
from xdplb.dataplane.spans import Span
from xdplb.model.errors import ConflictError, PlatformError

pytestmark = pytest.mark.root

KILLED = 9
STRIDE = int(os.environ.get("XDPLB_TEST_STRIDE", "5"))
"""Of the steps at which a process is killed, one in this many. With 1, all of them: that takes a minute."""


class Guard:
    """Says what a test wants it to say."""

    def __init__(
        self, *, refuses: bool = False, worse: str | None = None, watch_seconds: float = 60, takes_refused: bool = False
    ) -> None:
        self.refuses, self.is_worse = refuses, worse
        self.watch_seconds, self.takes_refused = watch_seconds, takes_refused
        self.alone_seconds = watch_seconds / 2
        self.alone: list[bool] = []
        self.compared: list[tuple[Side, Side]] = []

    def sampling(self) -> nullcontext[None]:
        return nullcontext()

    def compare(self, _name: str, old: Side, new: Side, _differing: Features) -> None:
        self.compared.append((old, new))
        if self.refuses:
            raise ConflictError("they differ")

    def worse(self, _before: Span, _after: Span, *, alone: bool) -> str | None:
        self.alone.append(alone)
        return self.is_worse


@pytest.fixture(scope="module")
def compiled() -> ProgramCode:
    """The program, compiled once: its instructions do for the maps of every test."""
    with tempfile.TemporaryDirectory() as folder, private_host(Path(folder)) as bpffs:
        add_nic("eth0")
        up(bpffs / "xdplb")
        code = ProgramCode.open(bpffs / "xdplb" / CODE)
        assert code is not None
        return code


@pytest.fixture
def loaded(compiled: ProgramCode, pin_dir: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """The program in use, by its id. Instead of compiling, the same instructions are loaded again."""

    def compile_program(_text: str, _flags: list[str], wanted: dict[str, Path], **_: Any) -> dict[str, Instructions]:
        ((name, pin),) = wanted.items()
        maps = [BpfMap.open(pin.parent / each) for each in compiled.maps]  # those of a takeover are in `next`
        libbpf.obj_pin(Instructions(compiled.code, ()).load(name, maps), pin)
        return {name: Instructions(compiled.code, tuple(found.info.id for found in maps))}

    monkeypatch.setattr(programs, "compile_program", compile_program)
    up(pin_dir)
    return program_on("eth0")


def test_the_kept_code_is_that_of_the_program(pin_dir: Path, loaded: int) -> None:
    code = ProgramCode.open(pin_dir / CODE)
    assert code is not None
    assert code.program_id == loaded
    assert {"vip_index", "backends", "flow_lines", "reason_stats"} <= set(code.maps)


def test_removed_code_is_pinned_again(pin_dir: Path, loaded: int) -> None:
    plane = up(pin_dir)
    (pin_dir / CODE).unlink()
    assert list(plane.repair()) == [CODE]
    assert is_whole(pin_dir)


def test_what_the_guard_refuses_changes_nothing(pin_dir: Path, loaded: int, monkeypatch: pytest.MonkeyPatch) -> None:
    before, guard = left(pin_dir), Guard(refuses=True)
    change_source(monkeypatch)
    with pytest.raises(ConflictError):
        up(pin_dir, guard=guard)
    ((old, new),) = guard.compared
    assert old.code.program_id == loaded != new.code.program_id
    assert (program_on("eth0"), left(pin_dir)) == (loaded, before)
    assert up(pin_dir, guard=Guard()).watch_swap() is not None
    assert program_on("eth0") != loaded


def test_the_same_source_is_neither_compared_nor_watched(pin_dir: Path, loaded: int) -> None:
    guard = Guard(refuses=True, worse="all")
    plane = up(pin_dir, guard=guard)
    assert plane.watch_swap() is None
    meta = Meta.open(pin_dir)
    meta.set_program(meta.program_hash ^ 1, meta.features)  # as if it were compiled for something else
    plane = up(pin_dir, guard=guard)
    assert program_on("eth0") != loaded
    assert plane.watch_swap() is None
    assert guard.compared == []


def test_runs_are_counted_only_as_long_as_a_swap_is_watched(
    pin_dir: Path, loaded: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, guard = counting(), Guard()
    plane = up(pin_dir, guard=guard)
    assert counting() == before
    assert plane.watch_swap() is None
    plane.require(frozenset({Feature.GUE}))
    assert counting() == before, "each packet pays for it"
    change_source(monkeypatch)
    plane = up(pin_dir, guard=guard)
    assert counting() > before
    guard.watch_seconds = 0
    plane.watch_swap()
    assert counting() == before


def counting() -> int:
    """Return how many descriptors this process has that make the kernel count the runs of programs."""
    gc.collect()  # of planes that are gone
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of the listing itself
            count += str(descriptor.readlink()) == "anon_inode:bpf-stats"
    return count


def test_what_is_no_worse_is_kept(pin_dir: Path, loaded: int, monkeypatch: pytest.MonkeyPatch) -> None:
    before = left(pin_dir)
    change_source(monkeypatch)
    guard = Guard()
    plane = up(pin_dir, guard=guard)
    new = program_on("eth0")
    state = plane.watch_swap()
    assert state is not None
    assert (state.is_over, state.alone) == (False, True)
    guard.alone_seconds = 0
    state = plane.watch_swap()
    assert state is not None
    assert not state.alone
    plane = up(pin_dir, guard=guard)
    guard.watch_seconds = 0
    state = plane.watch_swap()
    assert state is not None
    assert (state.is_over, state.worse) == (True, None)
    assert guard.alone == [True, True, False, False], "another process knows it, too"
    assert plane.watch_swap() is None
    assert (program_on("eth0"), left(pin_dir)) == (new, before)
    assert new != loaded
    assert not plane.is_held_back


def test_what_is_worse_is_put_back_and_not_tried_again(
    pin_dir: Path, loaded: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, meta = left(pin_dir), Meta.open(pin_dir)
    change_source(monkeypatch)
    guard = Guard()
    plane = up(pin_dir, guard=guard)
    guard.is_worse = "more drops"
    state = plane.watch_swap()
    assert state is not None
    assert (state.is_over, state.worse) == (True, "more drops")
    assert (program_on("eth0"), left(pin_dir)) == (loaded, before)
    assert plane.is_held_back
    assert plane.features == meta.features
    assert plane.repair() == []
    again = up(pin_dir, guard=guard)
    assert (program_on("eth0"), again.is_held_back) == (loaded, True)
    with pytest.raises(ConflictError, match="rolled back"):
        again.require(frozenset({Feature.GUE}))
    guard.takes_refused = True
    insisted = up(pin_dir, guard=guard)
    assert not insisted.is_held_back
    assert insisted.watch_swap() is None, "who insists is not overruled again"
    assert program_on("eth0") != loaded


def test_a_start_after_a_kill_puts_back_what_is_worse_and_knows_why(
    pin_dir: Path, loaded: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_source(monkeypatch)
    assert up(pin_dir, guard=Guard()).rolled_back is None
    assert program_on("eth0") != loaded
    again = up(pin_dir, guard=Guard(worse="more drops"))
    assert (again.rolled_back, program_on("eth0")) == ("more drops", loaded)


def test_a_change_that_needs_another_program_ends_the_watch(
    pin_dir: Path, loaded: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_source(monkeypatch)
    guard = Guard()
    plane = up(pin_dir, guard=guard)
    plane.require(frozenset({Feature.GUE}))
    guard.is_worse = "more drops"
    assert plane.watch_swap() is None
    assert program_on("eth0") != loaded


def test_an_older_program_without_code_is_only_watched(
    pin_dir: Path, loaded: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pin_dir / CODE).unlink()
    change_source(monkeypatch)
    guard = Guard(refuses=True)
    plane = up(pin_dir, guard=guard)
    guard.is_worse = "more drops"
    assert plane.watch_swap() is not None
    assert program_on("eth0") == loaded


def test_replaced_maps_are_put_back_with_the_program(
    pin_dir: Path, loaded: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    larger, before = replace(CAPACITY, vips=32, flows=8192), left(pin_dir)
    change_source(monkeypatch)
    guard = Guard(worse="more drops")
    with pytest.raises(ConflictError, match="more drops: the new program was rolled back"):
        up(pin_dir, capacity=larger, guard=guard)
    ((old, new),) = guard.compared
    assert (old.folder, new.folder) == (pin_dir, pin_dir / NEXT)
    assert (program_on("eth0"), left(pin_dir)) == (loaded, before)
    assert Meta.open(pin_dir).capacity == CAPACITY
    guard.is_worse = None
    with pytest.raises(ConflictError, match="rolled back before"):
        up(pin_dir, capacity=larger, guard=guard)
    insisting = Guard(worse="more drops", takes_refused=True)
    assert up(pin_dir, capacity=larger, guard=insisting).capacity == larger
    assert program_on("eth0") != loaded
    assert is_whole(pin_dir)
    assert left(pin_dir) == before


@contextmanager
def killed_after(steps: int) -> Iterator[None]:
    """End the process as kill -9 does after this many steps that others can see."""
    left_over = [steps]
    with pytest.MonkeyPatch.context() as patched:
        for owner, name in ((libbpf, "link_update"), (libbpf, "obj_pin"), (Path, "unlink"), (Path, "replace")):
            patched.setattr(owner, name, _counting(getattr(owner, name), left_over))
        patched.setattr(Meta, "_set", _counting(Meta._set, left_over))
        yield


def _counting(function: Callable[..., Any], left_over: list[int]) -> Callable[..., Any]:
    def counted(*arguments: Any, **named: Any) -> Any:
        if left_over[0] == 0:
            os._exit(KILLED)
        left_over[0] -= 1
        return function(*arguments, **named)

    return counted


def is_whole(pin_dir: Path) -> bool:
    with libbpf.obj_get(pin_dir / PROGRAM) as pinned:
        code = ProgramCode.open(pin_dir / CODE)
        return code is not None and libbpf.program_info(pinned).id == program_on("eth0") == code.program_id


@pytest.mark.parametrize("worse", [None, "more drops"], ids=["swap", "roll back"])
def test_a_kill_at_any_step_is_made_good(
    pin_dir: Path, loaded: int, monkeypatch: pytest.MonkeyPatch, worse: str | None
) -> None:
    """The next start of the same version makes it good, and packets have one whole program all the time."""
    before = left(pin_dir)
    with monkeypatch.context() as newer:
        change_source(newer)
        for steps in range(worse is not None, 100, STRIDE):

            def daemon(steps: int = steps) -> int:
                guard = Guard()
                with killed_after(steps):
                    plane: BccPlane = up(pin_dir, guard=guard)
                    guard.is_worse, guard.watch_seconds = worse, 0
                    plane.watch_swap()
                return 0

            ended = in_child(daemon)
            assert program_on("eth0")
            up(pin_dir, guard=Guard(worse=worse, watch_seconds=0)).watch_swap()
            assert is_whole(pin_dir), steps
            assert left(pin_dir) == before, steps
            if ended != KILLED:
                break
            Meta.open(pin_dir).set_refused_text(0)
            with newer.context() as older:  # back, for the next turn
                older.undo()
                older.setattr(programs, "flatten", lambda main, steps=steps: f"{main} {steps}")
                up(pin_dir, guard=Guard(watch_seconds=0)).watch_swap()
    assert steps > 2 * STRIDE
    assert unload(pin_dir)


def test_the_kernels_refusal_keeps_the_old_one(pin_dir: Path, loaded: int, monkeypatch: pytest.MonkeyPatch) -> None:
    before = left(pin_dir)
    change_source(monkeypatch)
    with monkeypatch.context() as patched:

        def link_update(*_: object) -> None:
            raise OSError(12, "Cannot allocate memory")

        patched.setattr(libbpf, "link_update", link_update)
        with pytest.raises(PlatformError):
            up(pin_dir, guard=Guard())
    assert (program_on("eth0"), left(pin_dir)) == (loaded, before)
