# SPDX-License-Identifier: Apache-2.0
"""The tests' own: a program that was compiled in this run is loaded again with other maps, without the compiler."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.private_host import private_host
from xdplb.dataplane import libbpf
from xdplb.dataplane.compile import compile_program
from xdplb.dataplane.maps import BpfMap, MapType
from xdplb.model.errors import PlatformError

TEXT = """
BPF_TABLE_PINNED("array", u32, u32, verdicts, 1, PIN_DIR "/verdicts");

int decide(struct xdp_md *ctx)
{
	u32 first = 0;
	u32 *verdict = verdicts.lookup(&first);

	return verdict ? *verdict : XDP_ABORTED;
}
"""
NO_COMPILER = """
class BPF:
    XDP, SCHED_CLS = 6, 3

    def __init__(self, **_):
        raise Exception("it compiles")
"""

pytestmark = pytest.mark.root


@pytest.fixture
def bpffs() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder, private_host(Path(folder)) as mounted:
        yield mounted


def verdict_in(folder: Path, verdict: int, *flags: str) -> int:
    """Compile the program for a map of its own that says this verdict; return what the program says."""
    folder.mkdir()
    with BpfMap.create(MapType.ARRAY, "verdicts") as verdicts:
        verdicts.update(0, verdict.to_bytes(4, "little"))
        verdicts.pin(folder / "verdicts")
    compile_program(TEXT, [f'-DPIN_DIR="{folder}"', *flags], {"decide": folder / "decide"})
    with libbpf.obj_get(folder / "decide") as program:
        return libbpf.prog_test_run(program, bytes(64)).verdict


def test_another_loads_it_with_its_own_maps_and_only_the_same_text_and_flags(
    bpffs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDPLB_TESTS_COMPILED", str(tmp_path))
    assert verdict_in(bpffs / "one", 1) == 1
    (tmp_path / "bcc.py").write_text(NO_COMPILER)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ['PYTHONPATH']}")
    assert verdict_in(bpffs / "two", 2) == 2
    with pytest.raises(PlatformError, match="could not compile"):
        verdict_in(bpffs / "three", 2, "-DOTHER=1")
