# SPDX-License-Identifier: Apache-2.0
"""What a soak reports: how long it took to recover from each fault, and what the daemon held meanwhile."""

from __future__ import annotations

import re
import statistics
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Held", "Report", "held_by"]


@dataclass(frozen=True, slots=True)
class Held:
    """What the daemon's process holds; the log is that of all daemons so far."""

    resident_mib: float
    descriptors: int
    threads: int
    log_kib: float


def held_by(pid: int, log: Path) -> Held:
    """Return what this process holds now."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = dict(re.findall(r"^(VmRSS|Threads):\s+(\d+)", status, re.MULTILINE))
    descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Held(int(found["VmRSS"]) / 1024, descriptors, int(found["Threads"]), log.stat().st_size / 1024)


@dataclass
class Report:
    """Collects what happens, and prints it at the end."""

    figures: defaultdict[str, defaultdict[str, list[float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    held: list[Held] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def note(self, fault: str, figures: dict[str, float]) -> None:
        """Add what was measured of one fault."""
        for name, value in figures.items():
            self.figures[fault][name].append(value)

    def text(self) -> str:
        """Return the report."""
        lines = [f"{'fault':18} {'figure':18} {'times':>5} {'median':>9} {'most':>9}"]
        for fault, figures in sorted(self.figures.items()):
            for name, values in figures.items():
                median, most = statistics.median(values), max(values)
                lines.append(f"{fault:18} {name:18} {len(values):5} {median:9.2f} {most:9.2f}")
        if self.held:
            first, last = self.held[0], self.held[-1]
            highest = max(one.resident_mib for one in self.held)
            lines.append(
                f"the daemon: {first.resident_mib:.0f} MiB at the start, {last.resident_mib:.0f} at the end,"
                f" {highest:.0f} at most; {last.descriptors} descriptors, {last.threads} threads;"
                f" {last.log_kib:.0f} KiB of log"
            )
        lines += [f"WRONG: {what}" for what in self.wrong] or ["nothing went wrong"]
        return "\n".join(lines)
