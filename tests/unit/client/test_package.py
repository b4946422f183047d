# SPDX-License-Identifier: Apache-2.0
"""The package loads little."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {"asyncio", "click", "fastapi", "numpy", "pydantic", "pyroute2", "sqlite3", "uvicorn"}
MOST_MODULES = 150
"""Modules that it may load, most of them of the standard library's http.client. They take about 40 ms."""


def test_importing_it_loads_little() -> None:
    program = "import sys; before = set(sys.modules); import xdplb.client; print(*sorted(set(sys.modules) - before))"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = told.stdout.split()
    assert not HEAVY & set(loaded)
    own = {name for name in loaded if name.startswith("xdplb.")}
    assert {name.split(".")[1] for name in own} == {"client", "model"}
    assert len(loaded) <= MOST_MODULES
