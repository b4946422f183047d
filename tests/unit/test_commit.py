# SPDX-License-Identifier: Apache-2.0
"""The commit that `xdplb version` says, from real Git checkouts and from what a wheel carries."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from xdplb.commit import NOTE, commit, read_head


def git(folder: Path, *words: str) -> str:
    own = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"]
    return subprocess.run(["git", *own, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q")
    git(folder, "commit", "-q", "--allow-empty", "-m", "first")
    return folder


def test_a_branch(checkout: Path) -> None:
    assert read_head(checkout) == git(checkout, "rev-parse", "HEAD")


def test_a_branch_whose_reference_is_packed(checkout: Path) -> None:
    git(checkout, "pack-refs", "--all")
    assert not (checkout / ".git/refs/heads/main").exists()
    assert read_head(checkout) == git(checkout, "rev-parse", "HEAD")


def test_no_branch(checkout: Path) -> None:
    git(checkout, "checkout", "-q", "--detach")
    assert read_head(checkout) == git(checkout, "rev-parse", "HEAD")


def test_a_worktree(checkout: Path) -> None:
    git(checkout, "worktree", "add", "-q", "-b", "other", "../other")
    other = checkout.parent / "other"
    git(other, "commit", "-q", "--allow-empty", "-m", "second")
    assert read_head(other) == git(other, "rev-parse", "HEAD") != read_head(checkout)


def test_what_a_wheel_carries_comes_first(checkout: Path) -> None:
    package = checkout / "xdplb"
    package.mkdir()
    assert commit(package) == git(checkout, "rev-parse", "HEAD")
    (package / NOTE).write_text(f"{'5' * 40}\n")
    assert commit(package) == "5" * 40


def test_nothing_says_it(tmp_path: Path) -> None:
    (tmp_path / "xdplb").mkdir()
    assert commit(tmp_path / "xdplb") is None


@pytest.mark.parametrize("head", ["", "ref: refs/heads/none", "ref: ", "not a hash"])
def test_a_folder_that_git_would_not_read(tmp_path: Path, head: str) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git/HEAD").write_text(head)
    assert read_head(tmp_path) is None


def test_what_an_image_is_built_from_has_the_commit_though_git_itself_is_left_out(
    checkout: Path, tmp_path: Path
) -> None:
    ignored = (Path(__file__).parents[2] / ".containerignore").read_text().splitlines()
    kept = [line.removeprefix("!.git/") for line in ignored if line.startswith("!.git/")]
    wanted = git(checkout, "rev-parse", "HEAD")
    for pack in (False, True):
        if pack:
            git(checkout, "pack-refs", "--all")
        context = tmp_path / f"context-{pack}"
        (context / ".git").mkdir(parents=True)
        for name in kept:
            if (checkout / ".git" / name).exists():
                subprocess.run(["cp", "-a", checkout / ".git" / name, context / ".git"], check=True)
        assert read_head(context) == wanted
