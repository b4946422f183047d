# SPDX-License-Identifier: Apache-2.0
"""A daemon that answers as a test says, to see how the client takes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scripted_daemon import Script, scripted_daemon
from xdplb.client import Client


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Script]:
    """A scripted daemon on a Unix socket."""
    with scripted_daemon(tmp_path / "api.sock") as scripted:
        yield scripted


@pytest.fixture
def client(script: Script) -> Iterator[Client]:
    """A client of it."""
    with Client(socket_path=str(script.socket)) as one:
        yield one
