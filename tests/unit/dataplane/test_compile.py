# SPDX-License-Identifier: Apache-2.0
"""What the compiler process says of what is missing or wrong: a sentence, a remedy and the end of the log."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.private_host import private_host
from xdplb.dataplane.compile import compile_program, require_bcc
from xdplb.dataplane.libbpf import XDP_PASS, obj_get, prog_test_run
from xdplb.model.errors import PlatformError

ENDLESS = """
int endless(struct xdp_md *ctx)
{
	__u32 sum = 0;

	for (int i = 0; i < 500000; i++)
		sum += bpf_get_prandom_u32();
	return sum & 1;
}
"""
"""More than the verifier follows, on every kernel."""

PASS = "int pass(struct xdp_md *ctx)\n{\n\treturn VERDICT;\n}\n"


@pytest.fixture
def bpffs() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder, private_host(Path(folder)) as mounted:
        yield mounted


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose modules go before bcc, and headers that are found."""
    (tmp_path / "headers" / "include").mkdir(parents=True)
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(tmp_path / "headers"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def test_without_bcc(modules: Path) -> None:
    (modules / "bcc.py").write_text("raise ImportError('No module named bcc')\n")
    with pytest.raises(PlatformError, match="has no bcc") as refused:
        compile_program(PASS, [], {})
    assert "apt-get install python3-bpfcc" in refused.value.hint


def test_with_another_project_of_that_name(modules: Path) -> None:
    (modules / "bcc.py").write_text("def lattice(): ...\n")
    with pytest.raises(PlatformError, match="another project") as refused:
        compile_program(PASS, [], {})
    assert refused.value.hint.startswith("pip uninstall bcc")


def test_a_compiler_that_dies_is_told_with_its_last_words(modules: Path) -> None:
    (modules / "bcc.py").write_text("import os, sys; sys.stderr.write('boom\\n'); sys.stderr.flush(); os._exit(3)\n")
    with pytest.raises(PlatformError, match=r"without a result \(exit status 3\):\nboom"):
        compile_program(PASS, [], {})


def test_bcc_in_the_current_folder_is_not_taken(modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = modules / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "bcc.py").write_text("raise ImportError('taken from the current folder')\n")
    (modules / "bcc.py").write_text("")
    monkeypatch.chdir(elsewhere)
    with pytest.raises(PlatformError, match="another project"):
        compile_program(PASS, [], {})


def test_the_data_plane_is_imported_without_bcc() -> None:
    code = (
        "import sys, xdplb.dataplane.loader, xdplb.dataplane.fake, xdplb.dataplane.compile; "
        "sys.exit('bcc' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.root
def test_compiles_with_flags_and_pins(bpffs: Path) -> None:
    compile_program(PASS, ["-DVERDICT=XDP_PASS"], {"pass": bpffs / "pass"})
    with obj_get(bpffs / "pass") as program:
        assert prog_test_run(program, bytes(64)).verdict == XDP_PASS


@pytest.mark.root
def test_an_error_in_the_source_is_told_with_its_line(bpffs: Path) -> None:
    with pytest.raises(PlatformError, match="could not compile") as refused:
        compile_program('#line 41 "/src/some.c"\nint pass(struct xdp_md *ctx) { return nothing; }\n', [], {})
    assert "/src/some.c:41" in refused.value.detail
    assert list(bpffs.glob("p*s")) == []


@pytest.mark.root
def test_what_the_verifier_refuses_is_told_with_its_log(bpffs: Path) -> None:
    text = "int bad(struct xdp_md *ctx) { return *(char *)(long)ctx->data; }\n"
    with pytest.raises(PlatformError, match="the kernel refused the program") as refused:
        compile_program(text, [], {"bad": bpffs / "bad"})
    assert "invalid access to packet" in refused.value.detail
    assert not (bpffs / "bad").exists()


@pytest.mark.root
def test_where_it_cannot_be_pinned(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="could not be pinned"):
        compile_program(PASS, ["-DVERDICT=XDP_PASS"], {"pass": tmp_path / "pass"})


@pytest.mark.root
def test_a_program_that_is_too_much_for_the_verifier_names_what_it_does(bpffs: Path) -> None:
    with pytest.raises(PlatformError, match="cannot check a program with all of these features: ipv6, vlan") as refused:
        compile_program(ENDLESS, ["-DWITH_IPV6=1", "-DWITH_VLAN=1"], {"endless": bpffs / "endless"})
    assert "docs/kernels.md" in refused.value.hint


@pytest.mark.parametrize(
    ("source", "told", "hint"),
    [
        (None, "has no bcc", "apt-get install python3-bpfcc"),
        ("def lattice(): ...\n", "another project of that name", "pip uninstall bcc"),
    ],
)
def test_bcc_is_looked_for_without_loading_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str | None, told: str, hint: str
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "bcc", raising=False)
    if source is not None:
        (tmp_path / "bcc.py").write_text(source)
    with pytest.raises(PlatformError, match=told) as refused:
        require_bcc()
    assert refused.value.hint.startswith(hint)
    (tmp_path / "bcc.py").unlink(missing_ok=True)
    (tmp_path / "bcc").mkdir()
    for name in ("__init__.py", "libbcc.py"):
        (tmp_path / "bcc" / name).write_text("raise ImportError('loaded')\n")
    importlib.invalidate_caches()
    require_bcc()
