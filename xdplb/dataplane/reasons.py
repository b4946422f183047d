# SPDX-License-Identifier: Apache-2.0
"""Why a packet was passed, dropped or answered: the lists in bpf/lib/reasons.h and decap_reasons.h, read on import."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .source import source_dir

__all__ = ["DECAP_REASONS", "REASONS", "Reason", "parse"]

ENTRY = re.compile(
    r"^\s*(?:DECAP_)?(UNWRAPPED|(?:PASS|DROP|ANSWER)_[A-Z0-9_]+) = (\d+),\s*/\*\s*(.*?)\s*\*/", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Reason:
    """`number` is its index in the counters, permanently; `name` is such as `drop_no_backend`; `text` says when."""

    number: int
    name: str
    text: str


def parse(header: Path) -> tuple[Reason, ...]:
    """Return the reasons of the enum in `header`, in its order."""
    found = ENTRY.findall(header.read_text())
    return tuple(Reason(int(number), name.lower(), text) for name, number, text in found)


REASONS = parse(source_dir() / "lib" / "reasons.h")
DECAP_REASONS = parse(source_dir() / "lib" / "decap_reasons.h")
