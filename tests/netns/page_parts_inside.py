# SPDX-License-Identifier: Apache-2.0
"""What the pages need that tell how it works and how it is tested: most of what is typed there is for a clone."""

from __future__ import annotations

from .page_part import Part

__all__ = ["INSIDE"]

_PKTGEN = "needs the kernel's packet generator"
_MEASURES = "measures for minutes"
_TESTS = "runs the tests, this one among them"
_CLONE = "changes a developer's clone, with what it fetches from package indexes"
_MODULES = "needs modules of the kernel, which a lab shares with its host"

INSIDE = (
    Part(
        "kernels.md",
        untried={
            "modprobe *": _MODULES,
            "scripts/test *": _TESTS,
            "XDPLB_TEST_PATIENCE=8 scripts/test *": _TESTS,
            "scripts/demo": "sets up a lab of its own, and takes minutes",
            "scripts/pktgen *": _PKTGEN,
        },
    ),
    Part("performance.md", untried={"scripts/pktgen *": _PKTGEN, "scripts/bench *": _MEASURES}),
    Part("measurements.md", untried={"scripts/bench *": _MEASURES}),
    Part(
        "contributing.md",
        untried={
            "scripts/check": "is run before the tests, by scripts/test",
            "scripts/test*": _TESTS,
            "scripts/fuzz": "goes on until it is stopped: tests/fuzz is what it runs",
            "scripts/soak": "takes an hour",
            "scripts/soak --transfers*": _CLONE,
            "scripts/bench packet": _MEASURES,
            "scripts/lock*": _CLONE,
            "scripts/sbom *": "needs the venv of a clone, where scripts/setup has been run",
        },
    ),
)
