"""Labs for the tests that need real hosts. Each test has its own, gone with it even if it is killed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from xdplb.dataplane.loader import pass_program
from xdplb.net.lab import Lab


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/netns/" in item.path.as_posix():
            item.add_marker(pytest.mark.root)


@pytest.fixture
def lab() -> Iterator[Lab]:
    with pass_program() as program, Lab(port_program=program.fileno()) as built:
        yield built
