# SPDX-License-Identifier: Apache-2.0
"""Nanoseconds per packet of an XDP program, by BPF_PROG_TEST_RUN with a harness program in front (harness.c)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from statistics import median

import numpy as np

from tests.bench.frames import PATTERN, pattern
from tests.bench.machine import pinned_cpu
from xdplb.dataplane.compile import compile_program
from xdplb.dataplane.libbpf import XDP_TX, Fd, obj_get, prog_test_run, program_info
from xdplb.dataplane.maps import BpfMap, MapType
from xdplb.dataplane.source import flatten

__all__ = ["FIXED", "FRESH", "OPENING", "RANDOM", "Case", "Harness", "Result"]

FIXED, RANDOM, FRESH, OPENING = range(4)
BENCH = np.dtype(
    [
        ("turn", "<u8"),
        ("turns", "<u8"),
        ("start", "<u8"),
        ("end", "<u8"),
        ("random", "<u8"),
        ("fresh", "<u8"),
        ("flows", "<u4"),
        ("mode", "<u4"),
        ("cut", "<i4"),
        ("restores", "<u2"),
        ("mimics", "<u2"),
        ("frame", PATTERN),
    ],
    align=True,
)
FLOORS = ("empty", "mac_swap", "ipip_floor")
TOLERATED = 1.05
PATIENCE = 4
ONE_FLOW_PART = 8
MOST_WARM_UP = 1 << 21


@dataclass(frozen=True, slots=True)
class Case:
    """A program run on one kind of packet: `flows` is a power of two, `mode` how the flow of a turn is picked.

    `cut` is how many bytes the program takes from the frame's end. `verdict` is what it must return. `before` is a
    frame that it gets before each measurement, for what it has to remember.
    """

    name: str
    program: Fd
    frame: bytes
    mode: int = FIXED
    flows: int = 1
    cut: int = 0
    verdict: int = XDP_TX
    before: bytes | None = None


@dataclass(slots=True)
class Result:
    """Nanoseconds per packet net of the empty program, one figure a trial that was kept."""

    case: Case
    trials: list[float] = field(default_factory=list)

    @property
    def ns(self) -> float:
        """The median of the trials kept."""
        return median(self.trials) if self.trials else float("nan")


@dataclass(frozen=True, slots=True)
class _Trial:
    """Gross ns per packet: of a program, and of the empty one before and after it.

    `is_counted`: the kernel counted the runs of programs meanwhile, which makes the empty one several times slower and
    nothing else, so that it is no measure of how fast the machine is.
    """

    before: float
    gross: float
    after: float
    is_counted: bool

    @property
    def empty(self) -> float:
        """What the empty program took meanwhile."""
        return (self.before + self.after) / 2

    @property
    def is_steady(self) -> bool:
        """Whether the machine was as fast after the program as before it, and nothing was counted."""
        return not self.is_counted and max(self.before, self.after) <= min(self.before, self.after) * TOLERATED

    def net(self, empty: float) -> float:
        """Return what the program took net of the empty one, where the empty one takes `empty`."""
        return (self.gross - self.empty) * empty / self.empty


class Harness:
    """The harness loaded; `floors` are the programs everything is compared with."""

    def __init__(self, pin_dir: Path) -> None:
        self._bench = BpfMap.create(MapType.ARRAY, "bench", value_size=BENCH.itemsize)
        self._target = BpfMap.create(MapType.PROG_ARRAY, "target")
        self._bench.pin(pin_dir / "bench")
        self._target.pin(pin_dir / "target")
        names = ("harness", *FLOORS)
        paths = {name: pin_dir / name for name in names}
        compile_program(flatten(Path(__file__).with_name("harness.c")), [f'-DPIN_DIR="{pin_dir}"'], paths)
        self._program = obj_get(paths["harness"])
        self._restores: dict[str, int] = {}
        self.floors = {name: obj_get(paths[name]) for name in FLOORS}

    def run(self, case: Case, turns: int, *, empty: bool = False) -> float:
        """Return gross ns per packet of `turns` packets; `empty` runs the empty program in the case's place.

        What the harness does after the case's program to restore the frame it then does for the empty one too.
        """
        state = np.zeros(1, BENCH)
        state["turns"], state["random"] = turns, int.from_bytes(os.urandom(8), "little") | 1
        state["flows"], state["mode"] = case.flows, case.mode
        state["fresh"] = int.from_bytes(os.urandom(4), "little") | 1  # odd: with OPENING, the next is a SYN
        state["cut"], state["frame"] = case.cut, pattern(case.frame)
        state["mimics"] = self._restores.get(case.name, 0) if empty else 0
        self._bench.update(0, state.tobytes())
        self._target.update(0, self.floors["empty"] if empty else case.program)
        if case.before is not None:
            prog_test_run(case.program, case.before)
        last = prog_test_run(self._program, case.frame, repeat=turns + 1).verdict
        after = np.frombuffer(self._bench.read(0), BENCH)[0]
        if after["turn"] != turns + 1:
            raise RuntimeError(f"{case.name}: {after['turn']} turns where {turns + 1} were asked for")
        if not empty and last != case.verdict:
            raise RuntimeError(f"{case.name}: the program returned {last}, not {case.verdict}")
        if not empty:
            self._restores[case.name] = int(after["restores"])
        return float(int(after["end"]) - int(after["start"])) / turns

    def measure(self, cases: Sequence[Case], *, trials: int, turns: int) -> list[Result]:
        """Run all cases interleaved, each between two empty ones, until `trials` of each are kept.

        `turns` are for cases of many flows, which have to be touched; a part of that is enough for one flow.
        A trial whose two brackets are over 5 % apart is thrown away: the machine was disturbed in it. So is one during
        which the kernel counted the runs of programs. One with a machine slower throughout, because of what others do
        on the same cores, counts as on a machine as fast as the empty program ever was on such packets. After four
        times as many trials the rest is given up.
        """
        trials_of: dict[str, list[_Trial]] = {case.name: [] for case in cases}

        with pinned_cpu():
            for case in cases:
                self.run(case, _warm_up(case, turns))
            for _ in range(PATIENCE * trials):
                short = [case for case in cases if len(trials_of[case.name]) < trials]
                for case in short:
                    trial = self._trial(case, _turns(case, turns))
                    if trial.is_steady:
                        trials_of[case.name].append(trial)
        best: dict[tuple[int, ...], float] = {}
        for case in cases:
            fastest = min((trial.empty for trial in trials_of[case.name]), default=inf)
            best[self._kind(case)] = min(best.get(self._kind(case), inf), fastest)
        return [Result(case, [trial.net(best[self._kind(case)]) for trial in trials_of[case.name]]) for case in cases]

    def _trial(self, case: Case, turns: int) -> _Trial:
        counted = program_info(self._program).runs
        before = self.run(case, turns, empty=True)
        gross = self.run(case, turns)
        after = self.run(case, turns, empty=True)
        return _Trial(before, gross, after, program_info(self._program).runs != counted)

    def _kind(self, case: Case) -> tuple[int, ...]:
        """Return what the harness itself takes the same time for."""
        frame = pattern(case.frame)[0]
        return case.mode, case.flows, int(frame["version"]), int(frame["network"]), self._restores[case.name]


def _turns(case: Case, turns: int) -> int:
    """Return how many turns a measurement takes: of one flow few, so that some are done before anything disturbs them.

    Many flows touch the whole table, which other cases have turned out of the caches: that must not weigh.
    """
    return turns // ONE_FLOW_PART if case.mode == FIXED else turns


def _warm_up(case: Case, turns: int) -> int:
    """Return how many turns fill the caches, and the flow table with nearly all flows where one is used."""
    return min(2 * case.flows, MOST_WARM_UP) if case.mode == RANDOM else _turns(case, turns)
