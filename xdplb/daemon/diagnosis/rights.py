# SPDX-License-Identifier: Apache-2.0
"""What the running daemon may do: its capabilities, of every thread."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from xdplb.capabilities import name_of, of_threads
from xdplb.daemon.privileges import KEPT

from .finding import Finding, ok, warn

__all__ = ["examine_rights"]

_CHECK = "daemon's privileges"


def examine_rights(pid: int, proc: Path = Path("/proc")) -> Iterator[Finding]:
    """Yield a finding about the capabilities of the process `pid`, none if it has ended."""
    try:
        threads = [capabilities for _, capabilities in of_threads(proc / str(pid) / "task")]
    except OSError:
        return
    if not threads:
        return
    has = frozenset().union(*(each.permitted | each.ambient for each in threads))
    can_get = frozenset().union(*(each.bounding for each in threads if not each.no_new_privileges))
    if has <= KEPT and can_get <= KEPT:
        yield ok(_CHECK, f"pid {pid} has {_listed(has)}; it can get no other capabilities")
        return
    more = sorted(map(name_of, (has | can_get) - KEPT))
    yield warn(
        _CHECK,
        f"pid {pid} has {_listed(has)}, and has or can get {len(more)} capabilities more than it needs",
        "restart it: xdplb up gives them up when it has started",
    )


def _listed(numbers: frozenset[int]) -> str:
    names = [name_of(number) for number in sorted(numbers)]
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names) or "no capability"
