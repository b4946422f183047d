# SPDX-License-Identifier: Apache-2.0
"""What set-up installs is locked: every package, each of its files by hash, and never an index's bcc."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUN = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
DEV = [Requirement(text) for text in PROJECT["project"]["optional-dependencies"]["dev"]]
BUILD = [Requirement(text) for text in PROJECT["build-system"]["requires"]]
TOP = [Requirement(text) for text in PROJECT["project"]["optional-dependencies"]["top"]]
LOCKS = {
    "requirements.lock": [*RUN, *BUILD],
    "requirements-package.lock": [*RUN, *BUILD, *TOP],
    "requirements-dev.lock": [*RUN, *BUILD, *TOP, *DEV],
}


def entries(lock: str) -> dict[str, tuple[str, list[str]]]:
    """Return the version and the hashes of each package of a lock file."""
    text = (ROOT / lock).read_text(encoding="utf-8").replace("\\\n", " ")
    found: dict[str, tuple[str, list[str]]] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            match = re.fullmatch(r"([\w.-]+)==(\S+)((?: +--hash=sha256:[0-9a-f]{64})*) *", line)
            assert match, f"{lock}: {line[:80]}"
            found[canonicalize_name(match[1])] = (match[2], match[3].split())
    return found


@pytest.mark.parametrize("dependency", [*RUN, *DEV, *BUILD], ids=str)
def test_a_dependency_has_a_lower_and_an_upper_bound(dependency: Requirement) -> None:
    assert {"<", ">="} <= {each.operator for each in dependency.specifier}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_dependency_is_locked_within_its_bounds_and_every_package_has_hashes(lock: str) -> None:
    locked = entries(lock)
    for wanted in LOCKS[lock]:
        version, _ = locked[canonicalize_name(wanted.name)]
        assert wanted.specifier.contains(version), f"{lock} has {wanted.name} {version}: run scripts/lock"
    assert not [name for name, (_, hashes) in locked.items() if not hashes]


@pytest.mark.parametrize("lock", LOCKS)
def test_what_the_locked_packages_need_is_locked_too(lock: str) -> None:
    locked = entries(lock)
    missing = []
    for name in locked:
        try:
            needs = [Requirement(text) for text in requires(name) or []]
        except PackageNotFoundError:
            continue  # in the lock for something else than running the tests
        wanted = [each for each in needs if each.marker is None or each.marker.evaluate({"extra": ""})]
        missing += [f"{name}: {each}" for each in wanted if canonicalize_name(each.name) not in locked]
    assert not missing


def test_all_locks_have_the_same_versions() -> None:
    run, package, dev = map(entries, LOCKS)
    assert {name: package.get(name) for name in run} == run
    assert {name: dev.get(name) for name in package} == package


def test_bcc_is_never_asked_of_an_index() -> None:
    asked = [text for extra in PROJECT["project"]["optional-dependencies"].values() for text in extra]
    assert "bcc" not in {canonicalize_name(each.name) for each in (*RUN, *BUILD, *map(Requirement, asked))}


@pytest.mark.parametrize("lock", LOCKS)
def test_bcc_is_in_no_lock_so_nothing_else_can_bring_it(lock: str) -> None:
    assert "bcc" not in entries(lock)


def test_every_installation_from_an_index_is_by_a_lock_alone() -> None:
    """With --no-deps and --require-hashes, pip takes what a lock names and nothing that a package asks for."""
    scripts = [ROOT / "scripts/lib/package/build", ROOT / "scripts/lib/package/install", ROOT / "scripts/lib/setup.sh"]
    text = "\n".join(script.read_text(encoding="utf-8").replace("\\\n", " ") for script in scripts)
    commands = [line for line in text.splitlines() if re.search(r" --requirement ", line)]
    assert len(commands) == len(scripts)
    assert [line for line in commands if not {"--require-hashes", "--no-deps"} <= set(line.split())] == []
    assert not [lock for lock in LOCKS if "bcc" in entries(lock)]


def test_no_file_says_where_packages_come_from() -> None:
    for name in (*LOCKS, "pyproject.toml", "scripts/lock", "scripts/lib/setup.sh"):
        assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host \S", (ROOT / name).read_text())


def make_wheel(folder: Path) -> Path:
    """Make the smallest package that pip installs."""
    folder.mkdir()
    path = folder / "xdplb_tiny-1.0-py3-none-any.whl"
    info = "xdplb_tiny-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("xdplb_tiny.py", "")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: xdplb-tiny\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", f"xdplb_tiny.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path


def test_set_up_fails_where_a_file_is_not_the_one_that_was_locked(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "wheels")
    subprocess.run(["/usr/bin/python3", "-m", "venv", tmp_path / ".venv"], check=True)
    script = f"""
        source {ROOT}/scripts/lib/setup.sh
        XDPLB_ROOT={tmp_path} XDPLB_BIN={tmp_path}/.venv/bin
        setup_install demo
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheel.parent)}

    def set_up(sha256: str) -> str:
        (tmp_path / "requirements.lock").write_text(f"xdplb-tiny==1.0 --hash=sha256:{sha256}\n")
        told = subprocess.run(
            ["bash", "-c", script], env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert told.returncode != 0  # also with the right hash: there is no xdplb in this folder
        return told.stderr

    installed = tmp_path / ".venv/lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    told = set_up("0" * 64)
    assert "DO NOT MATCH THE HASHES" in told
    assert "setup failed: pip could not install the locked packages" in told
    assert not (installed / "xdplb_tiny.py").exists()
    right = subprocess.run(["sha256sum", wheel], capture_output=True, text=True, check=True).stdout.split()[0]
    assert "pip could not install xdplb itself" in set_up(right)
    assert (installed / "xdplb_tiny.py").exists()


def test_the_bill_of_materials_lists_every_locked_package_and_bcc() -> None:
    lock = ROOT / "requirements.lock"
    told = subprocess.run(
        [sys.executable, ROOT / "scripts/lib/sbom.py", lock, "python3-bpfcc", "no-such-package"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    bill = json.loads(told.stdout)
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "xdplb")
    listed = {component["name"]: component["version"] for component in bill["components"]}
    assert listed.pop("python3-bpfcc", "0.26").startswith("0.")
    assert listed == {name: version for name, (version, _) in entries("requirements.lock").items()}
    refs = [component["bom-ref"] for component in bill["components"]]
    assert len(set(refs)) == len(refs)
    (root,) = (each for each in bill["dependencies"] if each["ref"] == "xdplb")
    assert set(root["dependsOn"]) == set(refs)
