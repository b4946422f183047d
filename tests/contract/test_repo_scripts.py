# SPDX-License-Identifier: Apache-2.0
"""The scripts a person or CI runs: there, executable, and ready to say what they do."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(path for path in (ROOT / "scripts").iterdir() if path.is_file())


def test_the_scripts_people_are_told_of_are_there():
    assert {"check", "demo", "setup", "test"} <= {path.name for path in SCRIPTS}


@pytest.mark.parametrize("script", [*SCRIPTS, ROOT / ".ci/run"], ids=lambda path: path.name)
def test_a_script_is_executable_and_says_what_runs_it(script: Path):
    assert os.access(script, os.X_OK)
    assert re.match(r"#!/(bin/(ba)?sh|usr/bin/python3)\n", script.read_text(encoding="utf-8"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_explains_itself_from_any_directory(script: Path, tmp_path: Path):
    told = subprocess.run([script, "--help"], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    assert f"usage: scripts/{script.name}" in told.stdout.lower()


@pytest.mark.parametrize("name", ["check", "demo", "setup"])
def test_a_script_refuses_an_option_it_does_not_know(name: str):
    told = subprocess.run(
        [ROOT / "scripts" / name, "--no-such-option"], capture_output=True, text=True, timeout=60, check=False
    )
    assert told.returncode == 2
    assert "usage" in told.stderr.lower()


def test_ci_runs_the_tests_and_nothing_else():
    commands = [line for line in (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines() if line[:1] not in "#"]
    assert len(commands) == 1
    assert re.fullmatch(r'exec (env CI=true )?"\$\(dirname "\$0"\)/\.\./scripts/test"', commands[0])
