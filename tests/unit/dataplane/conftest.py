# SPDX-License-Identifier: Apache-2.0
"""A host of each test's own to load on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.private_host import add_nic, private_host


@pytest.fixture
def bpffs() -> Iterator[Path]:
    """A bpffs and a NIC eth0 that nobody else sees."""
    with tempfile.TemporaryDirectory() as folder, private_host(Path(folder)) as mounted:
        add_nic("eth0")
        yield mounted


@pytest.fixture
def pin_dir(bpffs: Path) -> Path:
    return bpffs / "xdplb"
