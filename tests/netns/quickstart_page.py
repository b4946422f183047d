# SPDX-License-Identifier: Apache-2.0
"""docs/quickstart.md as it is followed: its headings, and on which host of a lab each of its steps is done."""

from __future__ import annotations

import re
from pathlib import Path

from .recipe import Step

__all__ = ["BACKENDS", "PAGE", "headings_of", "hosts_of"]

PAGE = Path(__file__).resolve().parents[2] / "docs/quickstart.md"
BACKENDS = ("dr1", "dr2")
_PLACES = {
    "n a clone": (),
    "n the balancer and on each backend": ("balancer", *BACKENDS),
    "n the router": ("router",),
    "n each backend": BACKENDS,
    "n one backend": ("dr1",),
    "n that backend": ("dr1",),
    "n the balancer": ("balancer",),
    "n a client": ("client",),
}
"""By what the page says before a step: of the phrases that are there, the first one counts."""


def headings_of(page: Path) -> list[str]:
    """Return the headings of a page, in their order."""
    return re.findall(r"^## (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)


def hosts_of(step: Step) -> tuple[str, ...]:
    """Return the hosts on which a step is done; none if it is done elsewhere. Fails if the page does not say where."""
    found = [hosts for phrase, hosts in _PLACES.items() if phrase in step.where]
    assert found, f"the page does not say where this is done: {step.commands}"
    return found[0]
