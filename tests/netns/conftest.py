# SPDX-License-Identifier: Apache-2.0
"""Labs for tests that need real hosts. Each test has its own, which is removed with it even if the test is killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from xdplb.dataplane.single import pass_program
from xdplb.net.lab import Lab

from .balancer import Balancer
from .page_lab import PageLab


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/netns/" in item.path.as_posix():
            item.add_marker(pytest.mark.root)


@pytest.fixture(autouse=True, scope="module")
def unwrapped() -> Iterator[None]:
    """Have commands print each sentence in one line, so that tests can look for it, and wait for a busy machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "1000")
        patch.setenv("XDPLB_REQUEST_TIMEOUT", "60s")
        yield


@contextmanager
def new_lab() -> Iterator[Lab]:
    with pass_program() as program, Lab(port_program=program.fileno()) as built:
        yield built


@pytest.fixture
def lab() -> Iterator[Lab]:
    with new_lab() as built:
        yield built


@pytest.fixture
def balancer(lab: Lab) -> Balancer:
    return Balancer(lab)


@pytest.fixture(scope="module")
def page_lab() -> Iterator[PageLab]:
    """A lab for all pages of a file."""
    with pass_program() as program, PageLab(port_program=program.fileno()) as built:
        yield built


@pytest.fixture(scope="module")
def shared() -> Iterator[Balancer]:
    """A balancer on both its NICs, with every host as a backend, for all tests that leave it as it was but for VIPs."""
    with new_lab() as built:
        balancer = Balancer(built)
        balancer.prepare("dr1", "dr2", "ipip1", "ipip2", "side")
        balancer.start(nics=("eth0", "eth1"))
        yield balancer


@pytest.fixture
def ready(shared: Balancer) -> Iterator[Balancer]:
    """The shared balancer, without a VIP."""
    yield shared
    shared.remove_vips()
