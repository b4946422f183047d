# SPDX-License-Identifier: Apache-2.0
"""Prints a CycloneDX bill of materials: `sbom.py LOCK [DEBIAN PACKAGE]...`. Run it with the Python of the venv.

Versions of Python packages are those of the lock; licences and what needs what are from the installed metadata. Of a
Debian package it says the version that is installed here. Format: https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import xdplb

__all__ = ["bill"]

_LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)
_REQUIRED = re.compile(r"^[A-Za-z0-9._-]+")


def bill(lock: str, debian: Iterable[str]) -> dict[str, Any]:
    """Return the bill of materials of xdplb with the packages of a lock file's text and these Debian packages."""
    locked = {_normal(name): version for name, version in _LOCKED.findall(lock)}
    python = [_python_component(name, version) for name, version in locked.items()]
    components = python + [_debian_component(name, version) for name, version in _installed(debian)]
    root = {"type": "application", "name": "xdplb", "version": xdplb.__version__, "bom-ref": "xdplb"}
    needs = {_ref(name, version): _needs(name, locked) for name, version in locked.items()}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid4()}",
        "version": 1,
        "metadata": {"timestamp": _now().strftime("%Y-%m-%dT%H:%M:%SZ"), "component": root},
        "components": components,
        "dependencies": [
            {"ref": "xdplb", "dependsOn": sorted(str(component["bom-ref"]) for component in components)},
            *({"ref": ref, "dependsOn": sorted(others)} for ref, others in needs.items() if others),
        ],
    }


def _now() -> datetime:
    """Return the time; the one of SOURCE_DATE_EPOCH, if set, so that two bills can be compared."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    return datetime.fromtimestamp(int(given), UTC) if given else datetime.now(UTC)


def _normal(name: str) -> str:
    """Return a package's name as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _ref(name: str, version: str) -> str:
    return f"pkg:pypi/{name}@{version}"


def _found(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _python_component(name: str, version: str) -> dict[str, Any]:
    ref = _ref(name, version)
    component: dict[str, Any] = {"type": "library", "name": name, "version": version, "bom-ref": ref, "purl": ref}
    found = _found(name)
    if found is not None and (licence := found.metadata.get("License-Expression")):
        component["licenses"] = [{"expression": licence}]
    elif found is not None and (named := (found.metadata.get("License") or "").strip()) and "\n" not in named:
        component["licenses"] = [{"license": {"name": named}}]
    return component


def _needs(name: str, locked: dict[str, str]) -> set[str]:
    """Return the locked packages that a package needs, without those of its extras."""
    found = _found(name)
    plain = [text for text in (found.requires or [] if found else []) if "extra ==" not in text]
    names = {_normal(match[0]) for text in plain if (match := _REQUIRED.match(text))}
    return {_ref(other, locked[other]) for other in names if other in locked}


def _installed(debian: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the Debian packages that are installed, with their versions."""
    told = subprocess.run(
        ["dpkg-query", "-W", "-f=${db:Status-Status} ${Package} ${Version}\n", *debian],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    for line in told.splitlines():
        status, name, version = line.split()
        if status == "installed":
            yield name, version


def _debian_component(name: str, version: str) -> dict[str, Any]:
    ref = f"pkg:deb/debian/{name}@{version.replace('+', '%2B').replace(':', '%3A')}"
    return {"type": "library", "name": name, "version": version, "bom-ref": ref, "purl": ref}


if __name__ == "__main__":
    lock, *packages = sys.argv[1:]
    json.dump(bill(Path(lock).read_text(encoding="utf-8"), packages), sys.stdout, indent=2)
    print()
