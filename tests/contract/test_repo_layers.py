# SPDX-License-Identifier: Apache-2.0
"""A client command starts fast: it loads nothing that only the daemon needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"asyncio", "bcc", "fastapi", "numpy", "pydantic", "pyroute2", "sqlite3", "uvicorn"}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["version"], ["vip", "ls", "--help"], ["backend", "drain", "--help"]]
)
def test_a_client_command_loads_nothing_heavy(arguments: list[str]):
    program = (
        "import sys\n"
        "from xdplb.cli.main import main\n"
        "status = 0\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    status = end.code or 0\n"
        "print('LOADED', status, *sys.modules, file=sys.stderr)\n"
    )
    told = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    status, *modules = told.stderr.rsplit("LOADED", 1)[-1].split()
    assert status == "0", told.stderr
    assert not HEAVY & set(modules)
