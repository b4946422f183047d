# SPDX-License-Identifier: Apache-2.0
"""What the package is made from: its units, its manual, and what of the lock it carries."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNITS = {
    "xdplb.service": ROOT / "debian/xdplb.service",
    "xdplb-backend-host@.service": ROOT / "debian/xdplb.xdplb-backend-host@.service",
    "xdplb-decap@.service": ROOT / "debian/xdplb.xdplb-decap@.service",
}
MOST_EXPOSURE = 4.0


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("name", UNITS)
def test_a_unit_is_hardened(name: str, tmp_path: Path) -> None:
    unit = tmp_path / name
    shutil.copy(UNITS[name], unit)
    said = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"exposure level for \S+: ([\d.]+)", said.stdout)
    assert found is not None, said.stderr
    assert float(found[1]) < MOST_EXPOSURE


@pytest.mark.parametrize("name", UNITS)
def test_the_compiler_finds_headers_and_pins_in_the_sandbox_of_a_unit(name: str) -> None:
    lines = UNITS[name].read_text().splitlines()
    assert "ReadWritePaths=/sys/fs/bpf" in lines
    assert "ProtectKernelModules=yes" not in lines  # it hides /lib/modules
    assert "ProtectKernelTunables=yes" not in lines  # it closes /sys/fs/bpf


def test_the_package_carries_what_runs_and_not_what_builds() -> None:
    lock = (ROOT / "requirements-package.lock").read_text()
    script = ROOT / "scripts/lib/package/runtime_lock.py"
    made = subprocess.run(
        [sys.executable, script, "xdplb", "top"], input=lock, capture_output=True, text=True, check=True
    ).stdout
    names = set(re.findall(r"(?m)^([\w.-]+)==", made))
    assert {"fastapi", "numpy", "pydantic-core", "textual"} <= names
    assert not {"hatchling", "editables", "trove-classifiers", "bcc", "pytest"} & names
    assert made.count("--hash=sha256:") >= len(names)


def test_there_is_a_manual_page_for_every_command(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "scripts/lib/package/manuals.py", tmp_path], check=True)
    pages = {page.name: page.read_text() for page in tmp_path.iterdir()}
    commands = set(re.findall(r"\\fBxdplb\\-(\S+)\\fR\(1\)", pages["xdplb.1"]))
    assert {name.replace("\\-", "-") for name in commands} == {
        name.removeprefix("xdplb-").removesuffix(".1") for name in pages if name != "xdplb.1"
    }
    assert "XDPLB VIP ADD" in pages["xdplb-vip.1"]
    assert "\\-\\-exec\\-checks" in pages["xdplb-up.1"]


def test_the_container_has_the_capabilities_of_the_unit() -> None:
    (unit,) = re.findall(r"(?m)^CapabilityBoundingSet=(.+)$", UNITS["xdplb.service"].read_text())
    (container,) = re.findall(r"--cap-add (\S+)", (ROOT / "docs/install.md").read_text())
    assert {f"CAP_{name}" for name in container.split(",")} == set(unit.split())
