# SPDX-License-Identifier: Apache-2.0
"""The wheel as `pip install` leaves it: in a venv with what it says that it needs, and bcc of the system."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from email.parser import Parser
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.waiting import until
from xdplb.net.lab import VIP, Lab

from .balancer import READY_SECONDS, Balancer

ROOT = Path(__file__).resolve().parents[2]
BUILT_FROM = ("LICENSE", "LICENSES", "README.md", "pyproject.toml", "api", "bpf", "scripts", "xdplb")
SITE = Path(sysconfig.get_path("purelib"))
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it of a copy, as scripts/package does."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    for name in BUILT_FROM:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__", "_loops.*"))
        else:
            shutil.copy(source, tree / name)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", out, tree], check=True, env={**ENVIRONMENT, "XDPLB_CHECKOUT": str(ROOT)})
    (built,) = out.glob("xdplb-*.whl")
    return built


@pytest.fixture(scope="module")
def command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The command in a new venv. What the wheel needs is linked from this venv, by what the wheel says of itself."""
    venv = tmp_path_factory.mktemp("venv")
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--system-site-packages", "--without-pip", venv], check=True)
    python = str(venv / "bin/python3")
    site = Path(_said(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"))
    for name in _needed(wheel):
        _link(name, site)
    pip = [sys.executable, "-m", "pip", "--python", python]
    subprocess.run([*pip, "install", "--quiet", "--no-index", "--no-deps", wheel], check=True, env=ENVIRONMENT)
    return str(venv / "bin/xdplb")


def test_it_has_the_program_the_dashboard_and_the_loops_and_none_of_the_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    folders = {"bpf": "xdplb/_bpf", "api/xdplb_api/dashboard": "xdplb_api/dashboard"}
    for source, target in folders.items():
        files = [path for path in (ROOT / source).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        assert {f"{target}/{path.relative_to(ROOT / source)}" for path in files} <= set(names)
    assert {"xdplb/balance/_loops.so", "xdplb/_commit"} <= set(names)
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"xdplb", "xdplb_api", f"xdplb-{version('xdplb')}.dist-info"}


def test_it_balances_and_serves_the_dashboard(command: str, lab: Lab) -> None:
    def run(*arguments: str, host: str = "balancer", check: bool = True) -> subprocess.CompletedProcess[str]:
        return lab.run(host, [command, *arguments], check=check, env=ENVIRONMENT, timeout=READY_SECONDS)

    told = json.loads(run("version", "-o", "json").stdout)
    assert told["commit"] == _said("git", "-C", str(ROOT), "rev-parse", "HEAD")
    diagnosis = run("doctor", "eth0", "--pin-dir", str(lab.pin_dir), check=False)
    assert not re.search(r"(?m)^(FAIL|failed)", diagnosis.stdout), diagnosis.stdout
    Balancer(lab).prepare("dr1")
    socket = f"unix:{lab.folder / 'api.sock'}"
    places = ["--state-dir", str(lab.folder / "state"), "--pin-dir", str(lab.pin_dir)]
    up = [command, "up", "eth0", *places, "--listen", socket, "--listen", "127.0.0.1:8080"]
    log = lab.folder / "wheel.log"
    with log.open("w") as written:
        daemon = lab.popen("balancer", up, env=ENVIRONMENT, stdout=written, stderr=written)
    asked = ("--socket", str(lab.folder / "api.sock"))
    run(*asked, "status", "--wait", "--timeout", f"{READY_SECONDS:.0f}s")
    run(*asked, "vip", "add", f"{VIP}:80/tcp", "--forward", "dr")
    run(*asked, "backend", "add", f"{VIP}:80/tcp", "10.0.0.11")
    until(lambda: " up " in run(*asked, "backend", "ls", f"{VIP}:80/tcp").stdout)
    assert Balancer(lab).get(5) == {"dr1": 5}
    assert "<script" in _page(lab, "/")
    assert "Packets/s" in _page(lab, "/dashboard/vips.js")
    daemon.terminate()
    assert daemon.wait(60) == 0, log.read_text()
    run("down", "--all", "--pin-dir", str(lab.pin_dir))
    assert "prog/xdp" not in lab.run("balancer", ["ip", "link", "show", "eth0"]).stdout


def _page(lab: Lab, path: str) -> str:
    return lab.run("balancer", ["curl", "-sSf", f"http://127.0.0.1:8080{path}"]).stdout


def _needed(wheel: Path) -> set[str]:
    """Return the names of what a wheel needs, and what that needs."""
    with zipfile.ZipFile(wheel) as opened:
        (metadata,) = [name for name in opened.namelist() if name.endswith(".dist-info/METADATA")]
        waiting = Parser().parsestr(opened.read(metadata).decode()).get_all("Requires-Dist") or []
    found: set[str] = set()
    while waiting:
        one = Requirement(waiting.pop())
        if one.name not in found and (one.marker is None or one.marker.evaluate({"extra": ""})):
            assert one.specifier.contains(version(one.name)), f"{one}, but {version(one.name)} is installed"
            found.add(one.name)
            waiting += distribution(one.name).requires or []
    return found


def _link(name: str, site: Path) -> None:
    """Have a distribution of this venv in another one too."""
    files: Any = distribution(name).files
    for top in {file.parts[0] for file in files if file.parts[0] not in {"..", "__pycache__"}}:
        if not (site / top).exists():
            (site / top).symlink_to(SITE / top)


def _said(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, env=ENVIRONMENT).stdout.strip()
