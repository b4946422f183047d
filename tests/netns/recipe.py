# SPDX-License-Identifier: Apache-2.0
"""The commands of a recipe in docs/, as its tests run them: word for word."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Step", "steps_of"]


@dataclass(frozen=True, slots=True)
class Step:
    """A block of commands, and the sentence before it, which says where they are typed."""

    where: str
    commands: str


def steps_of(page: Path, heading: str) -> list[Step]:
    """Return the blocks under a heading, in their order."""
    text = page.read_text(encoding="utf-8")
    match = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^#{{1,3}} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert match is not None, f"{page.name} has no heading {heading}"
    steps, before = [], ""
    for part in re.split(r"\n{2,}", match[2].strip("\n")):
        lines = part.splitlines()
        if all(line.startswith("    ") for line in lines):
            steps.append(Step(before, "\n".join(line.removeprefix("    ") for line in lines)))
        else:
            before = " ".join(lines)
    return steps
