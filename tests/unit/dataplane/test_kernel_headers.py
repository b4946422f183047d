# SPDX-License-Identifier: Apache-2.0
"""Where kernel headers are looked for, and the tree that is merged from Debian's two folders."""

from __future__ import annotations

import platform
import stat
from pathlib import Path

import pytest

from xdplb.dataplane import kernel_headers
from xdplb.dataplane.kernel_headers import DEBIAN_ARCHITECTURE, find, merge
from xdplb.model.errors import PlatformError


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BCC_KERNEL_SOURCE", raising=False)


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def add_headers(sources: Path, version: str) -> None:
    write(sources / f"linux-headers-{version}-common" / "include" / "uapi" / "linux" / "bpf.h", version)
    write(sources / f"linux-headers-{version}-common" / "Makefile", "common")
    write(sources / f"linux-headers-{version}-{DEBIAN_ARCHITECTURE}" / "include" / "generated" / "autoconf.h", version)
    write(sources / f"linux-headers-{version}-{DEBIAN_ARCHITECTURE}" / "Makefile", "flavour")


def search(tmp_path: Path) -> Path | None:
    return find(
        tmp_path / "cache",
        modules=tmp_path / "modules",
        sources=tmp_path / "src",
        kheaders=tmp_path / "kheaders.tar.xz",
    )


def test_what_is_given_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_headers(tmp_path / "src", "6.1.0-1")
    (tmp_path / "mine" / "include").mkdir(parents=True)
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(tmp_path / "mine"))
    assert search(tmp_path) == tmp_path / "mine"


def test_what_is_given_must_hold_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(tmp_path / "nowhere"))
    with pytest.raises(PlatformError, match="nowhere, which has no kernel headers"):
        search(tmp_path)


@pytest.mark.parametrize("kind", ["build", "kheaders"])
def test_headers_of_the_running_kernel_are_left_to_bcc(tmp_path: Path, kind: str) -> None:
    add_headers(tmp_path / "src", "6.1.0-1")
    if kind == "build":
        (tmp_path / "modules" / platform.release() / "build" / "include").mkdir(parents=True)
    else:
        write(tmp_path / "kheaders.tar.xz")
    assert search(tmp_path) is None


def test_debians_two_folders_are_merged_the_newest_first(tmp_path: Path) -> None:
    for version in ("6.1.0-9", "6.1.0-10", "5.10.0-40"):
        add_headers(tmp_path / "src", version)
    write(tmp_path / "src" / "linux-headers-7.0.0-1-common" / "include" / "uapi" / "x.h")  # without its other half
    tree = search(tmp_path)
    assert tree == tmp_path / "cache" / f"headers-6.1.0-10-{DEBIAN_ARCHITECTURE}"
    assert (tree / "include" / "uapi" / "linux" / "bpf.h").read_text() == "6.1.0-10"
    assert (tree / "include" / "generated" / "autoconf.h").read_text() == "6.1.0-10"
    assert (tree / "Makefile").read_text() == "flavour"
    assert search(tmp_path) == tree


def test_without_headers_the_command_that_installs_them(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="kernel headers are needed") as refused:
        search(tmp_path)
    assert f"apt-get install linux-headers-{DEBIAN_ARCHITECTURE}" in refused.value.hint


def test_a_cache_that_cannot_be_written_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_headers(tmp_path / "src", "6.1.0-1")
    write(tmp_path / "cache", "a file, not a folder")
    monkeypatch.setattr(kernel_headers, "CACHES", (tmp_path / "system",))
    assert search(tmp_path) == tmp_path / "system" / f"headers-6.1.0-1-{DEBIAN_ARCHITECTURE}"


def test_a_merge_that_broke_off_leaves_no_half_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_headers(tmp_path / "src", "6.1.0-1")
    common, flavour = sorted((tmp_path / "src").iterdir(), reverse=True)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "symlink_to", full)
        with pytest.raises(OSError, match="No space"):
            merge(common, flavour, tmp_path / "tree")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["src"]
    assert (merge(common, flavour, tmp_path / "tree") / "include" / "uapi").is_symlink()


def test_a_cache_that_others_may_write_to_is_closed_or_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_headers(tmp_path / "src", "6.1.0-1")
    monkeypatch.setattr(kernel_headers, "CACHES", (tmp_path / "system",))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    assert search(tmp_path) == tmp_path / "cache" / f"headers-6.1.0-1-{DEBIAN_ARCHITECTURE}"
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700
    (tmp_path / "cache").rename(tmp_path / "elsewhere")
    (tmp_path / "cache").symlink_to(tmp_path / "elsewhere")
    assert search(tmp_path) == tmp_path / "system" / f"headers-6.1.0-1-{DEBIAN_ARCHITECTURE}"
    assert kernel_headers.scratch(tmp_path / "cache") == tmp_path / "system"
