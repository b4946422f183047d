# SPDX-License-Identifier: Apache-2.0
"""Prints those entries of a lock that a package needs to run, without what only builds it.

    runtime_lock.py PACKAGE EXTRA... <requirements-package.lock

All of the lock is installed where this runs, so that the packages themselves say what they need.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator
from importlib.metadata import requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def needed_by(package: str, extras: Collection[str]) -> set[str]:
    """Return the names of all packages that `package` needs with these extras, directly or not."""
    found: set[tuple[str, frozenset[str]]] = set()
    waiting = [(canonicalize_name(package), frozenset(extras))]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += _direct(*one)
    return {name for name, _ in found} - {canonicalize_name(package)}


def _direct(package: str, extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    for line in requires(package) or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield canonicalize_name(requirement.name), frozenset(requirement.extras)


def entries(lock: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each entry: `name==version` with the hashes on the lines below it."""
    for entry in re.split(r"\n(?=[^\s#])", lock):
        if found := re.match(r"([\w.-]+)(\[[^\]]*\])?==", entry):
            yield canonicalize_name(found[1]), entry.rstrip()


def main() -> None:
    """Print the entries of the lock on stdin that the package in the arguments needs."""
    wanted = needed_by(sys.argv[1], sys.argv[2:])
    locked = dict(entries(sys.stdin.read()))
    if missing := sorted(wanted - locked.keys()):
        sys.exit(f"not in the lock: {', '.join(missing)}; run scripts/lock")
    print("\n".join(locked[name] for name in sorted(wanted)))


if __name__ == "__main__":
    main()
